"""Image sizes that a network can take."""

from __future__ import annotations

from torch import Tensor


def need_multiples(images: Tensor, multiple: int, network: str) -> None:
    """Refuse images of shape (N, C, H, W) whose sides are not multiples.

    Parameters
    ----------
    network
        The network, for the message.

    Raises
    ------
    ValueError
        If ``multiple`` does not divide the height and the width.
    """
    height, width = images.shape[-2:]
    if height % multiple or width % multiple:
        raise ValueError(f"{network} needs image sides that are multiples of {multiple}, not {height}x{width}")


def need_shape(images: Tensor, shape: tuple[int, int, int], network: str) -> None:
    """Refuse images of shape (N, C, H, W) that are not those of (C, H, W) that a network was built for.

    Raises
    ------
    ValueError
        If the shapes differ.
    """
    if tuple(images.shape[1:]) != tuple(shape):
        wanted, got = ("x".join(map(str, sizes)) for sizes in (shape, images.shape[1:]))
        raise ValueError(f"{network} was built for images of {wanted} (channels, height, width) alone, not {got}")
