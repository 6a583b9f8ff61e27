"""Curves and verdicts from the tidy table: pairs of sizes, the bound of smaller images, seeds, twice the training."""

import numpy as np
import pytest
from fake_results import dataset, fit, results, rows

from gahbench.board.board import DatasetBoard
from gahbench.board.facts import families, rendered_families
from gahbench.board.rate_curves import collapsed_levels, is_paired
from gahbench.report.legend import rate_lines
from gahbench.report.tables import markdown

EPSILONS = np.array([0.02, 0.04, 0.08, 0.16, 0.32, 0.64]) / 32
IMAGES = 20
DIFFICULTY = np.exp(0.3 * np.random.default_rng(0).normal(size=IMAGES))
#: Errors of the bound on C^4 images with infinitely many pixels.
BOUND = np.outer(EPSILONS**1.6, DIFFICULTY)


def name_of(size, render_size=",render_size=256"):
    return f"c-alpha[alpha=4,size={size}{render_size}]"


def build_results(entrants, sizes=(32, 64), render_size=",render_size=256", bounds=None, slope=0.8, fits=()):
    """Return results of entrants (label, kind, {size: D (S,)} or D, seeds) on the same images in several sizes."""
    scores, facts = [], []
    for size in sizes:
        sigmas, name = tuple(EPSILONS * size), name_of(size, render_size)
        for label, kind, distance, seeds in entrants:
            size_distance = distance[size] if isinstance(distance, dict) else distance
            for seed in seeds:
                error = BOUND * 10 ** (np.asarray(size_distance)[:, None] / 10)
                scores += rows(name, label, kind, -10 * np.log10(error), seed, sigmas)
                scores += rows(name, label, kind, error, seed, sigmas, "optimality-slope.error")
                if bounds is None or size in bounds:
                    scores += rows(name, label, kind, BOUND, seed, sigmas, "optimality-slope.bound")
        facts.append(dataset(name, slope, "bracket") | {"height": size, "width": size})
    return results(scores, list(fits), datasets=facts)


REFERENCES = [
    ("lower-bound", "bound", np.zeros(6), [None]),
    ("genie", "optimal", np.full(6, 0.414), [None]),
    ("haar", "oracle", np.array([9.0, 7.5, 6.0, 4.5, 3.0, 1.5]), [None]),
    ("u-shaped", "classical", np.array([9.3, 7.4, 7.0, 7.6, 7.9, 9.2]), [None]),
]


def rate_text(fake, size=32, render_size=",render_size=256"):
    """Return the text about rates above the table of a dataset."""
    return "\n".join(rate_lines(DatasetBoard(name_of(size, render_size), [], []), fake))


def answers(fake, size=32, render_size=",render_size=256"):
    return {label: verdict.answer for label, verdict in fake.rate_verdicts[name_of(size, render_size)].items()}


@pytest.mark.parametrize("size", [32, 64])
def test_the_genie_is_near_optimal_and_wavelets_and_a_u_shaped_curve_are_not(size):
    expected = ["near-optimal", "near-optimal", "not near-optimal", "not near-optimal"]
    assert list(answers(build_results(REFERENCES), size).values()) == expected


def test_the_board_states_the_verdicts():
    fake = build_results(REFERENCES[1:3])
    text = markdown(fake)
    assert "- Optimal rate: `haar` is not near-optimal: slope of D +0.25" in text
    assert "- Optimal rate: `genie` is near-optimal: slope of D" in text
    assert "**optimality-slope, over collapsed noise levels**" in text
    row = fake.leaderboard(full=True).set_index(["dataset", "entrant"]).loc[(name_of(32), "haar")]
    assert row["optimality-slope"] == pytest.approx(1.5 / (20 * np.log10(2)))
    assert row["optimality-slope.deviation"] == pytest.approx(3.75)
    assert row["optimality-slope.span"] == pytest.approx(20 * np.log10(32))
    assert "optimality-slope.error" not in row


def test_images_of_other_sizes_must_be_the_same_images():
    other = build_results(REFERENCES[:2], render_size="")
    assert set(answers(other, render_size="").values()) == {"undecided"}
    assert "undecided for all 2 entrants: images of other sizes are not the same images" in rate_text(
        other, render_size=""
    )
    for sizes in ((32,), (32, 128)):
        assert "no images with the same 'render_size' have half or twice" in rate_text(
            build_results(REFERENCES[:2], sizes=sizes)
        )
    # One of the sizes is scored on fewer images.
    fewer = build_results(REFERENCES[:2])
    cut = fewer.scores[(fewer.scores["dataset"] == name_of(32)) | (fewer.scores["image"] < 10)]
    assert set(answers(results(cut.to_dict("records"), datasets=fewer.datasets.to_dict("records"))).values()) == {
        "undecided"
    }


def test_levels_that_have_not_collapsed_are_ignored():
    # At the weakest noise pixels help: the error at 64 is smaller.
    flat, pixels = np.zeros(6), np.array([-0.5, -0.2, 0, 0, 0, 0])
    fake = build_results([REFERENCES[0], ("net", "classical", {32: flat, 64: pixels}, [None])])
    for size in (32, 64):
        verdict = fake.rate_verdicts[name_of(size)]["net"]
        assert (verdict.answer, len(verdict.epsilons)) == ("near-optimal", 4)


def test_the_bound_of_smaller_images_replaces_a_bound_that_was_not_computed():
    fake = build_results(REFERENCES, sizes=(32, 64, 128), bounds=(32, 64))
    assert answers(fake, 128) == answers(fake, 32)
    curve = fake.deficit_curves[name_of(128)]["genie"]
    np.testing.assert_allclose(curve.deficits, 0.414)
    np.testing.assert_allclose(curve.draws, 0.414)
    # If the bound is known for a single size only, collapse is unknown.
    assert set(answers(build_results(REFERENCES[:2], sizes=(32, 64, 128), bounds=(32,)), 128).values()) == {"undecided"}


