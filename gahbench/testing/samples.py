"""Images for checks, and the checks that architectures, references and bases share."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from gahbench._util.errors import GahbenchError
from gahbench._util.noise import generator
from gahbench._util.readable import pluralize
from gahbench._util.shapes import Shape
from gahbench.contracts.datasets import Dataset, Split
from gahbench.contracts.truth import TrainingData, Truth
from gahbench.registry.configured import Configured
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

    shape = (0, 0, 0)

    def __init__(self, shape: Shape) -> None:
        self.shape = shape

    def available(self, split: Split) -> int:
        """Return the number of images of a split, 256."""
        return 256

    def images(self, split: Split, count: int, start: int = 0) -> Tensor:
        """Return images ``start`` to ``start + count`` of a split, shape (count, C, H, W)."""
        return sample_images(256, self.shape, split)[start : start + count]


def fitted(configured: Configured, datasets: Sequence[Dataset], count: int) -> Iterator[tuple[Any, Truth]]:
    """Yield a basis or reference fitted to each dataset that it supports and accepts, with test images."""
    supported = [dataset for dataset in datasets if configured.build().supports(dataset)]
    refusals = list[Exception]()
    for dataset in supported:
        plugin = configured.build()
        try:
            plugin.check_shape(dataset.shape)
        except (ValueError, GahbenchError) as error:
            # Some plugins only accept grey images, or even sides.
            refusals.append(error)
        else:
            plugin.fit(TrainingData(dataset))
            yield plugin, Truth(dataset.images("test", count), dataset)
    if supported and len(refusals) == len(supported):
        raise refusals[-1]


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
    yield same("is deterministic", repeated, result)
    yield attempt(
        "treats each image of a batch separately, at its own noise level",
        lambda: difference(torch.cat([compute(slice(0, 1)), compute(slice(1, None))]), result, 1e-4),
    )


def same(check: str, actual: Any, expected: Any, tolerance: float = 0.0) -> Finding:
    """Check that numbers are the same, within a tolerance."""
    fault = difference(torch.as_tensor(actual), torch.as_tensor(expected), tolerance)
    return expect(check, fault is None, fault)


def difference(left: Tensor, right: Tensor, tolerance: float = 0.0) -> str | None:
    """Return how results differ; ``None`` within a tolerance, relative to the largest value if that is above 1."""
    if (fault := shape_fault(left, right)) or not left.numel():
        return fault
    largest = float((left - right).abs().max())
    is_same = largest <= tolerance * max(1.0, float(right.abs().max()))
    return None if is_same else f"largest difference {largest:.1e}; accepted: {tolerance:g}"


def shape_fault(result: Tensor, expected: Tensor) -> str | None:
    """Return how the shape of a result differs; ``None`` if it does not differ."""
    actual, wanted = tuple(result.shape), tuple(expected.shape)
    return None if actual == wanted else f"returned {actual} for {wanted}"
