"""The board in long form, its wide table, and the scales of its intervals, which metrics declare."""

import numpy as np
import pytest
from fake_results import SIGMAS, dataset, realistic, results, rows
from published_pages import load_results

from gahbench.board.claims import Table
from gahbench.board.metric_names import MetricName, parse_agreement, parse_metric_name
from gahbench.board.statistics import UNKNOWN, sampled_means
from gahbench.registry.registry import built_in_registry

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
    board = fake.board.select([NAME])
    assert board.sigmas == list(SIGMAS)
    assert board.estimate("net", "spectrum", "trace", 0.3).value == pytest.approx(6)
    assert board.estimate("net", "spectrum", "trace").value == pytest.approx(4)
    assert board.estimate("net", "spectrum") == UNKNOWN
    assert board.estimate("oracle", "spectrum", "trace") == UNKNOWN
    assert board.is_known("deficit", "min", 0.06)
    assert not fake.board.select(["other"]).entries


def test_a_value_that_is_stored_for_each_image_has_no_interval_over_images():
    share, trace = [[0.3] * 6, [0.5] * 6], [[0.3] * 5 + [0.4], [0.5] * 6]
    fake = build_results(*metric("direction[sym4].share", share), *metric("spectrum.trace", trace))
    copied, measured = (fake.board.select([NAME]).estimate("net", *name) for name in (
        ("direction[sym4]", "share"), ("spectrum", "trace")
    ))  # fmt: skip
    assert copied.value == pytest.approx(0.4)
    assert np.isnan([copied.low, copied.high]).all()
    assert measured.low < measured.value < measured.high


def test_a_note_names_the_image_that_carries_the_gain_of_a_row():
    def note(outlier):
        base, gains = np.random.default_rng(0).normal(30, 3, 12), np.random.default_rng(1).normal(-0.3, 0.1, 12)
        gains[7] += outlier
        scores = [
            *rows(NAME, "net", "trained", [base + gains] * 2, 0, (0.1, 0.3)),
            *rows(NAME, "oracle", "oracle", [base] * 2, None, (0.1, 0.3)),
        ]
        board = results(scores, (), (), [dataset(NAME)], ["net", "oracle"], "oracle").leaderboard(full=True)
        text = f"test image 7: its mean is {gains.mean():.2f} dB, and its median {np.median(gains):.2f} dB"
        notes = board.set_index("entrant")["note"]
        assert notes["oracle"] == ""
        return text in notes["net"]

    assert note(10.0)
    assert not note(0.2)


def test_metrics_with_reserved_names_do_not_replace_values_of_the_board():
    board = build_results(*metric("kl", [[1.0, 2.0]] * 2), *metric("kl.min", [[3.0, 4.0]] * 2)).board.select([NAME])
    assert board.estimate("net", "metric kl").value == pytest.approx(1.5)
    assert board.estimate("net", "metric kl", "min").value == pytest.approx(3.5)
    assert board.estimate("net", "kl") == build_results().board.select([NAME]).estimate("net", "kl")
    assert board.estimate("net", "kl", "min") == build_results().board.select([NAME]).estimate("net", "kl", "min")
    # The slope is fitted to the PSNR.
    slopes = rows(NAME, "net", "trained", [[0.1] * 6], 0, (np.nan,), "slope")
    assert 0.5 < build_results(*slopes).board.select([NAME]).estimate("net", "slope").value < 0.8


