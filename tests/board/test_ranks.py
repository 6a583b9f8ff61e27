"""Ranks with intervals: simultaneous comparisons of all pairs."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gahbench.board.ranks import rank_intervals, sorted_by_psnr
from gahbench.board.statistics import bootstrap_means


def ranks(values):
    """Return both ends for scores (E, R, N)."""
    low, high = rank_intervals(values.mean((1, 2)), bootstrap_means(values, 1000))
    return low.tolist(), high.tolist()


def scores(means, spread, images=40, seed=0):
    own = spread * np.random.default_rng(seed).normal(size=(len(means), 1, images))
    return np.asarray(means, float)[:, None, None] + own - own.mean(axis=2, keepdims=True)


def test_those_far_apart_have_one_rank_each():
    assert ranks(scores([3, 1, 2], 0.01)) == ([1, 3, 2], [1, 3, 2])


def test_equals_share_all_ranks():
    assert ranks(np.zeros((4, 1, 9))) == ([1, 1, 1, 1], [4, 4, 4, 4])


def test_one_that_is_not_apart_from_either_neighbour_has_the_ranks_of_both():
    first = scores([0.0], 0.001)
    others = np.concatenate([scores([-0.3], 2.0), scores([-0.6], 0.001)])
    low, high = ranks(np.concatenate([first, others]))
    # The second is within its spread of both; the first is surely better than the third.
    assert (low, high) == ([1, 1, 2], [2, 3, 3])


def test_of_one_image_no_rank_is_known():
    low, high = rank_intervals(np.array([1.0, 3.0, 3.0]), np.full((10, 3), np.nan))
    assert (low.tolist(), high.tolist()) == ([1, 1, 1], [3, 3, 3])


@given(st.integers(0, 1000), st.permutations(range(5)))
def test_the_order_of_entrants_plays_no_part(seed, order):
    values = np.random.default_rng(seed).normal(size=(5, 1, 12)) + np.arange(5)[:, None, None] / 2
    low, high = ranks(values)
    assert ranks(values[order]) == ([low[place] for place in order], [high[place] for place in order])
    assert all(1 <= one <= other <= 5 for one, other in zip(low, high, strict=True))


@pytest.mark.parametrize("seeds", [1, 3])
def test_of_equal_entrants_few_boards_have_one_that_is_better(seeds):
    generator, wrong = np.random.default_rng(seeds), 0
    for _ in range(200):
        values = generator.normal(size=(6, seeds, 1)) * (seeds > 1) + generator.normal(size=(6, seeds, 24))
        low, _ = ranks(values)
        wrong += max(low) > 1
    # 5 % of 200, and 3.5 standard errors.
    assert wrong <= 20


def test_those_without_psnr_come_last():
    assert sorted_by_psnr(["a", "b", "c", "d"], np.array([1.0, np.nan, 3.0, 3.0])) == ["c", "d", "a", "b"]
