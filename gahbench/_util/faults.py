"""Reasons why results of plugins are invalid."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

#: Accepted relative change of norms, and change of cosines, under an orthonormal analysis in float32.
TOLERANCE = 1e-3


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
