import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gahbench.sampling.statistics.neighbours import nearest, nearest_by_cosine, pair_cosines, unit_vectors


def random(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def cosines(queries, images, centred=True, origin=0.0):
    """Return the cosines of all pairs, computed one by one."""

    def vector(image):
        flat = (image.double() - origin).flatten()
        return flat - flat.mean() if centred else flat

    pairs = [
        [vector(query) @ vector(image) / (vector(query).norm() * vector(image).norm()) for image in images]
        for query in queries
    ]
    return torch.tensor(pairs).reshape(len(queries), len(images)).double()


@settings(deadline=None, max_examples=60)
@given(
    queries=st.integers(0, 9),
    images=st.integers(1, 300),
    count=st.integers(1, 5),
    offset=st.floats(-100, 100),
    memory=st.sampled_from([1, 1 << 14, 1 << 28]),
    seed=st.integers(0, 10**6),
)
def test_nearest_agrees_with_all_distances_for_any_memory(queries, images, count, offset, memory, seed):
    query_images, candidates = random(queries, 2, 3, seed=seed) + offset, random(images, 2, 3, seed=seed + 1) + offset
    neighbours = nearest(query_images, candidates, count, memory)
    distances = (query_images[:, None].double() - candidates.double()).flatten(2).norm(dim=2)
    expected = distances.sort(dim=1)
    assert neighbours.indices.shape == (queries, min(count, images))
    torch.testing.assert_close(neighbours.values, expected.values[:, :count], atol=0, rtol=1e-12)
    # Float32 images may have equal distances, so compare distances instead of indices.
    torch.testing.assert_close(distances.gather(1, neighbours.indices), neighbours.values, atol=0, rtol=1e-12)


@settings(deadline=None, max_examples=40)
@given(
    images=st.integers(1, 300),
    count=st.integers(1, 5),
    centred=st.booleans(),
    shifted=st.booleans(),
    memory=st.sampled_from([1, 1 << 28]),
    seed=st.integers(0, 10**6),
)
def test_nearest_by_cosine_agrees_with_all_cosines(images, count, centred, shifted, memory, seed):
    query_images, candidates = random(4, 1, 3, 3, seed=seed), random(images, 1, 3, 3, seed=seed + 1)
    origin = random(1, 3, 3, seed=seed + 2) if shifted else None
    neighbours = nearest_by_cosine(query_images, candidates, count, centred, origin, memory)
    expected = cosines(query_images, candidates, centred, 0.0 if origin is None else origin)
    torch.testing.assert_close(neighbours.values, expected.sort(1, descending=True).values[:, :count])
    torch.testing.assert_close(expected.gather(1, neighbours.indices), neighbours.values)


def test_the_distance_of_a_near_copy_has_a_small_relative_error():
    """|a|^2 - 2ab + |b|^2 would be only rounding error: 1e-16 of 1600 is the square of 4e-7."""
    images = random(200, 1, 40, 40).double() + 1
    queries = images[[7, 150]].clone()
    queries[0, 0, 3, 4] += 1e-10
    neighbours = nearest(queries, images, 2)
    assert neighbours.indices[:, 0].tolist() == [7, 150]
    assert neighbours.values[0, 0].item() == pytest.approx(1e-10, rel=1e-5)
    assert neighbours.values[1, 0] == 0


def test_near_copies_are_ordered_correctly():
    """Rounding changes products of 1e11 by 1e-5, more than squared distances of 1e-8."""
    candidates = 1e4 * random(50, 1, 10, 10).double()
    queries = 1e4 * random(1, 1, 10, 10, seed=1).double()
    near = queries.repeat(4, 1, 1, 1)
    near[:, 0, 0, 0] += torch.tensor([4e-5, 2e-5, 1e-5, 3e-5])
    neighbours = nearest(queries, torch.cat([candidates, near]), 4)
    assert neighbours.indices.tolist() == [[52, 51, 53, 50]]
    torch.testing.assert_close(neighbours.values, torch.tensor([[1e-5, 2e-5, 3e-5, 4e-5]]).double(), rtol=1e-5, atol=0)


def test_all_copies_are_found():
    images = random(5, 1, 4, 4).repeat(30, 1, 1, 1)
    neighbours = nearest(images[:5], images, 30)
    assert (neighbours.values == 0).all()
    assert (neighbours.indices % 5 == torch.arange(5)[:, None]).all()
    assert all(len(set(row)) == 30 for row in neighbours.indices.tolist())


def test_centring_ignores_brightness_and_contrast():
    images = random(6, 3, 4, 5)
    brighter = 0.3 * images + 0.6
    assert (nearest_by_cosine(brighter, images).values > 1 - 1e-6).all()
    assert nearest_by_cosine(brighter, images).indices[:, 0].tolist() == list(range(6))
    assert (nearest_by_cosine(brighter, images, centred=False).values < 1 - 1e-3).all()
    origin = images.mean(0)
    across = nearest_by_cosine(origin - 0.2 * (images - origin), images, origin=origin, centred=False, count=6)
    torch.testing.assert_close(across.values[:, -1], -torch.ones(6).double())


def test_unit_vectors_have_unit_length_and_zero_mean_unless_the_image_is_flat():
    images = random(5, 2, 3, 4)
    vectors = unit_vectors(images)
    torch.testing.assert_close(vectors.norm(dim=1), torch.ones(5).double())
    torch.testing.assert_close(vectors.mean(1), torch.zeros(5).double())
    flat = torch.stack([torch.full((1, 3, 3), 0.1), torch.zeros(1, 3, 3), random(1, 3, 3)])
    assert (unit_vectors(flat) != 0).any(1).tolist() == [False, False, True]
    assert (unit_vectors(flat, centred=False) != 0).any(1).tolist() == [True, False, True]
    assert (unit_vectors(flat, False, flat[2]) != 0).any(1).tolist() == [True, True, False]
    # An image of low contrast is not flat.
    torch.testing.assert_close(unit_vectors(1e-9 * images), vectors)


def test_invalid_arguments_are_rejected():
    images = random(3, 1, 2, 2)
    for search in (nearest, nearest_by_cosine):
        with pytest.raises(ValueError, match="at least 1"):
            search(images, images[:0])
        with pytest.raises(ValueError, match="count=0; accepted: 1"):
            search(images, images, 0)
        with pytest.raises(ValueError, match="do not match"):
            search(images, random(3, 1, 4, 1))


def test_cosines_of_pairs_equal_pixel_correlations():
    first, second = normal(6, 1, 5, 5), normal(6, 1, 5, 5, seed=1)
    second = second + torch.arange(6).view(6, 1, 1, 1) * first
    expected = [
        torch.corrcoef(torch.stack([a.flatten(), b.flatten()]).double())[0, 1]
        for a, b in zip(first, second, strict=True)
    ]
    torch.testing.assert_close(pair_cosines(first, second), torch.stack(expected))


def test_pair_cosines_ignore_subtracted_means():
    first = normal(4, 3, 6, 6)
    torch.testing.assert_close(pair_cosines(first, 2 * first + 5), torch.ones(4).double())
    # Without centring, brightness dominates.
    assert (pair_cosines(first + 5, 5 - first, centred=False) > 0.8).all()
    torch.testing.assert_close(pair_cosines(first + 5, 5 - first), -torch.ones(4).double())
    family = 10 * normal(3, 6, 6, seed=2)
    first, second = family + normal(4, 3, 6, 6, seed=3), family + normal(4, 3, 6, 6, seed=4)
    assert (pair_cosines(first, second) > 0.95).all()
    assert (pair_cosines(first, second, origin=family).abs() < 0.5).all()


def test_cosines_of_independent_noise_are_near_zero():
    """Cosines of d independent pixels have mean 0 and variance 1 / (d - 1)."""
    cosines_of_noise = pair_cosines(normal(4000, 1, 5, 5), normal(4000, 1, 5, 5, seed=1))
    assert abs(cosines_of_noise.mean()) < 4 / (24 * 4000) ** 0.5
    assert cosines_of_noise.var().item() == pytest.approx(1 / 24, rel=0.1)


def test_pairs_of_flat_images_have_cosine_zero_and_shapes_must_agree():
    assert pair_cosines(torch.ones(2, 1, 3, 3), normal(2, 1, 3, 3)).tolist() == [0, 0]
    with pytest.raises(ValueError, match="same shape"):
        pair_cosines(torch.ones(2, 1, 3, 3), torch.ones(3, 1, 3, 3))
