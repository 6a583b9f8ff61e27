"""Alignment of families of filters, compared with a direct computation, and its invariances."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from random_images import normal

from gahbench.evaluation import adaptation, align, changes, directional, remove_strength
from gahbench.jacobian import DenseMaps, Sketch
from gahbench_plugins.metrics.alignment import exchange_significance, partial_cosine

SHAPE, SIZE, COUNT = (1, 4, 5), 20, 26


def filters(seed=0, count=COUNT):
    matrices = normal(count, SIZE, SIZE, seed=seed)
    return (matrices + matrices.mT) / 2


def traces(seed=0):
    order = torch.randperm(COUNT, generator=torch.Generator().manual_seed(seed))
    return torch.linspace(1, 9, COUNT, dtype=torch.float64)[order]


def exact(matrices):
    return Sketch(matrices, exact=True)


def aligned(first, second, strengths):
    remove = remove_strength(strengths)
    return align(adaptation(exact(first), remove), adaptation(exact(second), remove))


def compute_by_hand(first, second, strengths):
    """Return the cosines of residuals of two families of filters from cubics in the log-trace, fitted to each entry."""
    logarithms = np.log(strengths.numpy())

    def residuals(matrices):
        flat = matrices.flatten(1).numpy()
        return np.stack([row - np.polyval(np.polyfit(logarithms, row, 3), logarithms) for row in flat.T], axis=1)

    left, right = residuals(first), residuals(second)
    return (left * right).sum(1) / (np.linalg.norm(left, axis=1) * np.linalg.norm(right, axis=1))


@settings(max_examples=8)
@given(seed=st.integers(0, 99), shared=st.floats(0, 1), spread=st.floats(0.03, 2), scale=st.floats(1e-3, 1e3))
def test_alignment_is_the_cosine_of_residuals_of_a_cubic_in_the_strength(seed, shared, spread, scale):
    first, strengths = filters(seed), traces(seed) ** spread
    second = shared * first + filters(seed + 1000)
    alignment = aligned(scale * first, second, strengths)
    np.testing.assert_allclose(alignment.own, compute_by_hand(first, second, strengths), atol=1e-9)
    assert alignment.own.dtype == torch.float64
    assert alignment.error.tolist() == [0] * COUNT


@pytest.mark.parametrize("rounding", [0, 1e-9])
def test_filters_that_ignore_the_image_score_0(rounding):
    same = filters(3, 1) + rounding * filters(4)
    assert not changes(exact(same))
    alignment = aligned(same, filters(), traces())
    assert alignment.own.tolist() == [0] * COUNT
    with pytest.raises(ValueError, match="random vectors"):
        adaptation(DenseMaps(filters(), SHAPE).sketch(8), remove_strength(traces())).directional(SHAPE)
    # A basis that ignores the image has nothing to compare with.
    assert aligned(filters(), same, traces()).own.isnan().all()


@pytest.mark.parametrize(("scale", "adapts"), [(0.0, False), (0.05, False), (0.5, True)])
def test_filters_that_depend_on_the_image_only_through_their_strength_score_0(scale, adapts):
    strengths = traces()
    only_strength = filters(3, 1) + filters(4, 1) * strengths.log()[:, None, None]
    residual = adaptation(exact(only_strength + scale * filters(5)), remove_strength(strengths))
    assert residual.adapts == adapts
    assert (residual.share < 0.02) != adapts
    assert (aligned(only_strength + scale * filters(5), filters(5), strengths).own.abs().sum() > 0) == adapts


@settings(max_examples=20)
@given(seed=st.integers(0, 99))
def test_a_partial_cosine_is_the_cosine_of_residuals_from_the_third(seed):
    first, second, third = normal(3, 5, seed=seed)

    def cosine(left, right):
        return (left @ right / (left.norm() * right.norm()))[None]

    def residual(vector):
        return vector - third * (vector @ third) / (third @ third)

    partial = partial_cosine(cosine(first, second), cosine(first, third), cosine(second, third))
    torch.testing.assert_close(partial, cosine(residual(first), residual(second)), atol=1e-6, rtol=0)


@pytest.mark.parametrize("shared", [0.0, 0.5, 5.0])
def test_random_vectors_give_the_same_alignment_within_correct_errors(shared):
    first, remove = filters(1), remove_strength(traces())
    second = shared * first + filters(2)
    expected = aligned(first, second, traces()).own
    scores, errors, shares = [], [], []
    for seed in range(20):
        left, right = (adaptation(DenseMaps(family, SHAPE).sketch(256, seed), remove) for family in (first, second))
        alignment = align(left, right)
        scores.append(alignment.own)
        errors.append(alignment.error)
        shares.append(left.share)
    values, estimated = torch.stack(scores), torch.stack(errors).mean()
    assert (values.mean(0) - expected).abs().mean() < 0.02
    assert 0.6 < float(values.std(0).mean() / estimated) < 1.6
    assert np.mean(shares) == pytest.approx(adaptation(exact(first), remove).share, abs=0.01)


# --- Strength ---


def test_images_without_strength_unusable_images_and_large_leverages_are_left_out():
    traces = torch.cat([torch.linspace(1, 2, 26), torch.tensor([-1.0, 0.0, 1e9])])
    usable = torch.ones(29, dtype=torch.bool)
    usable[3] = False
    assert remove_strength(traces, usable).indices.tolist() == [index for index in range(26) if index != 3]
    # The last image has a leverage of nearly 1: any cubic can pass through it.
    assert remove_strength(traces[:26], usable[:26]).matrix.diagonal().min() > 0.1


# --- Geometries exchanged between images ---


def test_significance_is_the_share_of_all_permutations():
    table = normal(6, 6) + 0.5 * torch.eye(6)
    own = float(table.trace())
    sums = [sum(float(table[i, j]) for i, j in enumerate(order)) for order in itertools.permutations(range(6))]
    expected = sum(total >= own - 1e-9 for total in sums) / len(sums)
    assert 0.01 < expected < 0.5
    # The tolerance is four standard errors of 9999 random permutations.
    assert abs(exchange_significance(table) - expected) < 4 * (expected / 9999) ** 0.5


SHAPES = [(1, 5, 5), (1, 4, 6), (2, 3, 4)]


def symmetric(count, size, seed=0):
    matrices = normal(count, size, size, seed=seed)
    return matrices + matrices.mT


def pixels(shape):
    channels, height, width = shape
    return [(c, y, x) for c in range(channels) for y in range(height) for x in range(width)]


def isotropic_sets(shape):
    """Return indicators of the sets of entries (p, q) with equal p, channel of q, and unordered absolute offsets."""
    positions = pixels(shape)
    sets: dict[object, torch.Tensor] = {}
    for row, (_, y, x) in enumerate(positions):
        for column, (other_channel, v, u) in enumerate(positions):
            key = (row, other_channel, *sorted((abs(v - y), abs(u - x))))
            sets.setdefault(key, torch.zeros(len(positions), len(positions), dtype=torch.float64))[row, column] = 1
    return torch.stack(list(sets.values()))


def project_by_least_squares(filters, shape):
    """Return the projection on the complement of all A + A'."""
    sets = isotropic_sets(shape)
    left, values, _ = torch.linalg.svd((sets + sets.mT).flatten(1).mT, full_matrices=False)
    span = left[:, values > 1e-9 * values[0]]
    flat = filters.flatten(1).mT
    return (flat - span @ (span.mT @ flat)).mT.reshape(filters.shape)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_directional_part_is_the_orthogonal_projection(shape):
    filters = symmetric(3, len(pixels(shape)))
    expected = project_by_least_squares(filters, shape)
    result = directional(filters, shape, steps=100)
    torch.testing.assert_close(result, expected, atol=1e-8, rtol=0)
    torch.testing.assert_close(result, result.mT)
    # The default number of steps is nearly exact.
    assert (directional(filters, shape) - expected).norm() < 1e-4 * expected.norm()


@pytest.mark.parametrize("shape", SHAPES)
def test_filters_that_are_symmetric_up_to_rounding_do_not_diverge(shape):
    """No A + A' can fit an antisymmetric part, which must not make conjugate gradients diverge."""
    size = len(pixels(shape))
    filters = symmetric(2, size)
    skew = normal(2, size, size, seed=5)
    result = directional(filters + 1e-6 * (skew - skew.mT), shape, steps=300)
    torch.testing.assert_close(result, directional(filters, shape, steps=300), atol=1e-8, rtol=0)
