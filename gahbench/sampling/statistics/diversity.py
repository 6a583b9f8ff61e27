"""Statistics of the diversity of samples: relative spread and Vendi score."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from gahbench.sampling.statistics.neighbours import unit_vectors


def relative_spread(samples: Tensor, images: Tensor) -> float:
    """Return the root mean square distance between samples, divided by the distance between real images.

    The value is 1 if samples are as diverse as images, and 0 if all samples are equal. It is computed from the trace of
    the covariance, which is half the mean of |s_i - s_j|^2 over all pairs.

    Parameters
    ----------
    samples
        Shape (N, ...), at least 2 samples.
    images
        Real images, shape (M, ...), at least 2 images.

    Raises
    ------
    ValueError
        If there are fewer than 2 samples or images, or all images are equal.

    Examples
    --------
    >>> import torch
    >>> images = torch.tensor([0.0, 1.0, 2.0]).reshape(3, 1, 1, 1)
    >>> relative_spread(0.5 * images, images), relative_spread(images[[0, 0]], images)
    (0.5, 0.0)
    """
    spreads = []
    for values, name in ((samples, "samples"), (images, "images")):
        if len(values) < 2:
            raise ValueError(f"the spread of {len(values)} {name} is undefined; accepted: 2 or more")
        spreads.append(float(_variance(values)))
    if spreads[1] == 0:
        raise ValueError("all images are equal: their spread is 0, and no ratio exists")
    return math.sqrt(spreads[0] / spreads[1])


def vendi_score(images: Tensor, centred: bool = True, origin: Tensor | None = None) -> float:
    """Return the Vendi score, the effective number of different images.

    The score is exp(-sum_i l_i log l_i), where l_i are the eigenvalues of K / N, and K is the matrix of cosines of all
    pairs (Friedman & Dieng, *The Vendi score*, TMLR 2023, definition 3.1). It is N if all images are orthogonal, and 1
    if all images are equal. The score grows with N: compare only sets of equal size.

    Parameters
    ----------
    images
        Shape (N, ...). The computation takes N^3 operations, or N d^2 if that is less.
    centred
        Whether to subtract the mean of each image.
    origin
        An image to subtract first, such as the mean image; without it, all images of one family are similar.

    Raises
    ------
    ValueError
        If there are no images, or an image is constant or equal to the origin.

    Examples
    --------
    >>> import torch
    >>> round(vendi_score(torch.eye(4), centred=False), 6), round(vendi_score(torch.eye(4)[[0, 0, 0, 0]]), 6)
    (4.0, 1.0)
    """
    vectors = unit_vectors(images, centred, origin)
    if not len(vectors) or not bool((vectors != 0).any(1).all()):
        raise ValueError("expected at least 1 image, and none that is constant or equal to the origin")
    products = vectors @ vectors.mT if len(vectors) <= vectors.shape[1] else vectors.mT @ vectors
    values = torch.linalg.eigvalsh(products / len(vectors)).clamp(min=0)
    return float(torch.special.entr(values).sum().exp())


def _variance(images: Tensor) -> Tensor:
    """Return the trace of the covariance, computed in parts to bound the memory."""
    pieces = torch.split(images.flatten(1), max(1, (1 << 22) // max(1, images[0].numel())))
    mean = torch.stack([piece.double().sum(0) for piece in pieces]).sum(0) / len(images)
    return torch.stack([(piece.double() - mean).square().sum() for piece in pieces]).sum() / (len(images) - 1)
