import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gahbench._util.errors import DataError
from gahbench_plugins.datasets._reading.splits import consecutive, halves, published


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


@given(count=st.integers(0, 200), seed=st.integers(0, 2**40))
def test_halves_are_a_cut_of_training(count, seed):
    train = np.arange(100, 100 + count)
    parts = halves(train, None, seed)
    np.testing.assert_array_equal(np.sort(np.concatenate([parts["A"], parts["B"]])), train)
    assert 0 <= len(parts["A"]) - len(parts["B"]) <= 1


@given(people=st.lists(st.integers(1, 12), min_size=1, max_size=40), seed=st.integers(0, 2**40))
def test_halves_share_no_person_and_are_balanced(people, seed):
    identity = np.random.default_rng(0).permutation(np.repeat(np.arange(len(people)) * 7 - 3, people))
    # Some images are not for training.
    train = np.arange(len(identity))[len(identity) // 3 :]
    parts = halves(train, identity, seed)
    np.testing.assert_array_equal(np.sort(np.concatenate([parts["A"], parts["B"]])), train)
    assert not set(identity[parts["A"]]) & set(identity[parts["B"]])
    assert abs(len(parts["A"]) - len(parts["B"])) <= max(people)


def test_halves_are_random_and_follow_the_seed():
    train = np.arange(1000)
    first, again, other = (halves(train, None, seed)["A"] for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    # Two random halves of 1000 share 250 images, with a standard deviation of 8.
    assert abs(len(set(first) & set(other)) - 250) < 40
    # The first images of a half are from all of the set: their mean has a standard deviation of 29.
    assert abs(first[:100].mean() - 500) < 120
