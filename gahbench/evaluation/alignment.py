"""Alignment of two sets of filters in the part that changes from image to image."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gahbench.jacobian.probes import Sketch

#: A filter whose part that changes with the image is smaller than this, relative to itself, does not change: the rest
#: is rounding.
UNCHANGING = 1e-4
#: With fewer images there is hardly anything to retrieve, and no mean to remove.
MIN_IMAGES = 8


@dataclass(frozen=True, eq=False)
class Alignment:
    """Scores of N images.

    Parameters
    ----------
    own
        Cosine of the two filters of each image, without their means over images, shape (N,), float64, from -1 to 1.
    null
        The same with the second filter of another image, the mean over the others: -own / (n - 1) where all are of one
        size, since the filters without their mean add up to zero.
    retrieved
        1 where of all second filters an image's own is the most alike, else 0.
    error
        Standard errors of ``own`` from the random vectors; 0 where it is exact.
    """

    own: Tensor
    null: Tensor
    retrieved: Tensor
    error: Tensor


def align(one: Sketch, other: Sketch) -> Alignment | None:
    """Compare filters S_i and W_i, i = 1 to n, in the part that changes from image to image.

    With S~_i = S_i - mean_{j != i} S_j, and W~_i likewise, the score of an image is <S~_i, W~_i> / (|S~_i| |W~_i|): the
    alignment of Cortes, Mohri & Rostamizadeh 2012, and of Kornblith et al. 2019, between two families of filters rather
    than two kernels. An S_i that does not depend on the image scores 0.

    Parameters
    ----------
    one, other
        The filters, sketched on the same vectors.

    Returns
    -------
    Alignment or None
        ``None`` where the other filters do not depend on the image: there is nothing to be aligned with.

    Raises
    ------
    ValueError
        If there are fewer than 2 images, or different numbers of them.

    Examples
    --------
    >>> import torch
    >>> from gahbench.jacobian import Sketch
    >>> filters = Sketch(torch.rand(8, 5, 5, generator=torch.Generator().manual_seed(0)), exact=True)
    >>> found = align(filters, filters)
    >>> found.own.min().round(decimals=6), found.retrieved.mean()
    (tensor(1., dtype=torch.float64), tensor(1., dtype=torch.float64))
    """
    count = len(one.rows)
    if count < 2 or len(other.rows) != count:
        raise ValueError(f"alignment compares 2 or more pairs of filters, not {count} with {len(other.rows)}")
    if not _changes(other).any():
        return None
    left, right = one.centred(), other.centred()
    products, own_left, own_right = (table.cpu() for table in (left.products(right), _squares(left), _squares(right)))
    changes = _changes(one)[:, None] & _changes(other)

    def cosines(cross: Tensor, first: Tensor, second: Tensor) -> Tensor:
        lengths = (first[:, None] * second).clamp_min(1e-300).sqrt()
        return torch.where(changes, cross / lengths, 0.0)

    table = cosines(products.sum(0), own_left.sum(0), own_right.sum(0))
    own = table.diagonal()
    null = (table.sum(1) - own) / (count - 1)
    retrieved = (table.argmax(1) == torch.arange(count)) & changes.any(1)
    error = torch.zeros_like(own)
    groups = len(products)
    if groups > 1:
        # Leave out one group of random vectors after the other.
        others = torch.stack(
            [
                cosines(*(part.sum(0) - part[left_out] for part in (products, own_left, own_right))).diagonal()
                for left_out in range(groups)
            ]
        )
        error = ((groups - 1) * others.var(0, correction=0)).sqrt()
    return Alignment(own, null, retrieved.double(), error)


def unchanging(count: int) -> Alignment:
    """Return the score of filters that are the same for all images: 0, by definition.

    Parameters
    ----------
    count
        Number of images N.

    Examples
    --------
    >>> unchanging(3).own
    tensor([0., 0., 0.], dtype=torch.float64)
    """
    zeros = torch.zeros(count, dtype=torch.float64)
    return Alignment(zeros, zeros, zeros, zeros)


def changes(sketch: Sketch) -> bool:
    """Return whether any filter has a part of its own image, beyond rounding.

    Parameters
    ----------
    sketch
        The filters of N images: their symmetric parts, whole or on random vectors.

    Examples
    --------
    >>> import torch
    >>> from gahbench.jacobian import Sketch
    >>> same = torch.eye(4).expand(3, 4, 4)
    >>> changes(Sketch(same, exact=True)), changes(Sketch(same * torch.rand(3, 1, 1), exact=True))
    (False, True)
    """
    return bool(_changes(sketch).any())


def _squares(sketch: Sketch) -> Tensor:
    """Return |S_i|^2 from each group of vectors, shape (G, N)."""
    return sketch.products(sketch).diagonal(dim1=1, dim2=2)


def _changes(sketch: Sketch) -> Tensor:
    """Return whether each filter has a part of its own image, beyond rounding, shape (N,)."""
    whole, rest = (
        torch.linalg.vector_norm(rows.flatten(1), dim=1, dtype=torch.float64)
        for rows in (sketch.rows, sketch.centred().rows)
    )
    changes: Tensor = rest > UNCHANGING * whole
    # Filters of a network may be on a GPU, and those that they are compared with are not.
    return changes.cpu()
