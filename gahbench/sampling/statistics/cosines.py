"""Cosines of two series of images, pair by pair."""

from __future__ import annotations

from torch import Tensor

from gahbench.sampling.statistics.neighbours import unit_vectors


def pair_cosines(first: Tensor, second: Tensor, centred: bool = True, origin: Tensor | None = None) -> Tensor:
    """Return the cosine of the i-th image of one series with the i-th of another.

    Of samples that two networks drew from the same noise, after training on images none of which they share, it is
    near 1 if both learned the same density (Kadkhodaie 2024, figure 2). The removed mean decides what counts as
    alike: none, and all bright images are; each image's own (``centred``), and all faces are; that of the training
    images (``origin``), and only what sets an image apart from the others counts.

    Parameters
    ----------
    first, second
        Shape (N, ...).
    centred
        Whether each image's own mean, over pixels and channels, is subtracted.
    origin
        An image that is subtracted before, shape (...), such as the mean training image.

    Returns
    -------
    Tensor
        Shape (N,), float64, in [-1, 1]; 0 where an image is constant.

    Raises
    ------
    ValueError
        If the shapes differ.

    Examples
    --------
    >>> import torch
    >>> images = torch.rand(3, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    >>> pair_cosines(images, 2 * images + 1).round(decimals=6)
    tensor([1., 1., 1.], dtype=torch.float64)
    """
    if first.shape != second.shape:
        raise ValueError(f"pairs need the same shape: {tuple(first.shape)} is not {tuple(second.shape)}")
    return (unit_vectors(first, centred, origin) * unit_vectors(second, centred, origin)).sum(1).clamp(-1, 1)
