"""Memorization ratios, which detect samples that copy training images."""

from __future__ import annotations

import torch
from torch import Tensor

from gahbench.sampling.statistics.neighbours import Neighbours, nearest, nearest_by_cosine

#: A sample with a ratio below this value counts as memorized (Yoon et al. 2023; Gu et al. 2023).
MEMORIZED = 1 / 3


def memorization_ratios(samples: Tensor, images: Tensor, neighbours: Neighbours | None = None) -> Tensor:
    """Return |s - x_1| / |s - x_2| for each sample s, with x_1 and x_2 its nearest and second nearest training images.

    A copy of a training image is much nearer to that image than to any other (Yoon et al., *Diffusion probabilistic
    models generalize when they fail to memorize*, ICML 2023 workshop). Remove duplicate training images first: the
    duplicate is the second nearest image, so only exact copies are detected, whose ratio 0/0 is defined as 0.

    For a single training image, x_2 is the flat image with the mean of x_1 in each channel.

    Parameters
    ----------
    samples
        Shape (N, C, H, W).
    images
        The training images, shape (M, C, H, W).
    neighbours
        The two nearest images of each sample, if already computed by :func:`gahbench.sampling.nearest`.

    Returns
    -------
    Tensor
        Ratios, shape (N,), float64; in [0, 1] if there are two or more training images.

    Raises
    ------
    ValueError
        If there is no training image, the shapes differ, or ``neighbours`` has the wrong shape.

    Examples
    --------
    >>> import torch
    >>> training = torch.rand(5, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    >>> bool(memorization_ratios(training[:1] + 0.001, training) < MEMORIZED)
    True
    """
    count = 1 if len(images) < 2 else 2
    neighbours = nearest(samples, images, count) if neighbours is None else neighbours
    if neighbours.values.shape[0] != len(samples) or neighbours.values.shape[1] < count:
        shape = tuple(neighbours.values.shape)
        raise ValueError(f"expected the {count} nearest images of {len(samples)} samples, not of shape {shape}")
    first = neighbours.values[:, 0]
    if count == 2:
        second = neighbours.values[:, 1]
    else:
        flat = images.to(samples.device, torch.float64).mean((2, 3), keepdim=True)
        second = (samples.double() - flat).flatten(1).norm(dim=1)
    return torch.where(first == 0, 0.0, first / second)


def affine_ratios(samples: Tensor, images: Tensor) -> Tensor:
    """Return the memorization ratio of each sample, invariant to the grey level and contrast of training images.

    The ratio is min |s - a x_1 - b| / min |s - a x_2 - b| over a >= 0 and b, which is sin(s, x_1) / sin(s, x_2) after
    removing the means, with x_1 and x_2 the two training images of the largest cosine. A bias-free network is
    homogeneous, f(cy) = c f(y), and so memorizes images up to brightness and contrast.

    For a single training image, sin(s, x_2) is 1.

    Parameters
    ----------
    samples
        Shape (N, C, H, W).
    images
        The training images, shape (M, C, H, W), without duplicates.

    Returns
    -------
    Tensor
        Ratios, shape (N,), float64, in [0, 1].

    Raises
    ------
    ValueError
        If there is no training image, or the shapes differ.

    Examples
    --------
    >>> import torch
    >>> images = torch.eye(4).reshape(4, 1, 2, 2)
    >>> affine_ratios(0.2 + 0.5 * images[:1], images).round(decimals=3)
    tensor([0.], dtype=torch.float64)
    """
    cosines = nearest_by_cosine(samples, images, 2).values.clamp(min=0)
    sines = (1 - cosines.square()).sqrt()
    first, second = sines[:, 0], sines[:, 1] if len(images) > 1 else torch.ones_like(sines[:, 0])
    return torch.where(first == 0, 0.0, first / second)
