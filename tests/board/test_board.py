"""The board in long form, and the wide table that is made of it."""

import math

import numpy as np
import pandas as pd
import pytest
from fake_results import SIGMAS, dataset, realistic, results, rows

from gahbench._util.errors import ParameterError, ResultsError
from gahbench.board.metric_names import MetricName, parse_metric_name
from gahbench.board.selection import chosen_labels
from gahbench.board.statistics import UNKNOWN

ENTRANTS = [
    ("net", "trained", 0.3, 0.66, 2),
    ("oracle", "oracle", 1.6, 0.58, 1),
    ("lower-bound", "bound", -2.0, 0.7, 1),
]
NAME = "c-alpha[alpha=2,size=32]"


def made(*more):
    scores, fits, datasets = realistic(ENTRANTS, images=6)
    labels = [entrant[0] for entrant in ENTRANTS]
    return results([*scores, *more], fits, (), [*datasets, dataset("other")], [*labels, "other"], "oracle")


def metric(name, values, entrant="net", sigmas=(0.1, 0.3)):
    return rows(NAME, entrant, "trained", values, 0, sigmas, name)


def test_every_value_is_in_one_column_of_the_wide_table():
    parts = metric("alignment[sym4]", [[0.5, 0.7], [0.2, 0.4]]) + metric("alignment[sym4].null", [[0.1, 0.2]] * 2)
    one = made(*parts)
    wide = one.leaderboard(full=True).set_index(["dataset", "entrant"])
    own = {"deficit": "deficit_min", "kl": "kl_min"}
    for value in one.board.values:
        stem = own[value.metric] if value.part == "min" else ".".join(filter(None, (value.metric, value.part)))
        column = stem if value.sigma is None else f"{stem}@{value.sigma:g}"
        row = wide.loc[value.dataset, value.entrant]
        np.testing.assert_equal(row[column], value.estimate.value)
        if value.metric != "gain_over_noisy":
            np.testing.assert_equal([row[f"{column}_low"], row[f"{column}_high"]],
                                    [value.estimate.low, value.estimate.high])  # fmt: skip
    keys = [(value.dataset, value.entrant, value.metric, value.part, value.sigma) for value in one.board.values]
    assert len(set(keys)) == len(keys)


def test_facts_are_those_of_the_wide_table():
    one = made()
    wide = one.leaderboard(full=True)
    facts = pd.DataFrame([vars(entry) for entry in one.board.entries])
    for name in ("dataset", "entrant", "kind", "optimum", "note"):
        assert facts[name].tolist() == wide[name].tolist()
    for name in ("rank", "rank_high", "parameters", "seeds", "train_seconds", "optimal_slope"):
        expected = wide[name].astype("Float64").to_numpy(dtype=float, na_value=math.nan)
        np.testing.assert_equal(facts[name].to_numpy(dtype=float), expected)


def test_values_are_found_by_metric_part_and_noise_level():
    one = made(*metric("spectrum.trace", [[1.0, 3.0], [5.0, 7.0]]))
    board = one.board.of(NAME)
    assert board.sigmas == list(SIGMAS)
    assert board.estimate("net", "spectrum", "trace", 0.3).value == pytest.approx(6)
    assert board.estimate("net", "spectrum", "trace").value == pytest.approx(4)
    assert board.estimate("net", "spectrum") == UNKNOWN
    assert board.estimate("oracle", "spectrum", "trace") == UNKNOWN
    assert board.overall_metrics == [("spectrum", "trace"), ("ssim", "")]
    assert board.is_known("deficit", "min", 0.06)
    assert not one.board.of("other").entries


def test_a_metric_is_not_taken_for_what_the_board_computes():
    board = made(*metric("kl", [[1.0, 2.0]] * 2), *metric("kl.min", [[3.0, 4.0]] * 2)).board.of(NAME)
    assert board.estimate("net", "metric kl").value == pytest.approx(1.5)
    assert board.estimate("net", "metric kl", "min").value == pytest.approx(3.5)
    assert board.estimate("net", "kl") == made().board.of(NAME).estimate("net", "kl")
    assert board.estimate("net", "kl", "min") == made().board.of(NAME).estimate("net", "kl", "min")


def test_the_slope_is_that_of_the_psnr_whether_or_not_it_is_a_metric():
    slopes = rows(NAME, "net", "trained", [[0.1] * 6], 0, (np.nan,), "slope")
    pd.testing.assert_frame_equal(made(*slopes).leaderboard(full=True), made().leaderboard(full=True), check_exact=True)
    assert 0.5 < made().board.of(NAME).estimate("net", "slope").value < 0.8


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("psnr", MetricName("psnr")),
        ("spectrum.above-half", MetricName("spectrum", part="above-half")),
        ("alignment[sym4]", MetricName("alignment", "sym4")),
        ("fit[b,c=.5].null", MetricName("fit", "b,c=.5", "null")),
        ("distance[cycle-spin[threshold[sym4]]].r2", MetricName("distance", "cycle-spin[threshold[sym4]]", "r2")),
    ],
)
def test_names_of_metrics_are_taken_apart(text, found):
    assert parse_metric_name(text) == found
    assert ".".join(filter(None, (found.label, found.part))) == text


HELD = ["unet[width=8]", "unet[width=16]", "bf-cnn[width=8]", "identity"]


@pytest.mark.parametrize(
    ("asked", "chosen"),
    [
        (None, HELD),
        ([], HELD),
        (["unet[width=16]"], HELD[1:2]),
        (["unet"], HELD[:2]),
        (["identity", "un*"], [*HELD[:2], "identity"]),
        (["*[width=8]"], [HELD[0], HELD[2]]),
    ],
)
def test_labels_names_and_patterns_are_taken_in_the_order_of_the_board(asked, chosen):
    assert chosen_labels(asked, HELD, "entrant") == chosen


def test_what_matches_nothing_is_an_error_that_names_what_there_is():
    with pytest.raises(ParameterError, match=r"entrants vit, x\* are not in the results; accepted: unet\[width=8\], "):
        chosen_labels(["unet", "vit", "x*"], HELD, "entrant")
    with pytest.raises(ResultsError, match=r"entrants unett are not in the results; did you mean 'unet'. accepted: "):
        chosen_labels(["unett"], HELD, "entrant", ResultsError)
