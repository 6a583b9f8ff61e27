"""Scores agree up to rounding, and networks that were trained elsewhere as far as seeds differ."""

import numpy as np
import pytest

from gahbench.runs.agreement import SIGNIFICANCE, TOLERANCE, Spread, compare, hidden_mark, levels_of, retrained

ROWS = [(0.1, image, 20.0 + image, part) for part in ("", "other") for image in range(4)]


def changed(by, part=None):
    return [(sigma, image, value + by * (part in (None, name)), name) for sigma, image, value, name in ROWS]


def test_equal_environments_give_equal_bits_and_others_equal_numbers():
    assert compare(ROWS, ROWS, True)[0] == compare(ROWS, ROWS, False)[0] == "equal"
    assert compare(ROWS, changed(1e-9), True)[0] == "different"
    assert compare(ROWS, changed(0.9 * TOLERANCE * 21.5), False)[0] == "close"
    # Each part is compared for itself.
    assert compare(ROWS, changed(1.1 * TOLERANCE * 21.5, "other"), False)[0] == "different"
    assert compare(ROWS, ROWS[1:], False)[0] == "different"
    # A second value of a place would change the mean.
    assert compare([*ROWS, (*ROWS[0][:2], 90.0, ROWS[0][3])], ROWS, True)[0] == "different"


def test_marks_are_compared_without_their_numbers():
    assert hidden_mark(["differs by 0.021 σ"], ["differs by 0.022 σ"]) is None
    assert hidden_mark(["differs by 0.021 σ"], ["differs by 0.022 σ", "uses more"]) == "uses more"


def test_levels_are_means_over_images_then_over_levels():
    rows = [(0.3, 0, 10.0, ""), (0.1, 0, 20.0, ""), (0.1, 1, 22.0, ""), (0.1, 0, 99.0, "part")]
    assert levels_of(rows).tolist() == [21.0, 10.0, 15.5]


def test_the_spread_is_pooled_over_rows_and_bounds_are_those_of_students_t():
    rows = [[np.array([1.0]), np.array([3.0])], [np.array([5.0]), np.array([6.0]), np.array([7.0])], [np.array([9.0])]]
    spread = Spread.pooled(rows)
    # Squares 2 and 2, with 1 and 2 degrees of freedom.
    assert (spread.deviations[0], spread.freedom) == (pytest.approx((4 / 3) ** 0.5), 3)
    # The quantile 0.995 of t with 3 degrees of freedom is 5.841 in any table.
    assert spread.bounds(1, 1)[0] == pytest.approx(5.841 * (4 / 3 * 2) ** 0.5, rel=1e-3)
    assert spread.bounds(4, 1)[0] < spread.bounds(4, 2)[0] < spread.bounds(1, 2)[0]
    assert Spread.pooled(rows, [np.array([0.0]), np.array([8.0])]).deviations[0] == pytest.approx(32**0.5)
    assert Spread.pooled([[np.array([1.0])]]).freedom == 0


@pytest.mark.parametrize("further", [0, 3])
@pytest.mark.parametrize("seeds", [0, 2])
def test_honest_fits_differ_as_rarely_as_stated_and_better_ones_are_found(further, seeds):
    if not further and not seeds:
        pytest.skip("a spread needs several seeds")
    draw = np.random.default_rng(0)

    def run(count):
        # Levels share a part of the effect of a seed.
        effects = 0.2 * draw.standard_normal((count, 1)) + 0.2 * draw.standard_normal((count, 3))
        levels = 20 + effects
        return list(np.column_stack([levels, levels.mean(axis=1)]))

    def agrees(gain):
        others = [run(3), run(3)] if seeds else []
        return retrained(run(1)[0] + gain, run(seeds), run(1 + further), others)[0]

    wrong = np.mean([not agrees(0.0) for _ in range(1000)])
    assert wrong <= SIGNIFICANCE + 3 * (SIGNIFICANCE / 1000) ** 0.5
    assert np.mean([not agrees(4.0) for _ in range(100)]) > 0.9


def test_one_forged_seed_does_not_hide_behind_the_spread_that_it_makes():
    honest = [np.array([20.0 + 0.1 * place]) for place in range(3)]
    stored = np.array([24.0])
    is_close, detail = retrained(stored, honest[:2], [honest[2]], [honest])
    assert not is_close
    assert "PSNR 20.20 dB here and 24.00 dB in the folder: 3.80 dB from the stored fit, allowed are" in detail
    assert retrained(np.array([20.1]), honest[:2], [honest[2]], [honest])[0]