def test_metric_names_are_parsed_and_agreements_with_bases_recognised():
    names = {
        "psnr": (MetricName("psnr"), None),
        "spectrum.above-half": (MetricName("spectrum", part="above-half"), None),
        "alignment[sym4]": (MetricName("alignment", "sym4"), ("alignment", "sym4", "")),
        "fit[b,c=.5].null": (MetricName("fit", "b,c=.5", "null"), None),
        "direction[dct,controlling_for=wavelet-ti[haar]].partial": (
            MetricName("direction", "dct,controlling_for=wavelet-ti[haar]", "partial"),
            ("direction", "dct", "partial"),
        ),
        "truth-direction": (MetricName("truth-direction"), ("direction", "best denoiser", "")),
        "truth-direction.truth-share": (
            MetricName("truth-direction", part="truth-share"),
            ("direction", "best denoiser", "basis-share"),
        ),
    }
    for text, (name, agreement) in names.items():
        assert (parse_metric_name(text), parse_agreement(text)) == (name, agreement)
        assert ".".join(filter(None, (name.label, name.part))) == text


def estimate_of(metric, values):
    """Return the estimate of a metric for one classical denoiser, on a board that knows the built-in plugins."""
    scores = [*rows("d", "a", "classical", np.full((1, 28), 30.0), None, (0.1,))]
    scores += rows("d", "a", "classical", values[None], None, (0.1,), metric=metric)
    board_results = results(scores, datasets=[dataset("d")])
    object.__setattr__(board_results, "registry", built_in_registry)
    name = parse_metric_name(metric)
    return board_results.board.select(["d"]).estimate("a", name.label, name.part)


@pytest.mark.parametrize(
    ("metric", "scale"),
    [
        ("direction[dct]", "linear"),
        ("pair-cosine", "linear"),
        ("unknown-metric", "linear"),
        ("alignment[dct].retrieval", "logit"),
        ("own-half", "logit"),
    ],
)
def test_the_scale_of_an_interval_is_that_of_the_metric_whatever_the_values(metric, scale):
    values = np.random.default_rng(0).uniform(0.02, 0.98, size=28)
    estimate = estimate_of(metric, values)
    np.testing.assert_allclose([[estimate.low], [estimate.high]], sampled_means(values[None, None]).ends(scale))


def test_the_ceiling_on_a_board_is_the_square_root_of_the_agreement_under_fresh_noise():
    agreement = np.array([0.25, 0.04, -0.5, *[0.16] * 25])
    expected = (0.5 + 0.2 + 0.0 + 25 * 0.4) / 28
    assert estimate_of("direction[dct].ceiling", agreement).value == pytest.approx(expected)


def test_claims_and_boards_have_the_same_intervals():
    quick = load_results("quick")
    table, compared = Table("quick", quick), 0
    for board in quick.board.datasets:
        for label in (label for name, label in table.labels if name == board.dataset):
            # Effects of seeds are drawn independently.
            tolerance = 0.0 if label.startswith(("bayes", "oracle")) else 0.25
            row = table.rows("psnr", "test", "")[board.dataset, label]
            for sigma, low, high in zip(row.sigmas, *row.sample.ends(), strict=True):
                expected = board.estimate(label, "psnr", sigma=sigma)
                half_width = (expected.high - expected.low) / 2
                np.testing.assert_allclose(
                    [low, high], [expected.low, expected.high], atol=1e-9 + tolerance * half_width
                )
                compared += 1
    assert compared > 20


def test_means_are_unknown_where_a_seed_or_an_entrant_has_no_value():
    """One of two seeds, and one entrant, have no value at the higher noise level."""
    levels, scores = (0.1, 0.3), []
    for label, seed, known in (("net", 0, levels), ("net", 1, levels[:1]), ("cut", 0, levels[:1]), ("all", 0, levels)):
        for name, sigmas, value in (("direction[dct]", known, 0.4), ("direction[dct].left-out", levels, 0.0)):
            scores += rows("d", label, "trained", np.full((len(sigmas), 9), value), seed, sigmas, name)
    board = results(scores, datasets=[dataset("d")]).board.select(["d"])
    for label, at_high in (("net", np.nan), ("cut", np.nan), ("all", 0.4)):
        values = [board.estimate(label, "direction[dct]", sigma=sigma).value for sigma in (None, *levels)]
        np.testing.assert_allclose(values, [at_high, 0.4, at_high])
