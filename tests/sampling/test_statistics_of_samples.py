"""Nearest images, cosines of pairs, and sets without common images."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from random_images import normal

from gahbench.sampling import nearest, nearest_by_cosine, nearest_is_own, pair_cosines, remove_shared


def random(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def cosines(queries, images):
    """Return the correlations over pixels of all pairs, computed one by one."""
    pairs = [torch.stack([a.flatten(), b.flatten()]).double() for a in queries for b in images]
    return torch.stack([torch.corrcoef(pair)[0, 1] for pair in pairs]).view(len(queries), -1)


@settings(deadline=None, max_examples=40)
@given(
    queries=st.integers(1, 9), images=st.integers(1, 300), count=st.integers(1, 5), offset=st.floats(-100, 100),
    seed=st.integers(0, 10**6),
)  # fmt: skip
def test_nearest_images_agree_with_all_pairs(queries, images, count, offset, seed):
    first, candidates = random(queries, 2, 3, seed=seed) + offset, random(images, 2, 3, seed=seed + 1) + offset
    neighbours = nearest(first, candidates, count)
    distances = (first[:, None].double() - candidates.double()).flatten(2).norm(dim=2)
    assert neighbours.indices.shape == (queries, min(count, images))
    torch.testing.assert_close(neighbours.values, distances.sort(1).values[:, :count], atol=0, rtol=1e-12)
    # Float32 images may have equal distances, so compare distances instead of indices.
    torch.testing.assert_close(distances.gather(1, neighbours.indices), neighbours.values, atol=0, rtol=1e-12)
    first, candidates = first - offset, candidates - offset
    alike, expected = nearest_by_cosine(first, candidates, count), cosines(first, candidates)
    torch.testing.assert_close(alike.values, expected.sort(1, descending=True).values[:, :count])
    torch.testing.assert_close(expected.gather(1, alike.indices), alike.values)


def test_sets_that_do_not_fit_into_memory_are_searched_in_parts():
    images = normal(3400, 1, 50, 50)
    queries = images[[3399, 2, 3360]] + 1e-6
    for search in (nearest, nearest_by_cosine):
        found = search(queries, images, 3)
        assert found.indices[:, 0].tolist() == [3399, 2, 3360]
        assert all(len(set(row)) == 3 for row in found.indices.tolist())


def test_the_distance_of_a_near_copy_has_a_small_relative_error():
    """|a|^2 - 2ab + |b|^2 would be only rounding error: 1e-16 of 1600 is the square of 4e-7."""
    images = random(200, 1, 40, 40).double() + 1
    queries = images[[7, 150]].clone()
    queries[0, 0, 3, 4] += 1e-10
    neighbours = nearest(queries, images, 2)
    assert neighbours.indices[:, 0].tolist() == [7, 150]
    assert neighbours.values[0, 0].item() == pytest.approx(1e-10, rel=1e-5)
    assert neighbours.values[1, 0] == 0


def test_invalid_arguments_are_rejected():
    images = random(3, 1, 2, 2)
    for search in (nearest, nearest_by_cosine):
        for arguments in ((images, images[:0]), (images, images, 0), (images, random(3, 1, 4, 1))):
            with pytest.raises(ValueError, match=r"at least 1|count=0|do not match"):
                search(*arguments)
    with pytest.raises(ValueError, match="same shape"):
        pair_cosines(torch.ones(2, 1, 3, 3), torch.ones(3, 1, 3, 3))


def test_pair_cosines_are_correlations_and_ignore_subtracted_means():
    first, second = normal(6, 1, 5, 5), normal(6, 1, 5, 5, seed=1)
    second = second + torch.arange(6).view(6, 1, 1, 1) * first
    torch.testing.assert_close(pair_cosines(first, second), cosines(first, second).diag())
    torch.testing.assert_close(pair_cosines(first, 1e-9 * first + 5e-9), torch.ones(6).double())
    # Without centring, brightness dominates.
    assert (pair_cosines(first + 5, 5 - first, centred=False) > 0.8).all()
    torch.testing.assert_close(pair_cosines(first + 5, 5 - first), -torch.ones(6).double())
    family = 10 * normal(3, 6, 6, seed=2)
    first, second = family + normal(4, 3, 6, 6, seed=3), family + normal(4, 3, 6, 6, seed=4)
    assert (pair_cosines(first, second) > 0.95).all()
    assert (pair_cosines(first, second, origin=family).abs() < 0.5).all()
    # Flat images have no direction.
    assert pair_cosines(torch.full((2, 1, 3, 3), 0.1), normal(2, 1, 3, 3)).tolist() == [0, 0]


def test_copies_are_in_their_own_set_up_to_brightness_if_affine():
    """Bright copies are nearest to the brightest image and dark copies to the darkest image, whatever their content."""
    first, second = random(9, 1, 4, 4, seed=1), random(9, 1, 4, 4, seed=2)
    assert nearest_is_own(first + 1e-3, first, second).tolist() == [1.0] * 9
    assert nearest_is_own(second, first, second).tolist() == [0.0] * 9
    first[0], second[0] = 0.01 * first[0], 2 * second[0]
    bright = 20 * first[1:]
    assert nearest_is_own(bright, first, second).tolist() == [0.0] * 8
    assert nearest_is_own(bright + 1, first, second, affine=True).tolist() == [1.0] * 8


@pytest.mark.parametrize("affine", [False, True])
@pytest.mark.parametrize("count", [1, 30])
def test_half_of_the_samples_that_ignore_the_sets_are_nearer_to_their_own_set(count, affine):
    """For exchangeable sets the mean of both shares is always 1/2."""
    pis = []
    for seed in range(60):
        own, other = (random(count, 1, 4, 4, seed=3 * seed + index) for index in range(2))
        samples = random(64, 1, 4, 4, seed=3 * seed + 2)
        first = nearest_is_own(samples[:32], own, other, affine)
        second = nearest_is_own(samples[32:], other, own, affine)
        pis.append(float((first.mean() + second.mean()) / 2))
        # For equal samples the two shares add up to 1.
        assert bool((nearest_is_own(samples[:32], other, own, affine) + first == 1).all())
    pis = torch.tensor(pis)
    assert abs(float(pis.mean()) - 0.5) < 4 * float(pis.std()) / 60**0.5


def test_shared_images_are_removed_and_the_sets_truncated_to_equal_size():
    own = random(5, 1, 4, 4, seed=1)
    other = torch.cat([random(3, 1, 4, 4, seed=2), own[1:3]])
    unshared_own, unshared_other = remove_shared(own, other)
    assert torch.equal(unshared_own, own[[0, 3, 4]])
    assert torch.equal(unshared_other, other[:3])
    assert list(map(len, remove_shared(own, own))) == [0, 0]
