"""Checks of the images that external datasets return, at every call."""

from __future__ import annotations

import functools
import inspect
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from gahbench._util.errors import PluginError
from gahbench.contracts.datasets import Dataset, Split

if TYPE_CHECKING:
    from torch import Tensor

#: Maximum seconds of a call that is repeated for one image, to check that images are prefix-stable.
MAX_SECONDS = 1.0
#: Accepted difference of an image between batches of different sizes; the contract checks are stricter.
TOLERANCE = 1e-4
#: The attribute of a dataset that holds its ``id`` and the first image of each split that was requested.
_FIRST_IMAGES = "_first_images_of_splits"


def add_image_checks(plugin: type[Dataset], where: str) -> type[Dataset]:
    """Return a subclass of a dataset's class whose ``images`` raises ``PluginError`` for invalid results."""

    def images(self: Dataset, split: Split, count: int, *start: int, **named: int) -> Tensor:
        started = time.monotonic()
        batch = plugin.images(self, split, count, *start, **named)
        seconds = time.monotonic() - started
        fault = next((fault for _, fault in image_faults(batch, (count, *self.shape)) if fault is not None), None)
        if fault is not None:
            raise PluginError(f"{where}: {count} images of the split '{split}': it returned {fault}")
        if (*start, *named.values(), 0)[0] == 0 and count and not _is_stable(self, split, batch, seconds):
            raise PluginError(
                f"{where}: the first of {count} images of the split '{split}' differs from an earlier call; accepted: "
                "the same image for any number of images"
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

    layout = None
    if not isinstance(batch, torch.Tensor):
        layout = f"a {type(batch).__name__}; accepted: a tensor"
    elif batch.is_nested or batch.layout != torch.strided:
        layout = "a nested or sparse tensor; accepted: a dense tensor"
    yield "images are a dense tensor", layout
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


def _is_stable(dataset: Dataset, split: Split, batch: Tensor, seconds: float) -> bool:
    """Return whether the first image is the same as in earlier calls; a quick first call is repeated for one image."""
    owner, first = vars(dataset).get(_FIRST_IMAGES, (None, {}))
    if owner != id(dataset):
        # The images of a copy may differ, since its attributes may differ.
        first = {}
        vars(dataset)[_FIRST_IMAGES] = (id(dataset), first)
    if split in first:
        return bool(first[split].allclose(batch[0], rtol=0, atol=TOLERANCE))
    first[split] = batch[0].clone()
    if len(batch) == 1 or seconds > MAX_SECONDS:
        return True
    return bool(dataset.images(split, 1).allclose(batch[:1], rtol=0, atol=TOLERANCE))
