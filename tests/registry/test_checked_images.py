"""What a dataset returns is checked wherever it is asked for images."""

import copy

import numpy as np
import pytest
import torch

import gahbench
from gahbench._util.errors import PluginError
from gahbench.registry.checked_images import checking, unchecked
from gahbench.registry.registry import Registry
from gahbench.testing import check_file

GOOD = "torch.full((count, 1, 8, 8), 0.5)"
WRONG = {
    "array": ("numpy.zeros((count, 1, 8, 8))", "gave a ndarray; accepted: a tensor"),
    "objects": ("numpy.array([None] * count, dtype=object)", "gave a ndarray; accepted: a tensor"),
    "nothing": ("None", "gave a NoneType; accepted: a tensor"),
    "sparse": (f"{GOOD}.to_sparse()", "gave a nested or sparse tensor"),
    "nested": (f"torch.nested.nested_tensor(list({GOOD}))", "gave a nested or sparse tensor"),
    "meta": ("torch.empty(count, 1, 8, 8, device='meta')", "float32 on the device meta; accepted: float32 on cpu"),
    "double": (f"{GOOD}.double()", "float64 on the device cpu; accepted: float32"),
    "whole numbers": (f"{GOOD}.long()", "int64 on the device cpu; accepted: float32"),
    "complex": (f"{GOOD}.to(torch.complex64)", "complex64 on the device cpu"),
    "quantized": (f"torch.quantize_per_tensor({GOOD}, .1, 0, torch.quint8)", "quint8 on the device cpu"),
    "gradient": (f"{GOOD}.requires_grad_()", "a tensor that requires a gradient"),
    "not a number": (f"{GOOD} * torch.nan", "128 values that are infinite or NaN"),
    "too few": (f"{GOOD}[:1]", "the shape (1, 1, 8, 8); accepted: (2, 1, 8, 8)"),
    "colour": (f"{GOOD}.expand(-1, 3, -1, -1)", "the shape (2, 3, 8, 8); accepted: (2, 1, 8, 8)"),
    "not stable": (f"{GOOD} / count", "the first of 1 images of the split 'test' is another"),
    "other each time": ("torch.rand(count, 1, 8, 8)", "the first of 1 images of the split 'test' is another"),
}


@pytest.fixture
def file(write_class):
    def write(images, **options):
        body = f"shape = (1, 8, 8)\ndef images(self, split, count, start=0):\n    return {images}"
        return write_class("dataset", body, head="import numpy", **options)

    return write


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("case", WRONG)
def test_wrong_images_are_named_in_a_line_and_by_the_contract_checks(file, case):
    images, says = WRONG[case]
    plugin = file(images)
    with pytest.raises(PluginError) as caught:
        Registry((plugin,)).create("dataset", "mine").images("test", 2)
    assert str(caught.value).startswith("dataset 'mine': ")
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)
    (report,) = check_file(plugin)
    assert report.failed
    assert "runs" not in report.failed


def test_sampling_inspecting_and_previewing_refuse_wrong_images(file):
    images, _ = WRONG["not stable"]
    asked = {"dataset": "mine", "plugins": [file(images)]}
    for call in (
        lambda: gahbench.preview("mine", [0.1], count=2, plugins=asked["plugins"]),
        lambda: gahbench.inspect("wiener-linear", sigmas=[0.1], bases=["dct"], **asked),
        lambda: gahbench.sample("wiener-linear", count=1, **asked),
    ):
        with pytest.raises(PluginError, match=r"dataset 'mine'.*is another than when"):
            call()


class Steps(gahbench.Dataset):
    """Images whose brightness a user may set."""

    shape = (1, 2, 2)

    def __init__(self):
        self.level = 0.25

    def images(self, split, count, start=0):
        return torch.full((count, *self.shape), self.level)


def test_its_class_is_derived_and_has_the_same_name():
    checked = checking(Steps, "here")()
    assert isinstance(checked, Steps)
    assert (type(checked).__name__, type(checked).__module__) == ("Steps", __name__)
    assert checked.images(count=2, split="test").shape == (2, 1, 2, 2)
    assert unchecked(checked)("test", 1, start=1).shape == (1, 1, 2, 2)


@pytest.mark.parametrize("slots", ["", "    __slots__ = ('level',)\n"])
@pytest.mark.parametrize("made", ["Mine", "lambda: Mine()"])
def test_datasets_of_functions_and_with_slots_are_checked_too(file, made, slots):
    plugin = file(f"{GOOD} * torch.nan")
    text = plugin.read_text().replace("'mine', Mine", f"'mine', {made}")
    plugin.write_text(text.replace("(gahbench.Dataset):\n", f"(gahbench.Dataset):\n{slots}"))
    with pytest.raises(PluginError, match="128 values that are infinite or NaN"):
        Registry((plugin,)).create("dataset", "mine").images("test", 2)


def test_a_copy_may_have_other_images():
    checked = checking(Steps, "here")()
    checked.images("test", 2)
    other = copy.copy(checked)
    other.level = 0.5
    assert float(other.images("test", 2).mean()) == 0.5
    checked.level = 0.75
    with pytest.raises(PluginError, match="here: the first of 2 images of the split 'test' is another"):
        checked.images("test", 2)


def test_splits_and_positions_have_their_own_first_images():
    class Places(Steps):
        def images(self, split, count, start=0):
            first = {"train": 0.0, "test": 0.5}[split]
            levels = first + torch.arange(start, start + count) / 100
            return levels[:, None, None, None].expand(count, *self.shape).clone()

    checked = checking(Places, "here")()
    found = [checked.images("train", 3), checked.images("test", 3), checked.images("train", 2, 1)]
    np.testing.assert_allclose([float(images[0, 0, 0, 0]) for images in found], [0, 0.5, 0.01], atol=1e-6)
