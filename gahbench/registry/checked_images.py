"""Checks of the images that external datasets return, at every call."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from gahbench._util.errors import PluginError
from gahbench.contracts.datasets import Dataset, Split

if TYPE_CHECKING:
    from torch import Tensor

#: Accepted difference of an image between batches of different sizes; the contract checks are stricter.
TOLERANCE = 1e-4
#: The attribute of a dataset that holds its ``id``, which a copy does not have, and the first image of each split.
_FIRST_IMAGES = "_first_images_of_splits"


def add_image_checks(plugin: type[Dataset], where: str) -> type[Dataset]:
    """Return a subclass of a dataset's class whose ``images`` raises ``PluginError`` for invalid results."""

    def images(self: Dataset, split: Split, count: int, *start: int, **named: int) -> Tensor:
        batch = plugin.images(self, split, count, *start, **named)
        fault = next((fault for _, fault in image_faults(batch, (count, *self.shape)) if fault is not None), None)
        if fault is not None:
            raise PluginError(f"{where}: {count} images of the split '{split}': it returned {fault}")
        if count and not any((*start, *named.values())):
            owner, first = vars(self).get(_FIRST_IMAGES, (None, {}))
            if owner != id(self):
                owner, first = vars(self)[_FIRST_IMAGES] = (id(self), {})
            if split not in first:
                first[split] = plugin.images(self, split, 1)
            if not batch[:1].allclose(first[split], rtol=0, atol=TOLERANCE):
                raise PluginError(
                    f"{where}: the first of {count} images of the split '{split}' differs from the first of another "
                    "call; accepted: the same image for any number of images"
                )
        return batch

    names = {name: getattr(plugin, name) for name in ("__module__", "__qualname__", "__doc__")}
    return type(plugin.__name__, (plugin,), {**names, "images": functools.wraps(plugin.images)(images)})


def unchecked_images(dataset: Dataset) -> Callable[..., Any]:
    """Return the plugin's own method ``images``, for checks that give more details about the result."""
    return functools.partial(inspect.unwrap(type(dataset).images), dataset)


def image_faults(batch: Any, shape: tuple[int, ...]) -> Iterator[tuple[str, str | None]]:
    """Yield what holds for valid images of shape (N, C, H, W), with the fault or ``None``; stop at a fault."""
    import torch

    is_dense = isinstance(batch, torch.Tensor) and batch.layout == torch.strided and not batch.is_nested
    fault = f"a {type(batch).__name__}; accepted: a dense tensor"
    yield "images are a dense tensor", None if is_dense else fault
    fault = f"the shape {tuple(batch.shape)}; accepted: {shape}"
    yield "images have the stated shape", fault if tuple(batch.shape) != shape else None
    fault = f"{str(batch.dtype).removeprefix('torch.')} on the device {batch.device.type}; accepted: float32 on cpu"
    is_plain = batch.dtype == torch.float32 and batch.device.type == "cpu"
    yield "images are float32 on the CPU", None if is_plain else fault
    fault = "a tensor that requires a gradient; accepted: plain numbers, as detach() returns them"
    yield "images require no gradient", fault if batch.requires_grad else None
    num_invalid = int((~batch.isfinite()).sum())
    fault = f"{num_invalid:,} values that are infinite or NaN; accepted: finite values"
    yield "values are finite", fault if num_invalid else None
