"""Near repeats, and splits."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gahbench._util.errors import DataError
from gahbench_plugins.datasets._reading import splits
from gahbench_plugins.datasets._reading.splits import consecutive, halves, published, without_repeats


def kept_one_by_one(images):
    """Compare each image with those that stay, by numpy's correlation."""
    stay = []
    for place, image in enumerate(images):
        if np.ptp(image) == 0 or not any(
            np.ptp(images[other]) > 0 and np.corrcoef(image, images[other])[0, 1] > 0.95 for other in stay
        ):
            stay.append(place)
    return stay


def test_planted_repeats_are_found_and_nothing_else():
    random = np.random.default_rng(0)
    images = random.uniform(size=(3000, 400)).astype(np.float32)
    copies = random.choice(np.arange(1500, 3000), 60, replace=False)
    originals = random.choice(1500, 60, replace=False)
    # Brightness and contrast change no correlation, and a little noise hardly.
    images[copies] = 0.6 * images[originals] + 0.2 + 0.01 * random.normal(size=(60, 400))
    stay = without_repeats(torch.from_numpy(images))
    assert sorted(set(range(3000)) - set(stay.tolist())) == sorted(copies.tolist())


@pytest.mark.parametrize(("cosine", "kept"), [(0.9501, [0]), (0.9499, [0, 1]), (-0.999, [0, 1])])
def test_the_threshold_is_sharp(cosine, kept):
    basis = np.linalg.qr(np.concatenate([np.ones((400, 1)), np.random.default_rng(1).normal(size=(400, 2))], 1))[0].T
    images = np.stack([3 * basis[1] + 5, 7 * (cosine * basis[1] + (1 - cosine**2) ** 0.5 * basis[2])])
    assert without_repeats(torch.from_numpy(images.astype(np.float32))).tolist() == kept


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 10**6), count=st.integers(0, 40), chunk=st.integers(1, 9), span=st.integers(1, 9))
def test_chunks_find_what_comparing_one_by_one_finds(seed, count, chunk, span):
    random = np.random.default_rng(seed)
    # Few pixels and values of two kinds, so that repeats and chains of them are common.
    images = random.choice([0.0, 1.0], size=(count, 5)) + random.choice([0, 0.02], size=(count, 1)) * np.arange(5)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(splits, "CHUNK", chunk)
        patch.setattr(splits, "SPAN", span)
        found = without_repeats(torch.from_numpy(images.astype(np.float32)))
    assert found.tolist() == kept_one_by_one(images.astype(np.float32))


@given(total=st.integers(1, 400), test=st.none() | st.integers(1, 40), start=st.integers(0, 9))
def test_consecutive_splits_are_a_cut_of_all(total, test, start):
    places = np.arange(start, start + total)
    if test is not None and test + test // 2 > total:
        with pytest.raises(DataError, match=f"test={test} .* out of {total}"):
            consecutive(places, test, "here")
        return
    parts = consecutive(places, test, "here")
    assert list(parts) == ["train", "validation", "test"]
    np.testing.assert_array_equal(np.concatenate(list(parts.values())), places)
    assert len(parts["validation"]) == len(parts["test"]) // 2
    if test is not None:
        assert len(parts["test"]) == test


def test_default_share_and_limit():
    assert [len(part) for part in consecutive(np.arange(100), None, "").values()] == [64, 12, 24]
    assert [len(part) for part in consecutive(np.arange(10_000), None, "").values()] == [8464, 512, 1024]


def test_published_partition_leaves_out_what_is_not_kept():
    parts = published(np.array([0, 2, 3, 5]), np.array([2, 0, 0, 1, 1, 0]))
    assert {name: part.tolist() for name, part in parts.items()} == {"train": [2, 5], "validation": [3], "test": [0]}


@given(people=st.lists(st.integers(1, 12), min_size=1, max_size=40), seed=st.integers(0, 2**40))
def test_halves_share_no_person_and_are_balanced(people, seed):
    identity = np.random.default_rng(0).permutation(np.repeat(np.arange(len(people)) * 7 - 3, people))
    # Some images are not for training.
    train = np.arange(len(identity))[len(identity) // 3 :]
    for known in (identity, None):
        parts = halves(train, known, seed)
        np.testing.assert_array_equal(np.sort(np.concatenate([parts["A"], parts["B"]])), train)
        assert abs(len(parts["A"]) - len(parts["B"])) <= (1 if known is None else max(people))
        assert known is None or not set(identity[parts["A"]]) & set(identity[parts["B"]])


def test_halves_are_random_and_follow_the_seed():
    train = np.arange(1000)
    first, again, other = (set(halves(train, None, seed)["A"]) for seed in (0, 0, 1))
    assert first == again
    # Two random halves of 1000 share 250 images, with a standard deviation of 8.
    assert abs(len(first & other) - 250) < 40
