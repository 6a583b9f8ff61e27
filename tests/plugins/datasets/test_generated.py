import pytest
import torch

from gahbench._util.noise import BLOCK
from gahbench_plugins.datasets.c_alpha import CAlpha
from gahbench_plugins.datasets.discs import Discs

FAMILIES = {
    "exact": CAlpha(size=16),
    "closed": CAlpha(size=16, contour="closed"),
    "paper": CAlpha(size=16, construction="paper"),
    "discs": Discs(size=16),
}


@pytest.fixture(params=FAMILIES)
def dataset(request):
    return FAMILIES[request.param]


def test_prefix_stable(dataset):
    many = dataset.images("train", 2 * BLOCK + 10)
    assert many.shape == (2 * BLOCK + 10, 1, 16, 16)
    assert many.dtype == torch.float32
    for count in (0, 1, BLOCK, BLOCK + 1):
        assert torch.equal(dataset.images("train", count), many[:count])


@pytest.mark.parametrize("start", [0, 1, BLOCK - 1, BLOCK, BLOCK + 5])
@pytest.mark.parametrize("count", [0, 1, BLOCK])
def test_start_skips(dataset, start, count):
    assert torch.equal(dataset.images("test", count, start), dataset.images("test", start + count)[start:])


def test_all_images_differ_between_splits_blocks_and_images(dataset):
    images = torch.cat([dataset.images(split, BLOCK + 8) for split in ("train", "validation", "test")])
    distances = torch.cdist(images.flatten(1), images.flatten(1)) + 1e3 * torch.eye(len(images))
    assert distances.min() > 1e-3


def test_seed_changes_images_and_global_state_does_not():
    torch.manual_seed(1)
    first = Discs(size=16).images("train", 3)
    torch.manual_seed(2)
    assert torch.equal(Discs(size=16).images("train", 3), first)
    assert not torch.equal(Discs(size=16, seed=1).images("train", 3), first)


def test_splits_never_end(dataset):
    assert dataset.available("train") is None
    assert len(dataset.images("train", 2, start=10**6)) == 2
