"""Curves of the distance from the bound: pairs of sizes, bounds of smaller images, slopes over collapsed levels."""

import numpy as np
import pytest
from fake_results import dataset, results, rows

from gahbench.board.rate_curves import collapsed_levels

EPSILONS = np.array([0.02, 0.04, 0.08, 0.16, 0.32, 0.64]) / 32
IMAGES = 20
DIFFICULTY = np.exp(0.3 * np.random.default_rng(0).normal(size=IMAGES))
#: Errors of the bound on C^4 images with infinitely many pixels.
BOUND = np.outer(EPSILONS**1.6, DIFFICULTY)


def name_of(size, render_size=",render_size=256"):
    return f"c-alpha[alpha=4,size={size}{render_size}]"


def build_results(entrants, sizes=(32, 64), render_size=",render_size=256", bounds=None, slope=0.8):
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
    return results(scores, datasets=facts)


REFERENCES = [
    ("lower-bound", "bound", np.zeros(6), [None]),
    ("genie", "optimal", np.full(6, 0.414), [None]),
    ("haar", "oracle", np.array([9.0, 7.5, 6.0, 4.5, 3.0, 1.5]), [None]),
    ("u-shaped", "classical", np.array([9.3, 7.4, 7.0, 7.6, 7.9, 9.2]), [None]),
]


@pytest.mark.parametrize("size", [32, 64])
def test_slopes_are_those_of_the_distances_over_collapsed_levels(size):
    fake = build_results(REFERENCES)
    curves = fake.deficit_curves[name_of(size)]
    slopes = {label: curve.slope.value for label, curve in curves.items()}
    octave = 20 * np.log10(2)
    expected = [0.0, 0.0, 1.5 / octave, np.polyfit(-octave * np.arange(6), REFERENCES[3][2], 1)[0]]
    np.testing.assert_allclose(list(slopes.values()), expected, atol=1e-9)
    row = fake.leaderboard(full=True).set_index(["dataset", "entrant"]).loc[(name_of(size), "haar")]
    assert row["optimality-slope"] == pytest.approx(slopes["haar"])
    assert row["optimality-slope_low"] <= row["optimality-slope"] <= row["optimality-slope_high"]
    assert "optimality-slope.error" not in row


def has_slopes(fake, name):
    return [curve.slope.is_known for curve in fake.deficit_curves[name].values()]


def test_images_of_other_sizes_must_be_the_same_images():
    assert has_slopes(build_results(REFERENCES[:2]), name_of(32)) == [True] * 2
    assert has_slopes(build_results(REFERENCES[:2], render_size=""), name_of(32, "")) == [False] * 2
    for sizes in ((32,), (32, 128)):
        assert has_slopes(build_results(REFERENCES[:2], sizes=sizes), name_of(32)) == [False] * 2
    # One of the sizes is scored on fewer images.
    fewer = build_results(REFERENCES[:2])
    cut = fewer.scores[(fewer.scores["dataset"] == name_of(32)) | (fewer.scores["image"] < 10)]
    assert (
        has_slopes(results(cut.to_dict("records"), datasets=fewer.datasets.to_dict("records")), name_of(32))
        == [False] * 2
    )


def test_levels_at_which_the_bound_has_not_collapsed_do_not_count():
    flat, pixels = np.zeros(6), np.array([-0.5, -0.2, 0, 0, 0, 0])
    # At the weakest noise pixels help: the error of the network at 64 is smaller.
    fake = build_results([REFERENCES[0], ("net", "classical", {32: flat, 64: pixels}, [None])])
    for size in (32, 64):
        curve = fake.deficit_curves[name_of(size)]["net"]
        assert curve.bound_collapsed.all()
    assert fake.deficit_curves[name_of(32)]["net"].slope.value == pytest.approx(0.0)
    assert fake.deficit_curves[name_of(64)]["net"].slope.value < -0.01


def test_the_bound_of_smaller_images_replaces_a_bound_that_was_not_computed():
    fake = build_results(REFERENCES, sizes=(32, 64, 128), bounds=(32, 64))
    curve = fake.deficit_curves[name_of(128)]["genie"]
    np.testing.assert_allclose(curve.deficits, 0.414)
    np.testing.assert_allclose(curve.draws, 0.414)
    # If the bound is known for a single size only, collapse is unknown.
    alone = build_results(REFERENCES[:2], sizes=(32, 64, 128), bounds=(32,))
    assert has_slopes(alone, name_of(128)) == [False] * 2


# --- Which noise levels have collapsed ---

LEVELS = np.array([0.001, 0.002, 0.004, 0.008])


def curves(by_size):
    """Return curves of errors at LEVELS, by size."""
    return {size: (LEVELS, np.asarray(errors, dtype=float)) for size, errors in by_size.items()}


def test_errors_at_the_same_noise_per_side_are_compared():
    tenth = 10**0.01  # 0.1 dB
    by_size = curves({32: [1, 2, 3, 4], 64: [2, 2 * tenth * 1.001, 3 * tenth * 0.999, 4]})
    for size in (32, 64):
        assert collapsed_levels(size, by_size).tolist() == [False, False, True, True]


def test_the_largest_pair_of_at_most_the_size_decides_at_equal_levels():
    by_size = curves({16: [1, 1, 1, 1], 32: [1, 1, 2, 2], 64: [1, 2, 2, 1], 128: [9, 2, 9, 1]})
    assert collapsed_levels(16, by_size).tolist() == [True, True, False, False]
    assert collapsed_levels(32, by_size).tolist() == [True, False, True, False]
    assert (
        collapsed_levels(64, by_size).tolist() == collapsed_levels(128, by_size).tolist() == [False, True, False, True]
    )
    # Levels that are unknown for the largest pair are decided by a smaller pair.
    by_size[128][1][:] = np.nan
    assert collapsed_levels(128, by_size).tolist() == collapsed_levels(32, by_size).tolist()
    # Different levels are not compared.
    shifted = {32: (np.array([0.1, 0.2]), np.ones(2)), 64: (np.array([0.1003, 0.195]), np.ones(2))}
    assert collapsed_levels(32, shifted).tolist() == [False, False]
    shifted[64] = (np.array([0.100005, 0.199995]), np.ones(2))
    assert collapsed_levels(32, shifted).tolist() == [True, True]
