"""Checks of results of plugins from outside, when they are first used."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from gahbench._util.errors import PluginError
from gahbench._util.shapes import Shape, image_shape

if TYPE_CHECKING:
    from torch import Tensor

#: Accepted difference of an image between batches of different sizes; the contract checks are stricter.
BATCH_TOLERANCE = 1e-4
#: Accepted relative change of norms, and change of cosines, under an orthonormal analysis in float32.
TOLERANCE = 1e-3
#: The attribute of classes with checks that holds the plugin's own class.
_UNCHECKED = "_gahbench_unchecked"


def image_fault(batch: Any, shape: tuple[int, ...]) -> str | None:
    """Return why a result is no valid batch of images of shape (N, C, H, W); ``None`` if it is valid."""
    import torch

    if not isinstance(batch, torch.Tensor) or batch.layout != torch.strided or batch.is_nested:
        return f"a {type(batch).__name__}; accepted: a dense tensor"
    if tuple(batch.shape) != shape:
        return f"the shape {tuple(batch.shape)}; accepted: {shape}"
    if batch.dtype != torch.float32 or batch.device.type != "cpu" or batch.requires_grad:
        kind = f"{str(batch.dtype).removeprefix('torch.')} on the device {batch.device.type}"
        return f"{kind}{', with a gradient' if batch.requires_grad else ''}; accepted: float32 on cpu, no gradient"
    invalid = int((~batch.isfinite()).sum())
    return f"{invalid:,} values that are infinite or NaN; accepted: finite values" if invalid else None


def orthonormality_fault(analysis: Callable[[Tensor], Tensor], images: Tensor) -> str | None:
    """Return why an analysis is not orthonormal on random images, as many as given; ``None`` if no reason is found."""
    import torch

    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(2, *images.shape, generator=generator, dtype=images.dtype).to(images.device)
    with torch.no_grad():
        coefficients = [analysis(each) for each in noise]
    if any(each.shape != images.shape for each in coefficients):
        found, expected = tuple(coefficients[0].shape), tuple(images.shape)
        return f"returns coefficients of shape {found} for images of shape {expected}; accepted: the same shape"
    before, after = (values.double().flatten(2) for values in (noise, torch.stack(coefficients)))
    factors = after.norm(dim=2) / before.norm(dim=2)
    first, second = (torch.cosine_similarity(values[0], values[1], dim=1) for values in (before, after))
    low, high, change = float(factors.min()), float(factors.max()), float((second - first).abs().max())
    if max(high - 1, 1 - low, change) <= TOLERANCE:
        return None
    if max(high - low, change) <= TOLERANCE * high:
        return f"multiplies the norms of images by {high:.4g}; accepted: 1 within {TOLERANCE}"
    return (
        f"changes norms of random images by up to {max(high - 1, 1 - low):.2g} of them, and cosines between them by "
        f"up to {change:.2g}; accepted: at most {TOLERANCE}"
    )


def add_image_checks(plugin: type[Any], where: str) -> type[Any]:
    """Return a subclass of a dataset's class whose ``images`` raises ``PluginError`` for invalid results."""

    def images(self: Any, split: str, count: int, *start: int, **named: int) -> Any:
        batch = plugin.images(self, split, count, *start, **named)
        fault = image_fault(batch, (count, *self.shape))
        if fault is None and count and not any((*start, *named.values())):
            is_stable = batch[:1].allclose(plugin.images(self, split, 1), rtol=0, atol=BATCH_TOLERANCE)
            fault = None if is_stable else "another first image than for 1 image; accepted: the same for any number"
        if fault is not None:
            raise PluginError(f"{where}: {count} images of the split '{split}': it returned {fault}")
        return batch

    return _with_checks(plugin, images)


def add_basis_checks(plugin: type[Any], where: str) -> type[Any]:
    """Return a subclass of a basis's class that raises ``PluginError`` at its first use if it is not orthonormal."""
    tested = set[Shape]()

    def check(basis: Any, images: Tensor) -> None:
        shape = image_shape(images)
        if images.numel() and not images.is_meta and shape not in tested and basis.is_orthonormal(shape):
            analyse = functools.partial(plugin.analysis, basis) if isinstance(basis, plugin) else basis.analysis
            if fault := orthonormality_fault(analyse, images):
                raise PluginError(f"{where}: its analysis {fault}, or orthonormal = False")
            tested.add(shape)

    def analysis(self: Any, images: Tensor) -> Any:
        check(self, images)
        return plugin.analysis(self, images)

    def adapt(self: Any, images: Tensor, *arguments: Any, **named: Any) -> Any:
        adapted = plugin.adapt(self, images, *arguments, **named)
        check(adapted, images)
        return adapted

    return _with_checks(plugin, analysis, adapt)


def _with_checks(plugin: type[Any], *methods: Callable[..., Any]) -> type[Any]:
    """Return a subclass of a plugin's class with methods that call and check those of the same names."""
    wrapped = {method.__name__: functools.wraps(getattr(plugin, method.__name__))(method) for method in methods}
    return type(plugin.__name__, (plugin,), {**wrapped, _UNCHECKED: plugin})


def unchecked(plugin: type[Any]) -> type[Any]:
    """Return the plugin's own class, for checks that give more details about its results."""
    found: type[Any] = getattr(plugin, _UNCHECKED, plugin)
    return found
