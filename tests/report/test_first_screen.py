"""The gains and ranks of a summary: their steps of colour and the order of rows."""

import numpy as np
import pytest
from fake_results import realistic, results

from gahbench.board.statistics import Interval
from gahbench.report.heat_map import STEPS, GainCell, gain_of, heat_map

SIGMAS = (0.05, 0.1, 0.2)


def suite(*entrants, datasets=("a", "b"), baseline="base"):
    """Return results of entrants (label, kind, dB below the optimum, seeds) on datasets, with a baseline."""
    rows = [(label, kind, below, 2 / 3, seeds) for label, kind, below, seeds in entrants]
    parts = [
        realistic([*rows, ("base", "oracle", 3, 2 / 3, 1)], name, SIGMAS, 24, seed=index)
        for index, name in enumerate(datasets)
    ]
    scores, fits, described = ([row for part in parts for row in part[number]] for number in range(3))
    return results(scores, fits, (), described, baseline=baseline)


@pytest.mark.parametrize(
    ("gain", "step", "is_decided"),
    [
        (Interval(0.3, 0.1, 0.5), 1, True),
        (Interval(-STEPS[0], -0.9, -0.1), -2, True),
        (Interval(50, 40, 60), len(STEPS) + 1, True),
        (Interval(0.3, -0.1, 0.7), 0, False),
        (Interval(0, 0, 0), 0, False),
        (Interval(3), 0, False),
    ],
)
def test_cells_have_a_colour_only_if_the_interval_excludes_0(gain, step, is_decided):
    cell = GainCell(gain)
    assert (cell.step, cell.is_decided) == (step, is_decided)


def test_cells_are_framed_only_if_rank_1_is_the_only_rank():
    assert GainCell(Interval(1), 1, 1).is_first
    assert not GainCell(Interval(1), 1, 2).is_first
    assert not GainCell(Interval(1)).is_first


def test_rows_are_denoisers_by_gain_and_then_oracles():
    shown = heat_map(suite(("tv", "classical", 4, 1), ("net", "trained", 1, 2), ("ideal", "oracle", 0.5, 1)))
    assert [row.entrant for row in shown.rows] == ["net", "tv", "ideal"]
    assert [row.note for row in shown.rows] == ["7.6 M", "classical", "oracle"]
    assert [column.dataset for column in shown.columns] == ["a", "b"]
    assert all(cell.is_first for cell in shown.rows[0].cells)


def test_without_a_baseline_gains_are_over_the_noisy_images():
    bare = suite(("net", "trained", 1, 2), baseline=None)
    board = bare.board.for_dataset("a")
    psnr, gain = board.estimate("net", "psnr"), gain_of(board, "net", None)
    noisy = np.mean(-20 * np.log10(SIGMAS))
    assert (gain.value, gain.low) == pytest.approx((psnr.value - noisy, psnr.low - noisy))
    assert heat_map(bare).columns[0].baseline_psnr.value == pytest.approx(noisy)
