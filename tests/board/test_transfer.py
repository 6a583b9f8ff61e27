"""The transfer gap on boards: order, ranks, rank correlation and the table and figure of a report."""

import itertools

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import gahbench
from gahbench.board.tables import SCHEMAS
from gahbench.board.transfer import METRIC, kendall_tau, transfers
from gahbench.report.tables import markdown
from gahbench.report.transfer import transfer_lines
from gahbench.report.transfer_figure import transfer_figure

IMAGES, SIGMA = 12, 0.1
#: Mean PSNR under drawn noise and gap of each entrant.
ENTRANTS = {"a": (30.0, -4.0), "b": (29.0, -1.0), "c": (28.0, -1.0), "oracle": (33.0, -1.0)}


@pytest.fixture
def results():
    draw = np.random.default_rng(0)
    difficulty, rows = draw.normal(0, 2, IMAGES), []
    for (entrant, (mean, gap)), image in itertools.product(ENTRANTS.items(), range(IMAGES)):
        drawn = mean + difficulty[image] + draw.normal(0, 0.05)
        own_gap = gap + draw.normal(0, 0.05)
        values = {"psnr": drawn + own_gap, METRIC: own_gap, f"{METRIC}.drawn": drawn}
        values |= {f"{METRIC}.{axis}-{lag}": 0.4 / lag for axis in ("rows", "columns") for lag in (1, 2)}
        kind = "oracle" if entrant == "oracle" else "classical"
        base = {"suite": "s", "dataset": "d", "entrant": entrant, "kind": kind, "split": "test", "sigma": SIGMA}
        rows += [
            base | {"seed": None, "metric": name, "image": image, "value": value} for name, value in values.items()
        ]
    dataset = {"dataset": "d", "optimum": "none", "slope": None, "channels": 1, "height": 8, "width": 8}
    dataset |= {"fingerprint": "", "sources": "", "protocol": "", "notes": "", "spec": "captures"}
    empty = {name: pd.DataFrame(columns=list(SCHEMAS[name])) for name in ("fits", "failures")}
    return gahbench.Results("s", pd.DataFrame(rows), datasets=pd.DataFrame([dataset]), entrants=list(ENTRANTS), **empty)


def test_rows_have_both_psnr_their_paired_difference_and_places(results):
    transfer = transfers(results)["d"]
    assert [row.entrant for row in transfer.rows] == ["oracle", "b", "c", "a"]
    for row in transfer.rows:
        _, gap = ENTRANTS[row.entrant]
        assert row.gap.low < gap < row.gap.high
        # The difficulty of an image cancels in the paired difference.
        assert row.gap.high - row.gap.low < 0.2 < row.drawn.high - row.drawn.low
        assert row.recorded.value == pytest.approx(row.drawn.value + row.gap.value)
    assert [(row.recorded_rank, row.drawn_rank) for row in transfer.rows] == [(None, None), (1, 2), (2, 3), (3, 1)]


def test_the_rank_correlation_counts_exchanged_pairs_of_practical_entrants(results):
    transfer = transfers(results)["d"]
    # The best of three entrants becomes the last: two of three pairs are exchanged.
    assert transfer.rank_correlation.value == pytest.approx(-1 / 3)
    assert (transfer.exchanged, transfer.pairs) == (2, 3)
    assert transfer.rank_correlation.low == transfer.rank_correlation.high == pytest.approx(-1 / 3)


def test_kendall_tau_is_that_of_scipy():
    first, second = np.random.default_rng(0).normal(size=(2, 5, 7))
    expected = [stats.kendalltau(*pair).statistic for pair in zip(first, second, strict=True)]
    assert kendall_tau(first, second) == pytest.approx(np.array(expected))


def test_the_board_shows_the_table_and_the_correlation_of_the_noise(results):
    text = markdown(results)
    assert "Transfer from drawn to recorded noise at σ = 0.1" in text
    assert "2 of 3 pairs change places" in text
    lines = list(transfer_lines(transfers(results)["d"]))
    assert "0.40" in lines[1]
    drawing = transfer_figure(transfers(results)["d"], results.entrants, results.names)
    assert len(drawing.axes) == 3
