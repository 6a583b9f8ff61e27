"""Datasets from outside, whose images are checked whenever they are asked for: a plugin may return anything."""

from __future__ import annotations

import functools
import inspect
import time
import weakref
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from gahbench._util.errors import PluginError
from gahbench.contracts.datasets import Dataset, Split

if TYPE_CHECKING:
    from torch import Tensor

#: Images that took longer than so many seconds are not made again to see whether they are prefix-stable.
QUICK = 1.0
#: Differences of rounding between batches of different sizes are for the contract checks.
TOLERANCE = 1e-4


@dataclass(frozen=True, eq=False)
class _Watched:
    """A dataset: its name in errors, and the first image of each split that was asked for."""

    dataset: weakref.ref[object]
    where: str
    first: dict[Split, Tensor] = field(default_factory=dict)


#: By ``id``: copies of a dataset may be changed, and are other ones.
_WATCHED: dict[int, _Watched] = {}


def with_checked_images(dataset: Any, where: str) -> Any:
    """Return a dataset whose ``images`` raises ``PluginError`` for what its contract does not allow."""
    if isinstance(dataset, Dataset):
        dataset.__class__ = _checking(type(dataset))
        place = id(dataset)
        _WATCHED[place] = _Watched(weakref.ref(dataset, lambda _: _WATCHED.pop(place, None)), where)
    return dataset


@functools.lru_cache(maxsize=256)
def _checking(plugin: type[Dataset]) -> type[Dataset]:
    """Return a class that differs from a dataset's in nothing but the checks, and has its name."""

    def images(self: Dataset, split: Split, count: int, *start: int, **named: int) -> Tensor:
        begun = time.monotonic()
        found = plugin.images(self, split, count, *start, **named)
        seconds = time.monotonic() - begun
        watched = _WATCHED.get(id(self))
        where = plugin.__name__ if watched is None else watched.where
        if (why := fault(found, (count, *self.shape))) is not None:
            raise PluginError(f"{where}: {count} images of the split '{split}': it gave {why}")
        first = (*start, *named.values(), 0)[0]
        if watched is not None and first == 0 and count and not _as_before(watched, self, split, found, seconds):
            raise PluginError(
                f"{where}: the first of {count} images of the split '{split}' is another than when fewer or more were "
                "asked for; accepted: the same image for any number"
            )
        return found

    names = {name: getattr(plugin, name) for name in ("__module__", "__qualname__", "__doc__")}
    return type(plugin.__name__, (plugin,), {**names, "images": functools.wraps(plugin.images)(images)})


def unchecked(dataset: Dataset) -> Callable[..., Any]:
    """Return ``images`` of a dataset as the plugin wrote it, for checks that say more about what it returns."""
    return functools.partial(inspect.unwrap(type(dataset).images), dataset)


def fault(found: object, shape: tuple[int, ...]) -> str | None:
    """Return in words what something is that is no batch of images of a shape (N, C, H, W); ``None`` if it is one."""
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
    wild = int((~found.isfinite()).sum())
    return f"{wild:,} values that are infinite or NaN; accepted: finite ones" if wild else None


def _as_before(watched: _Watched, dataset: Dataset, split: Split, found: Tensor, seconds: float) -> bool:
    """Return whether the first image is what it was; the first time it is made again, alone, if that is quick."""
    if split in watched.first:
        return bool(watched.first[split].allclose(found[0], rtol=0, atol=TOLERANCE))
    watched.first[split] = found[0].clone()
    if len(found) == 1 or seconds > QUICK:
        return True
    return bool(dataset.images(split, 1).allclose(found[:1], rtol=0, atol=TOLERANCE))
