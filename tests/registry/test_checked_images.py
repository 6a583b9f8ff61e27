"""Checks of the images that external datasets return."""

import copy

import pytest
import torch

import gahbench
from gahbench._util.errors import PluginError
from gahbench.registry.configured import add_image_checks, unchecked_images
from gahbench.registry.registry import Registry
from gahbench.testing import check_file

GOOD = "torch.full((count, 1, 8, 8), 0.5)"
INVALID = {
    "array": ("numpy.zeros((count, 1, 8, 8))", "returned a ndarray; accepted: a dense tensor"),
    "double": (f"{GOOD}.double()", "float64 on the device cpu; accepted: float32"),
    "gradient": (f"{GOOD}.requires_grad_()", "with a gradient; accepted: float32 on cpu, no gradient"),
    "not a number": (f"{GOOD} * torch.nan", "128 values that are infinite or NaN"),
    "too few": (f"{GOOD}[:1]", "the shape (1, 1, 8, 8); accepted: (2, 1, 8, 8)"),
    "not stable": (f"{GOOD} / count", "it returned another first image than for 1 image"),
    "random": ("torch.rand(count, 1, 8, 8)", "it returned another first image than for 1 image"),
}


@pytest.fixture
def file(write_class):
    def write(images, **options):
        body = f"shape = (1, 8, 8)\ndef images(self, split, count, start=0):\n    return {images}"
        return write_class("dataset", body, head="import numpy", **options)

    return write


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("case", INVALID)
def test_invalid_images_raise_an_error_and_fail_the_contract_checks(file, case):
    images, message = INVALID[case]
    plugin = file(images)
    with pytest.raises(PluginError) as caught:
        Registry((plugin,)).create("dataset", "mine").images("test", 2)
    assert str(caught.value).startswith("dataset 'mine': ")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    (report,) = check_file(plugin)
    assert report.failed
    assert "runs" not in report.failed


class ConstantImages(gahbench.Dataset):
    """A dataset of constant images, whose brightness is an attribute."""

    shape = (1, 2, 2)

    def __init__(self):
        self.level = 0.25

    def images(self, split, count, start=0):
        return torch.full((count, *self.shape), self.level)


def test_the_checked_class_is_a_subclass_with_the_same_name():
    checked = add_image_checks(ConstantImages, "here")()
    assert isinstance(checked, ConstantImages)
    assert type(checked).__name__ == "ConstantImages"
    assert checked.images(count=2, split="test").shape == (2, 1, 2, 2)
    assert unchecked_images(checked)("test", 1, start=1).shape == (1, 1, 2, 2)


def test_a_copy_may_have_different_images():
    checked = add_image_checks(ConstantImages, "here")()
    other = copy.copy(checked)
    other.level = 0.5
    assert [float(images.images("test", 2).mean()) for images in (checked, other)] == [0.25, 0.5]


def test_images_are_compared_only_at_the_start_of_a_split():
    class IndexedImages(ConstantImages):
        def images(self, split, count, start=0):
            levels = torch.arange(start, start + count) / 128
            return levels[:, None, None, None].expand(count, *self.shape).clone()

    checked = add_image_checks(IndexedImages, "here")()
    assert [float(checked.images("train", 2, *start)[0, 0, 0, 0]) for start in ((), (1,))] == [0, 1 / 128]
