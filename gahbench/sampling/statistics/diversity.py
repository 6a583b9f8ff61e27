"""Diversity of samples."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from gahbench.sampling.statistics.neighbours import unit_vectors


def relative_spread(samples: Tensor, images: Tensor) -> float:
    """Return the root mean squared distance of two samples, relative to that of two real images.

    1 if they are as diverse, 0 if all are the same. The mean of |s_i - s_j|^2 over all pairs is twice the trace of the
    covariance, which takes no pairs.

    Parameters
    ----------
    samples, images
        Shapes (N, ...) and (M, ...), two of each at least.

    Raises
    ------
    ValueError
        If there are fewer, or real images do not differ.
    """
    spreads = []
    for some, name in ((samples, "samples"), (images, "images")):
        if len(some) < 2:
            raise ValueError(f"{len(some)} {name} have no distances among them; accepted are 2 or more")
        spreads.append(float(_variance(some)))
    if spreads[1] == 0:
        raise ValueError("the images are all the same: there is no spread to compare with")
    return math.sqrt(spreads[0] / spreads[1])


def vendi_score(images: Tensor, centred: bool = True, origin: Tensor | None = None) -> float:
    """Return the Vendi score: the effective number of different images.

    exp(-sum_i l_i log l_i), l_i the eigenvalues of K / N, K the cosines of all pairs (Friedman & Dieng, *The Vendi
    score*, TMLR 2023, definition 3.1). N if all are orthogonal, 1 if all are the same. It grows with N: compare only
    sets of one size.

    Parameters
    ----------
    images
        Shape (N, ...); takes N^3 operations, or N d^2 where that is less.
    centred, origin
        An image that is subtracted first (:mod:`gahbench.sampling.statistics.neighbours`). Without an origin
        images of one family are all alike.

    Raises
    ------
    ValueError
        If there are none, or one has no direction: is constant, or equal to the origin.

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
    """Return the trace of the covariance, in parts that bound the memory."""
    pieces = torch.split(images.flatten(1), max(1, (1 << 22) // max(1, images[0].numel())))
    mean = torch.stack([some.double().sum(0) for some in pieces]).sum(0) / len(images)
    return torch.stack([(some.double() - mean).square().sum() for some in pieces]).sum() / (len(images) - 1)
