"""Checks of the images that a dataset from outside gahbench returns, at every call."""

from __future__ import annotations

import functools
import inspect
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from gahbench._util.errors import PluginError
from gahbench.contracts.datasets import Dataset, Split

if TYPE_CHECKING:
    from torch import Tensor

#: Maximum of seconds of a call that is repeated for one image, to check that images are prefix-stable.
QUICK = 1.0
#: Accepted difference between an image and itself in a batch of another size; the contract checks are stricter.
TOLERANCE = 1e-4
#: The attribute of a dataset that holds its ``id`` and the first image of each split that was asked for.
_FIRST = "_first_images_of_splits"


def checking(plugin: type[Dataset], where: str) -> type[Dataset]:
    """Return a subclass of a dataset's class whose ``images`` raises ``PluginError`` for invalid results."""

    def images(self: Dataset, split: Split, count: int, *start: int, **named: int) -> Tensor:
        begun = time.monotonic()
        found = plugin.images(self, split, count, *start, **named)
        seconds = time.monotonic() - begun
        if (why := fault(found, (count, *self.shape))) is not None:
            raise PluginError(f"{where}: {count} images of the split '{split}': it gave {why}")
        if (*start, *named.values(), 0)[0] == 0 and count and not _as_before(self, split, found, seconds):
            raise PluginError(
                f"{where}: the first of {count} images of the split '{split}' is another than when fewer or more were "
                "asked for; accepted: the same image for any number"
            )
        return found

    names = {name: getattr(plugin, name) for name in ("__module__", "__qualname__", "__doc__")}
    return type(plugin.__name__, (plugin,), {**names, "images": functools.wraps(plugin.images)(images)})


def unchecked(dataset: Dataset) -> Callable[..., Any]:
    """Return the plugin's own ``images`` of a dataset, for checks that say more about the result."""
    return functools.partial(inspect.unwrap(type(dataset).images), dataset)


def fault(found: object, shape: tuple[int, ...]) -> str | None:
    """Return in words why an object is not a batch of images of a shape (N, C, H, W); ``None`` if it is."""
    import torch

    if not isinstance(found, torch.Tensor):
        return f"a {type(found).__name__}; accepted: a tensor"
    if found.is_nested or found.layout != torch.strided:
        return "a nested or sparse tensor; accepted: an ordinary one"
    if tuple(found.shape) != shape:
        return f"the shape {tuple(found.shape)}; accepted: {shape}"
    if found.dtype != torch.float32 or found.device.type != "cpu":
        return f"{str(found.dtype).removeprefix('torch.')} on the device {found.device.type}; accepted: float32 on cpu"
    if found.requires_grad:
        return "a tensor that requires a gradient; accepted: plain numbers, as detach() returns them"
    infinite = int((~found.isfinite()).sum())
    return f"{infinite:,} values that are infinite or NaN; accepted: finite ones" if infinite else None


def _as_before(dataset: Dataset, split: Split, found: Tensor, seconds: float) -> bool:
    """Return whether the first image is unchanged; at the first call a quick dataset is asked for it again, alone."""
    owner, first = vars(dataset).get(_FIRST, (None, {}))
    if owner != id(dataset):
        # The attributes of a copy may differ, and so its images.
        first = {}
        vars(dataset)[_FIRST] = (id(dataset), first)
    if split in first:
        return bool(first[split].allclose(found[0], rtol=0, atol=TOLERANCE))
    first[split] = found[0].clone()
    if len(found) == 1 or seconds > QUICK:
        return True
    return bool(dataset.images(split, 1).allclose(found[:1], rtol=0, atol=TOLERANCE))