def test_a_network_needs_a_partner_with_twice_the_training():
    fits = [
        fit(name_of(size), label, seed, steps=steps)
        for size in (32, 64)
        for label, steps in (("net", 100), ("net[training.steps=200]", 200), ("net[training.steps=150]", 150))
        for seed in (0, 1)
    ] + [fit(name_of(size), "lower-bound", None, steps=None) for size in (32, 64)]
    nets = [
        ("net", "trained", np.full(6, 1.0), [0, 1]),
        ("net[training.steps=150]", "trained", np.full(6, 1.0), [0, 1]),
        ("net[training.steps=200]", "trained", np.full(6, 0.9), [0, 1]),
    ]
    fake = build_results([REFERENCES[0], *nets], fits=fits)
    assert answers(fake)["net"] == "near-optimal"
    for label in ("net[training.steps=150]", "net[training.steps=200]"):
        verdict = fake.rate_verdicts[name_of(32)][label]
        assert verdict.reasons == ("the effect of twice the training is unknown",)
    nets[2] = (nets[2][0], "trained", np.full(6, 0.7), [0, 1])
    changed = build_results([REFERENCES[0], *nets], fits=fits).rate_verdicts[name_of(32)]["net"]
    assert changed.answer == "undecided"
    assert "twice the training changes D by 0.30" in changed.reasons[0]


def test_boards_without_the_metric_have_no_verdicts():
    plain = results(rows("d", "a", "oracle", [[20.0, 21.0]], sigmas=(0.1,)), datasets=[dataset("d", 0.8, "bracket")])
    assert plain.deficit_curves == {}
    assert "Optimal rate" not in markdown(plain)


def test_a_board_without_a_window_says_why():
    scores = rows("d", "a", "oracle", [[20.0, 21.0]] * 2, sigmas=(0.1, 0.2))
    one_level = rows("d", "a", "oracle", [[1.0, 1.0]], sigmas=(np.nan,), metric="rate.levels")
    text = markdown(results(scores + one_level, datasets=[dataset("d")]))
    assert "- No rate: 1 noise level in its window, where an oracle keeps 32 to 0.25·√d coefficients" in text
    three_levels = rows("d", "a", "oracle", [[3.0, 3.0]], sigmas=(np.nan,), metric="rate.levels")
    assert "No rate" not in markdown(results(scores + three_levels, datasets=[dataset("d")]))


# --- Which noise levels have collapsed ---

LEVELS = np.array([0.001, 0.002, 0.004, 0.008])


def curves(by_size):
    """Return curves of errors at LEVELS, by size."""
    return {size: (LEVELS * size, np.asarray(errors, dtype=float)) for size, errors in by_size.items()}


def results_with_sides(**sides):
    return results([], datasets=[dataset(name) | {"height": side, "width": side} for name, side in sides.items()])


def test_errors_at_the_same_noise_per_side_are_compared():
    tenth = 10**0.01  # 0.1 dB
    by_size = curves({32: [1, 2, 3, 4], 64: [2, 2 * tenth * 1.001, 3 * tenth * 0.999, 4]})
    for size in (32, 64):
        assert collapsed_levels(size, by_size).tolist() == [False, False, True, True]


def test_the_largest_pair_of_at_most_the_size_decides():
    by_size = curves({16: [1, 1, 1, 1], 32: [1, 1, 2, 2], 64: [1, 2, 2, 1], 128: [9, 2, 9, 1]})
    assert collapsed_levels(16, by_size).tolist() == [True, True, False, False]
    assert collapsed_levels(32, by_size).tolist() == [True, False, True, False]
    assert (
        collapsed_levels(64, by_size).tolist() == collapsed_levels(128, by_size).tolist() == [False, True, False, True]
    )
    # Levels that are unknown for the largest pair are decided by a smaller pair.
    by_size[128][1][:] = np.nan
    assert collapsed_levels(128, by_size).tolist() == collapsed_levels(32, by_size).tolist()


def test_different_levels_are_not_compared():
    shifted = {32: (np.array([0.1, 0.2]), np.ones(2)), 64: (np.array([0.2005, 0.39]), np.ones(2))}
    assert collapsed_levels(32, shifted).tolist() == [False, False]
    shifted[64] = (np.array([0.20001, 0.39999]), np.ones(2))
    assert collapsed_levels(32, shifted).tolist() == [True, True]


@pytest.mark.parametrize(
    ("size", "sides", "expected"),
    [(32, [32, 64], True), (64, [32, 64], True), (16, [32, 64], False), (64, [32, 128], False), (32, [32], False)],
)
def test_a_pair_is_a_size_and_its_double(size, sides, expected):
    assert is_paired(size, sides) is expected


def test_families_differ_only_in_size_and_paired_families_share_large_images():
    first, default, other = (f"c-alpha[alpha=4,{size}render_size={render_size}]" for size, render_size in
                             (("size=32,", 256), ("", 256), ("size=128,", 512)))  # fmt: skip
    small, large = "c-alpha[alpha=4,size=32]", "c-alpha[alpha=4,size=128]"
    fake = results_with_sides(
        **{first: 32, default: 64, other: 128, small: 32, large: 128, "a label, of the suite's": 64}
    )
    assert families(fake)["c-alpha[alpha=4]"] == {32: small, 128: large}
    assert rendered_families(fake) == {
        "c-alpha[alpha=4,render_size=256]": {32: first, 64: default},
        "c-alpha[alpha=4,render_size=512]": {128: other},
    }
