"""The board in long form, and its wide table."""

import numpy as np
import pytest
from fake_results import SIGMAS, dataset, realistic, results, rows

from gahbench._util.errors import ParameterError, ResultsError
from gahbench.board.metric_names import MetricName, parse_metric_name
from gahbench.board.statistics import UNKNOWN
from gahbench.contracts.row_labels import choose_labels

ENTRANTS = [
    ("net", "trained", 0.3, 0.66, 2),
    ("oracle", "oracle", 1.6, 0.58, 1),
    ("lower-bound", "bound", -2.0, 0.7, 1),
]
NAME = "c-alpha[alpha=2,size=32]"


def build_results(*more):
    scores, fits, datasets = realistic(ENTRANTS, images=6)
    labels = [entrant[0] for entrant in ENTRANTS]
    return results([*scores, *more], fits, (), [*datasets, dataset("other")], [*labels, "other"], "oracle")


def metric(name, values, entrant="net", sigmas=(0.1, 0.3)):
    return rows(NAME, entrant, "trained", values, 0, sigmas, name)


def test_every_value_is_in_one_column_of_the_leaderboard():
    parts = metric("alignment[sym4]", [[0.5, 0.7], [0.2, 0.4]]) + metric("alignment[sym4].null", [[0.1, 0.2]] * 2)
    fake = build_results(*parts)
    wide = fake.leaderboard(full=True).set_index(["dataset", "entrant"])
    frame = fake.board.frame
    assert not frame.duplicated(["dataset", "entrant", "quantity", "part", "sigma"]).any()
    for quantity, rows_of_quantity in frame.groupby(["quantity", "part", "sigma"], dropna=False):
        name, part, sigma = quantity
        stem = f"{name}_min" if part == "min" else ".".join(filter(None, (name, part)))
        column = stem if np.isnan(sigma) else f"{stem}@{sigma:g}"
        rows_of_quantity = rows_of_quantity.set_index(["dataset", "entrant"])
        for end, values in (("", "value"), ("_low", "low"), ("_high", "high")):
            if f"{column}{end}" in wide or name != "gain_over_noisy":
                expected = wide[f"{column}{end}"].reindex(rows_of_quantity.index)
                np.testing.assert_array_equal(rows_of_quantity[values], expected)


def test_values_are_found_by_metric_part_and_noise_level():
    fake = build_results(*metric("spectrum.trace", [[1.0, 3.0], [5.0, 7.0]]))
    board = fake.board.for_dataset(NAME)
    assert board.sigmas == list(SIGMAS)
    assert board.estimate("net", "spectrum", "trace", 0.3).value == pytest.approx(6)
    assert board.estimate("net", "spectrum", "trace").value == pytest.approx(4)
    assert board.estimate("net", "spectrum") == UNKNOWN
    assert board.estimate("oracle", "spectrum", "trace") == UNKNOWN
    assert board.is_known("deficit", "min", 0.06)
    assert not fake.board.for_dataset("other").entries


def test_metrics_with_reserved_names_do_not_replace_values_of_the_board():
    board = build_results(*metric("kl", [[1.0, 2.0]] * 2), *metric("kl.min", [[3.0, 4.0]] * 2)).board.for_dataset(NAME)
    assert board.estimate("net", "metric kl").value == pytest.approx(1.5)
    assert board.estimate("net", "metric kl", "min").value == pytest.approx(3.5)
    assert board.estimate("net", "kl") == build_results().board.for_dataset(NAME).estimate("net", "kl")
    assert board.estimate("net", "kl", "min") == build_results().board.for_dataset(NAME).estimate("net", "kl", "min")


def test_the_slope_is_fitted_to_the_psnr_even_if_slope_is_a_metric():
    slopes = rows(NAME, "net", "trained", [[0.1] * 6], 0, (np.nan,), "slope")
    assert 0.5 < build_results(*slopes).board.for_dataset(NAME).estimate("net", "slope").value < 0.8


def test_metric_names_are_parsed():
    names = {
        "psnr": MetricName("psnr"),
        "spectrum.above-half": MetricName("spectrum", part="above-half"),
        "alignment[sym4]": MetricName("alignment", "sym4"),
        "fit[b,c=.5].null": MetricName("fit", "b,c=.5", "null"),
        "distance[cycle-spin[threshold[sym4]]].r2": MetricName("distance", "cycle-spin[threshold[sym4]]", "r2"),
    }
    for text, name in names.items():
        assert parse_metric_name(text) == name
        assert ".".join(filter(None, (name.label, name.part))) == text


HELD = ["unet[width=8]", "unet[width=16]", "bf-cnn[width=8]", "identity"]


def test_labels_are_chosen_in_the_order_of_the_board():
    assert choose_labels(None, HELD, "entrant") == choose_labels([], HELD, "entrant") == HELD
    assert choose_labels(["unet[width=16]"], HELD, "entrant") == HELD[1:2]
    assert choose_labels(["identity", "un*"], HELD, "entrant") == [*HELD[:2], "identity"]
    assert choose_labels(["unet", "*[width=8]"], HELD, "entrant") == HELD[:3]


def test_unknown_labels_are_an_error_that_lists_the_labels():
    with pytest.raises(ParameterError, match=r"entrants vit, x\* are not in the results; accepted: unet\[width=8\], "):
        choose_labels(["unet", "vit", "x*"], HELD, "entrant")
    with pytest.raises(ResultsError, match=r"entrants unett are not in the results; did you mean 'unet'. accepted: "):
        choose_labels(["unett"], HELD, "entrant", ResultsError)
