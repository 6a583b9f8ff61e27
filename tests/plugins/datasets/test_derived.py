"""Datasets derived from another dataset: finite draws, shuffled pixels, and published halves."""

import itertools

import numpy as np
import pytest
import torch
from constructing import construct
from hypothesis import given, settings
from hypothesis import strategies as st

from gahbench._util.errors import DataError
from gahbench.contracts.datasets import SPLITS
from gahbench_plugins.datasets import finite
from gahbench_plugins.datasets.faces import Faces
from gahbench_plugins.datasets.finite import Finite, empirical_bayes
from gahbench_plugins.datasets.published_halves import PublishedHalves
from gahbench_plugins.datasets.shuffled import Shuffled


def brute_force(points, noisy, sigma):
    """Return means and traces, computed from differences in extended precision, image by image."""
    points = points.double().numpy().astype(np.longdouble)
    means, traces = [], []
    for image in noisy.double().numpy().astype(np.longdouble):
        distances = ((image - points) ** 2).sum(1)
        weights = np.exp(-(distances - distances.min()) / (2 * np.longdouble(sigma) ** 2))
        weights /= weights.sum()
        mean = (weights[:, None] * points).sum(0)
        likeliest = weights.argmax()
        # Differences from the likeliest point make its own term exactly 0 instead of a rounding error.
        offset = (weights[:, None] * (points - points[likeliest])).sum(0)
        spread = ((points - points[likeliest] - offset) ** 2).sum(1)
        means.append(mean)
        traces.append((weights * spread).sum())
    return torch.from_numpy(np.array(means, dtype=np.float64)), torch.from_numpy(np.array(traces, dtype=np.float64))


def cloud(count, pixels, seed=0):
    return torch.rand(count, pixels, generator=torch.Generator().manual_seed(seed))


def noisy_of(points, sigma, count=6, seed=1):
    draw = torch.Generator().manual_seed(seed)
    chosen = torch.randint(len(points), (count,), generator=draw)
    return points[chosen].double() + sigma * torch.randn(count, points.shape[1], generator=draw).double()


