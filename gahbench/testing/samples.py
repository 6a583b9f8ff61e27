"""Images for checks, and the checks that architectures, references and bases share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from gahbench._util.noise import generator
from gahbench._util.readable import pluralize
from gahbench._util.shapes import Shape
from gahbench.contracts.datasets import Dataset, Split
from gahbench.testing.findings import Finding, attempt, expect, require


def sample_images(count: int, shape: Shape, *parts: str) -> Tensor:
    """Return smooth random images in [0, 1], shape (count, C, H, W); different ``parts`` give different draws."""
    channels, height, width = shape
    coarse = torch.rand(count, channels, 5, 5, generator=generator("data", "checks", *parts))
    return functional.interpolate(coarse, (height, width), mode="bicubic", align_corners=True).clamp(0, 1)


def sample_noise(images: Tensor, sigma: float | Tensor, draw: int = 0) -> Tensor:
    """Return noise of standard deviation ``sigma`` in the shape of the images."""
    return sigma * torch.randn(images.shape, generator=generator("noise", "checks", draw), dtype=images.dtype)


class SampleDataset(Dataset):
    """A dataset of 256 smooth random images in each split, of any shape."""

    SIZE = 256
    shape = (0, 0, 0)

    def __init__(self, shape: Shape) -> None:
        self.shape = shape

    def available(self, split: Split) -> int:
        """Return the number of images of a split, 256."""
        return self.SIZE

    def images(self, split: Split, count: int, start: int = 0) -> Tensor:
        """Return images ``start`` to ``start + count`` of a split, shape (count, C, H, W)."""
        return sample_images(self.SIZE, self.shape, split)[start : start + count]


def check_denoised(denoised: Any, noisy: Tensor) -> Iterator[Finding]:
    """Check type, shape and values of denoised images."""
    yield require("returns one tensor", isinstance(denoised, Tensor), f"it returned a {type(denoised).__name__}")
    fault = shape_fault(denoised, noisy)
    yield require(f"keeps the shape of images, {pluralize(noisy.shape[1], 'channel')}", fault is None, fault)
    is_valid = denoised.dtype == torch.float32 and bool(denoised.isfinite().all())
    detail = f"{denoised.dtype}, of which {float(denoised.isfinite().double().mean()):.0%} are finite"
    yield require("returns finite float32 values", is_valid, detail)


def check_batches(compute: Callable[[slice], Tensor], result: Tensor, *arguments: Tensor) -> Iterator[Finding]:
    """Check that a result depends on each image of the arguments alone; ``compute`` gets the indices of images."""
    copies = [argument.clone() for argument in arguments]
    repeated = compute(slice(None)).clone()
    is_unchanged = all(map(torch.equal, arguments, copies))
    yield require("does not change its arguments", is_unchanged, "it writes into them; work on a copy")
    yield expect("is deterministic", repeated.equal(result), difference(repeated, result))

    def dependence() -> str | None:
        parts = [slice(0, 3), *(slice(index, index + 1) for index in range(len(result)))]
        faults = (difference(compute(part), result[part], 1e-4) for part in parts)
        return next((f"it depends on other images: {fault}" for fault in faults if fault), None)

    yield attempt("treats each image of a batch separately, at its own noise level", dependence)


def difference(left: Tensor, right: Tensor, tolerance: float = 0.0) -> str | None:
    """Return the difference of two results in words; ``None`` if it is within a tolerance, relative to the largest."""
    if fault := shape_fault(left, right):
        return fault
    largest = float((left - right).abs().max())
    return None if largest <= tolerance * float(right.abs().max()) else f"largest difference {largest:.1e}"


def shape_fault(result: Tensor, expected: Tensor) -> str | None:
    """Return how the shape of a result differs; ``None`` if it does not differ."""
    actual, wanted = tuple(result.shape), tuple(expected.shape)
    return None if actual == wanted else f"returned {actual} for {wanted}"
