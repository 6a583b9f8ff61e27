"""Halves from both ends of a list of images, as in the published code."""

import pytest
import torch
from constructing import construct

from gahbench._util.errors import DataError
from gahbench_plugins.datasets.published_halves import PublishedHalves


@pytest.fixture(params=[40, 41])
def numbered(request, tmp_path):
    """Return the number of images, and a dataset whose image k is filled with the value k / 100."""
    values = torch.arange(request.param) / 100
    torch.save(values.view(-1, 1, 1, 1).expand(-1, 1, 8, 8).clone(), tmp_path / "list.pt")
    spec = f"images[path='{tmp_path / 'list.pt'}',near_duplicates=keep]"
    return request.param, construct(PublishedHalves, spec)


def numbers(dataset, split, count, start=0):
    return (100 * dataset.images(split, count, start)[:, 0, 0, 0]).round().int().tolist()


def published(total, size, swap):
    """Return indices of training and test images as the published code slices a list of images."""
    indices = list(range(total))
    first, last = indices[:size], indices[-size:]
    return (last, first) if swap else (first, last)


def test_halves_are_the_first_and_the_last_images_of_the_published_code(numbered):
    total, dataset = numbered
    half = total // 2
    for size in (1, 3, 10, half):
        first, at_other_end = published(total, size, swap=False)
        swapped, _ = published(total, size, swap=True)
        assert numbers(dataset, "A", size) == first
        assert sorted(numbers(dataset, "B", size)) == swapped == at_other_end
    assert dataset.available("A") == dataset.available("B") == half
    assert numbers(dataset, "B", 4, 2) == [total - 3, total - 4, total - 5, total - 6]


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


def test_more_images_than_half_are_refused(numbered):
    total, dataset = numbered
    with pytest.raises(DataError, match=f"{total // 2 + 1} A images requested, but the split holds {total // 2}"):
        dataset.images("A", total // 2 + 1)


def test_endless_datasets_are_refused():
    with pytest.raises(DataError, match="the train split of Discs is endless; accepted: datasets of finitely many"):
        construct(PublishedHalves, "discs[size=8]").available("A")
