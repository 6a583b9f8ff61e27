"""Image sizes that a network can take."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional


def need_multiples(images: Tensor, multiple: int, network: str) -> None:
    """Refuse images of shape (N, C, H, W) whose sides are not multiples."""
    height, width = images.shape[-2:]
    if height % multiple or width % multiple:
        raise ValueError(f"{network} needs image sides that are multiples of {multiple}, not {height}x{width}")


def need_shape(images: Tensor, shape: tuple[int, int, int], network: str) -> None:
    """Refuse images of shape (N, C, H, W) that are not those of (C, H, W) that a network was built for."""
    if tuple(images.shape[1:]) != tuple(shape):
        wanted, got = ("x".join(map(str, sizes)) for sizes in (shape, images.shape[1:]))
        raise ValueError(f"{network} was built for images of {wanted} (channels, height, width) alone, not {got}")


def padded(images: Tensor, multiple: int, min_side: int = 1) -> Tensor:
    """Continue images (N, C, H, W) by their border pixels, below and to the right."""
    extra = [next_multiple(max(side, min_side), multiple) - side for side in images.shape[-2:]]
    return functional.pad(images, (0, extra[1], 0, extra[0]), mode="replicate") if any(extra) else images


def next_multiple(side: int, multiple: int) -> int:
    """Return the smallest multiple that is not below a side."""
    return -(-side // multiple) * multiple