@settings(deadline=None, max_examples=60)
@given(
    count=st.integers(1, 30),
    pixels=st.integers(1, 40),
    log_sigma=st.floats(-3.5, 1),
    seed=st.integers(0, 10**6),
    elements=st.integers(1, 300),
)
def test_the_mean_is_the_weighted_average_for_all_chunk_sizes(count, pixels, log_sigma, seed, elements):
    sigma = 10**log_sigma
    points = cloud(count, pixels, seed)
    noisy = noisy_of(points, sigma, seed=seed + 1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(finite, "ELEMENTS", elements)
        result = empirical_bayes(points, noisy, sigma)
    mean, trace = brute_force(points, noisy, sigma)
    torch.testing.assert_close(result.mean, mean, atol=1e-8, rtol=0)
    torch.testing.assert_close(result.trace, trace, atol=1e-15, rtol=1e-6)


def test_every_split_draws_uniformly_from_the_same_images():
    dataset = construct(Finite, "faces[size=8]", count=5)
    members = Faces(size=8).images("train", 5)
    assert torch.equal(dataset.members, members)
    drawn = []
    for split in SPLITS:
        images = dataset.images(split, 1000)
        drawn.append(torch.cdist(images.flatten(1), members.flatten(1)).argmin(1))
        assert torch.equal(images, members[drawn[-1]])
        counts = torch.bincount(drawn[-1], minlength=5).double()
        # Chi square with 4 degrees of freedom: above 23.5 once in 10,000 times.
        assert ((counts - 200).square() / 200).sum() < 23.5
    # Splits are independent, so they agree in a fifth of the draws, by chance.
    for first, second in itertools.combinations(drawn, 2):
        assert (first == second).double().mean().item() == pytest.approx(0.2, abs=4 * 0.4 / 1000**0.5)
    other = construct(Finite, "faces[size=8]", count=5, seed=1)
    assert torch.equal(other.members, members)
    assert not torch.equal(other.images("test", 64), dataset.images("test", 64))


PLAIN = ["gaussian-field[size=8,colour=rgb]", "finite[dataset=faces[size=8],count=9]", "c-alpha[size=10]"]


@pytest.mark.parametrize("spec", PLAIN)
def test_one_permutation_for_all_images_channels_and_splits(spec):
    dataset = construct(Shuffled, spec)
    assert dataset.splits_overlap == dataset.dataset.splits_overlap
    for split in SPLITS:
        plain = dataset.dataset.images(split, 5, 2)
        shuffled = plain.flatten(2).numpy()[..., dataset.permutation.numpy()].reshape(plain.shape)
        np.testing.assert_array_equal(dataset.images(split, 5, 2), shuffled)
        assert torch.equal(dataset.inverse(dataset.shuffle(plain)), plain)
    pixels = torch.arange(dataset.shape[1] ** 2)
    assert torch.equal(dataset.permutation.sort().values, pixels)
    # A random permutation has 1 fixed point on average, and 6 or more once in 1700 times.
    assert (dataset.permutation == pixels).sum() < 6
    assert not torch.equal(construct(Shuffled, PLAIN[0], seed=1).permutation, construct(Shuffled, PLAIN[0]).permutation)


@pytest.fixture(params=[40, 41])
def numbered(request, tmp_path):
    """Return the number of images, and a dataset whose image k is filled with the value k / 100."""
    values = np.arange(request.param, dtype=np.float32) / 100
    np.save(tmp_path / "list.npy", np.broadcast_to(values[:, None, None], (request.param, 8, 8)))
    spec = f"images[path='{tmp_path / 'list.npy'}',near_duplicates=keep]"
    return request.param, construct(PublishedHalves, spec)


def numbers(dataset, split, count, start=0):
    return (100 * dataset.images(split, count, start)[:, 0, 0, 0]).round().int().tolist()


def test_halves_are_the_first_and_the_last_images_as_the_published_code_slices_a_list(numbered):
    total, dataset = numbered
    half = total // 2
    assert dataset.available("A") == dataset.available("B") == half
    for size in (1, 3, 10, half):
        assert numbers(dataset, "A", size) == list(range(size))
        assert numbers(dataset, "B", size) == list(range(total))[::-1][:size]
    assert numbers(dataset, "B", 4, 2) == [total - 3, total - 4, total - 5, total - 6]
    with pytest.raises(DataError, match=f"{half + 1} A images requested, but the split holds {half}"):
        dataset.images("A", half + 1)


def test_test_images_are_at_the_other_end_and_not_in_train(numbered):
    total, dataset = numbered
    splits = {split: numbers(dataset, split, dataset.available(split)) for split in ("A", "B", "train", "test",
              "validation")}  # fmt: skip
    assert len(splits["test"]) == dataset.dataset.available("test")
    assert len(splits["validation"]) == dataset.dataset.available("validation")
    assert not set(splits["test"]) & {*splits["A"], *splits["train"], *splits["validation"]}
    assert sorted(splits["train"] + splits["test"] + splits["validation"]) == list(range(total))
    assert set(splits["A"]) <= set(splits["train"])
    # A partner of few images has not seen them, and the note says of how many.
    held = total // 2 - len(splits["test"]) - len(splits["validation"])
    assert not set(numbers(dataset, "B", held)) & {*splits["test"], *splits["validation"]}
    assert f"more than {held:,} images of B" in dataset.notes[-1]
    assert numbers(dataset, "train", 6, total // 2 - 3) == splits["train"][total // 2 - 3 : total // 2 + 3]


def test_endless_datasets_are_refused():
    with pytest.raises(DataError, match="the train split of Discs is endless; accepted: datasets of finitely many"):
        construct(PublishedHalves, "discs[size=8]").available("A")
