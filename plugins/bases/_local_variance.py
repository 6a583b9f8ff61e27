"""The variance of an image about each pixel."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field
from torch import Tensor
from torch.nn import functional


def _odd(value: int) -> int:
    if value % 2 == 0:
        raise ValueError(f"{value} is even: accepted are odd numbers, so that a window has a middle")
    return value


#: Side of a square window about a pixel.
Window = Annotated[int, Field(ge=3), AfterValidator(_odd)]


def local_variance(images: Tensor, window: int) -> Tensor:
    """Return the variance of images in a square window about each pixel, the mean over the channels."""
    # Less a constant, as squares of large values would cancel.
    values = images.double() - images.double().mean((1, 2, 3), keepdim=True)
    padded = functional.pad(values, (window // 2,) * 4, mode="replicate")
    mean, power = (functional.avg_pool2d(part, window, stride=1) for part in (padded, padded.square()))
    return (power - mean.square()).clamp(min=0).mean(1)
