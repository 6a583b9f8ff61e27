"""Strength, taken out of families of filters."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gahbench.evaluation import remove_strength


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@settings(deadline=None, max_examples=20)
@given(count=st.integers(12, 40), seed=st.integers(0, 99), spread=st.floats(0.05, 3))
def test_it_removes_the_mean_and_every_cubic_in_the_logarithm_of_the_trace_and_nothing_twice(count, seed, spread):
    logarithms = spread * random(count, seed=seed)
    remove = remove_strength(logarithms.exp())
    kept = logarithms[remove.places]
    cubic = sum(random(1, 5, seed=seed + power) * logarithms[:, None] ** power for power in range(4))
    assert remove(cubic).abs().max() < 1e-7 * cubic.abs().max()
    rest = remove(random(count, 3, 3, seed=seed + 9))
    for power in range(4):
        assert (rest * kept[:, None, None] ** power).sum(0).abs().max() < 1e-7 * float(
            kept.abs().max() + 1
        ) ** 4 * count
    matrix = remove.matrix
    torch.testing.assert_close(matrix @ matrix, matrix)
    torch.testing.assert_close(matrix, matrix.mT)


def test_residuals_are_those_of_least_squares_by_another_library():
    import numpy as np

    traces = (0.7 * random(30)).exp()
    filters = random(30, 4, seed=1)
    logarithms = traces.log().numpy()
    expected = np.stack(
        [row - np.polyval(np.polyfit(logarithms, row, 3), logarithms) for row in filters.mT.numpy()], axis=1
    )
    np.testing.assert_allclose(remove_strength(traces)(filters), expected, atol=1e-9)


def test_where_all_are_as_strong_only_the_mean_goes():
    filters = random(9, 5)
    remove = remove_strength(torch.full((9,), 3.0) * (1 + 1e-5 * random(9)))
    torch.testing.assert_close(remove(filters), filters - filters.mean(0))


def test_images_without_strength_unusable_ones_and_those_that_decide_alone_are_left_out():
    traces = torch.cat([torch.linspace(1, 2, 26), torch.tensor([-1.0, 0.0, 1e9])])
    usable = torch.ones(29, dtype=torch.bool)
    usable[3] = False
    assert remove_strength(traces, usable).places.tolist() == [place for place in range(26) if place != 3]
    # The last has a leverage of nearly 1: a cubic goes through it whatever it is.
    assert remove_strength(traces[:26], usable[:26]).matrix.diagonal().min() > 0.1


@pytest.mark.parametrize("distinct", [2, 3])
def test_images_that_share_their_strength_with_many_are_kept(distinct):
    """Of two or three traces a cubic has as many columns: leverages are those of means within each."""
    remove = remove_strength(torch.linspace(2, 9, distinct).double().repeat_interleave(20))
    assert len(remove) == 20 * distinct
    filters = random(20 * distinct, 3)
    groups = filters.view(distinct, 20, 3)
    torch.testing.assert_close(remove(filters), (groups - groups.mean(1, keepdim=True)).view(-1, 3))


@pytest.mark.parametrize("count", [0, 1, 3, 4])
def test_few_images_have_no_residuals(count):
    remove = remove_strength(torch.arange(1.0, count + 1))
    assert len(remove) == count
    assert remove(random(count, 2)).abs().max() < 1e-9 if count else True
