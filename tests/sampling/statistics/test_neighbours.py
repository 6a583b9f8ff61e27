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
    """All of them, pair by pair."""

    def vector(image):
        flat = (image.double() - origin).flatten()
        return flat - flat.mean() if centred else flat

    pairs = [
        [vector(some) @ vector(other) / (vector(some).norm() * vector(other).norm()) for other in images]
        for some in queries
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
def test_nearest_against_all_distances_whatever_the_memory(queries, images, count, offset, memory, seed):
    some, others = random(queries, 2, 3, seed=seed) + offset, random(images, 2, 3, seed=seed + 1) + offset
    found = nearest(some, others, count, memory)
    distances = (some[:, None].double() - others.double()).flatten(2).norm(dim=2)
    expected = distances.sort(dim=1)
    assert found.indices.shape == (queries, min(count, images))
    torch.testing.assert_close(found.values, expected.values[:, :count], atol=0, rtol=1e-12)
    # Float32 images may be equally far.
    torch.testing.assert_close(distances.gather(1, found.indices), found.values, atol=0, rtol=1e-12)


@settings(deadline=None, max_examples=40)
@given(
    images=st.integers(1, 300),
    count=st.integers(1, 5),
    centred=st.booleans(),
    shifted=st.booleans(),
    memory=st.sampled_from([1, 1 << 28]),
    seed=st.integers(0, 10**6),
)
def test_nearest_by_cosine_against_all_cosines(images, count, centred, shifted, memory, seed):
    some, others = random(4, 1, 3, 3, seed=seed), random(images, 1, 3, 3, seed=seed + 1)
    origin = random(1, 3, 3, seed=seed + 2) if shifted else None
    found = nearest_by_cosine(some, others, count, centred, origin, memory)
    expected = cosines(some, others, centred, 0.0 if origin is None else origin)
    torch.testing.assert_close(found.values, expected.sort(1, descending=True).values[:, :count])
    torch.testing.assert_close(expected.gather(1, found.indices), found.values)


def test_the_distance_of_a_near_copy_is_relative_to_itself():
    """|a|^2 - 2ab + |b|^2 would be rounding alone: 1e-16 of 1600 is the square of 4e-7."""
    images = random(200, 1, 40, 40).double() + 1
    queries = images[[7, 150]].clone()
    queries[0, 0, 3, 4] += 1e-10
    found = nearest(queries, images, 2)
    assert found.indices[:, 0].tolist() == [7, 150]
    assert found.values[0, 0].item() == pytest.approx(1e-10, rel=1e-5)
    assert found.values[1, 0] == 0


def test_near_copies_are_in_order():
    """Squared distances of 1e-8 among products of 1e11, which rounding changes by 1e-5."""
    others = 1e4 * random(50, 1, 10, 10).double()
    queries = 1e4 * random(1, 1, 10, 10, seed=1).double()
    near = queries.repeat(4, 1, 1, 1)
    near[:, 0, 0, 0] += torch.tensor([4e-5, 2e-5, 1e-5, 3e-5])
    found = nearest(queries, torch.cat([others, near]), 4)
    assert found.indices.tolist() == [[52, 51, 53, 50]]
    torch.testing.assert_close(found.values, torch.tensor([[1e-5, 2e-5, 3e-5, 4e-5]]).double(), rtol=1e-5, atol=0)


def test_copies_are_all_found():
    images = random(5, 1, 4, 4).repeat(30, 1, 1, 1)
    found = nearest(images[:5], images, 30)
    assert (found.values == 0).all()
    assert (found.indices % 5 == torch.arange(5)[:, None]).all()
    assert all(len(set(row)) == 30 for row in found.indices.tolist())


def test_means_that_are_removed():
    images = random(6, 3, 4, 5)
    brighter = 0.3 * images + 0.6
    assert (nearest_by_cosine(brighter, images).values > 1 - 1e-6).all()
    assert nearest_by_cosine(brighter, images).indices[:, 0].tolist() == list(range(6))
    assert (nearest_by_cosine(brighter, images, centred=False).values < 1 - 1e-3).all()
    origin = images.mean(0)
    across = nearest_by_cosine(origin - 0.2 * (images - origin), images, origin=origin, centred=False, count=6)
    torch.testing.assert_close(across.values[:, -1], -torch.ones(6).double())


def test_unit_vectors():
    images = random(5, 2, 3, 4)
    vectors = unit_vectors(images)
    torch.testing.assert_close(vectors.norm(dim=1), torch.ones(5).double())
    torch.testing.assert_close(vectors.mean(1), torch.zeros(5).double())
    flat = torch.stack([torch.full((1, 3, 3), 0.1), torch.zeros(1, 3, 3), random(1, 3, 3)])
    assert (unit_vectors(flat) != 0).any(1).tolist() == [False, False, True]
    assert (unit_vectors(flat, centred=False) != 0).any(1).tolist() == [True, False, True]
    assert (unit_vectors(flat, False, flat[2]) != 0).any(1).tolist() == [True, True, False]
    # A faint image is not flat.
    torch.testing.assert_close(unit_vectors(1e-9 * images), vectors)


def test_errors_say_what_is_accepted():
    images = random(3, 1, 2, 2)
    for search in (nearest, nearest_by_cosine):
        with pytest.raises(ValueError, match="at least 1"):
            search(images, images[:0])
        with pytest.raises(ValueError, match="count=0: accepted are 1"):
            search(images, images, 0)
        with pytest.raises(ValueError, match="not alike"):
            search(images, random(3, 1, 4, 1))


def test_cosines_of_pairs_are_correlations_of_pixels():
    first, second = normal(6, 1, 5, 5), normal(6, 1, 5, 5, seed=1)
    second = second + torch.arange(6).view(6, 1, 1, 1) * first
    expected = [
        torch.corrcoef(torch.stack([a.flatten(), b.flatten()]).double())[0, 1]
        for a, b in zip(first, second, strict=True)
    ]
    torch.testing.assert_close(pair_cosines(first, second), torch.stack(expected))


def test_the_mean_that_is_removed_does_not_count():
    first = normal(4, 3, 6, 6)
    torch.testing.assert_close(pair_cosines(first, 2 * first + 5), torch.ones(4).double())
    # Brightness decides whether it is left in.
    assert (pair_cosines(first + 5, 5 - first, centred=False) > 0.8).all()
    torch.testing.assert_close(pair_cosines(first + 5, 5 - first), -torch.ones(4).double())
    family = 10 * normal(3, 6, 6, seed=2)
    one, other = family + normal(4, 3, 6, 6, seed=3), family + normal(4, 3, 6, 6, seed=4)
    assert (pair_cosines(one, other) > 0.95).all()
    assert (pair_cosines(one, other, origin=family).abs() < 0.5).all()


def test_independent_noise_has_none():
    """Cosines of d independent pixels have mean 0 and variance 1 / (d - 1)."""
    found = pair_cosines(normal(4000, 1, 5, 5), normal(4000, 1, 5, 5, seed=1))
    assert abs(found.mean()) < 4 / (24 * 4000) ** 0.5
    assert found.var().item() == pytest.approx(1 / 24, rel=0.1)


def test_pairs_of_flat_images_and_of_other_shapes():
    assert pair_cosines(torch.ones(2, 1, 3, 3), normal(2, 1, 3, 3)).tolist() == [0, 0]
    with pytest.raises(ValueError, match="same shape"):
        pair_cosines(torch.ones(2, 1, 3, 3), torch.ones(3, 1, 3, 3))
