"""Traces and Frobenius products, exact where matrices are small, otherwise from random probes with their errors."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gahbench._util.noise import generator
from gahbench.jacobian.maps import LinearMaps

#: How many random vectors are used where results are not exact.
PROBES = 64
#: Rows of matrices that are multiplied in float64 at a time.
TOGETHER = 64
#: Maximum of groups of probes that the jackknife leaves out.
GROUPS = 16


@dataclass(frozen=True, eq=False)
class Estimate:
    """A number for each of N images.

    Parameters
    ----------
    value
        Shape (N,), float64.
    error
        Standard errors, shape (N,): 0 where it is exact.
    probes
        How many random vectors it was estimated from; 0 where it is exact.
    """

    value: Tensor
    error: Tensor
    probes: int

    def __str__(self) -> str:
        how = "exact" if self.probes == 0 else f"from {self.probes} random probes"
        error = [""] * len(self.value) if self.probes == 0 else [f" ± {error:.2g}" for error in self.error.tolist()]
        pairs = zip(self.value.tolist(), error, strict=True)
        return f"{', '.join(f'{value:.6g}{end}' for value, end in pairs)} ({how})"


@dataclass(frozen=True, eq=False)
class Sketch:
    """The symmetric parts of N maps, whole, or on P random vectors that all maps share.

    As E z z' = 1 for the random vectors z, <S, W> = E (S z)'(W z): Frobenius products of whatever maps are sketched
    on the same vectors follow from their sketches.

    Parameters
    ----------
    rows
        S_i on the vectors, shape (N, P, d); the matrices, P = d, where it is exact.
    exact
        Whether the vectors are all unit vectors.
    """

    rows: Tensor
    exact: bool

    def own_products(self, other: Sketch) -> Tensor:
        """Return <S_i, W_i> from each of G groups of vectors, shape (G, N), float64; their sum over G is it.

        Where it is exact there is one group.

        Raises
        ------
        ValueError
            If the two are not sketched on the same number of vectors.
        """
        left, right = self.rows, other.rows.to(self.rows)
        if left.shape != right.shape or self.exact != other.exact:
            raise ValueError(f"sketches of shapes {tuple(left.shape)} and {tuple(right.shape)} are on other vectors")
        count = left.shape[1]
        # Some vectors at a time, so that float64 copies stay small.
        pieces = -(-count // TOGETHER) if self.exact else min(GROUPS, count)
        cut = (left.tensor_split(pieces, 1), right.tensor_split(pieces, 1))
        groups = [(first.double() * second.double()).sum((1, 2)) for first, second in zip(*cut, strict=True)]
        return torch.stack(groups).sum(0, keepdim=True) if self.exact else torch.stack(groups) / count


def probes_for(size: int, probes: int, seed: int, like: Tensor) -> Tensor:
    """Return random signs, always the same for the same arguments.

    Parameters
    ----------
    size
        Number d of values of an image.
    probes
        How many vectors P.
    seed
        Names the draw.
    like
        Any tensor of the dtype and on the device that they should have.

    Returns
    -------
    Tensor
        Values -1 and 1, shape (1, P, d): vectors for all images alike, as :meth:`LinearMaps.matvec` takes them.

    Raises
    ------
    ValueError
        If there are fewer than 1.
    """
    if probes < 1:
        raise ValueError(f"probes={probes}: accepted are 1, 2, ...")
    draw = generator("noise", "probes", seed, size)
    signs = torch.randint(0, 2, (probes, size), generator=draw)
    return (2 * signs - 1).to(like)[None]


def sketch(maps: LinearMaps, probes: int | None = None, seed: int = 0) -> Sketch:
    """Return the symmetric parts of maps, whole where they are small, otherwise on 64 random vectors."""
    if probes is None and maps.is_small:
        found = maps.matrices()
        return Sketch((found + found.mT) / 2, exact=True)
    vectors = probes_for(maps.size, PROBES if probes is None else probes, seed, maps.like)
    return Sketch(maps.symmetric_product(vectors), exact=False)


def trace(maps: LinearMaps, probes: int | None = None, seed: int = 0) -> Estimate:
    """Return the trace of each map: exact where they are small, otherwise Hutchinson's estimate."""
    if probes is None and maps.is_small:
        return _exact(maps.matrices().diagonal(dim1=1, dim2=2).double().sum(1))
    vectors = probes_for(maps.size, PROBES if probes is None else probes, seed, maps.like)
    return _estimated((maps.rmatvec(vectors) * vectors).double().sum(2))


def frobenius_product(one: LinearMaps, other: LinearMaps, probes: int | None = None, seed: int = 0) -> Estimate:
    """Return <S_i, W_i>, S_i and W_i the symmetric parts of two maps: exact if small, else E z'S_i W_i z."""
    left, right = sketch(one, probes, seed), sketch(other, probes, seed)
    each = (left.rows * right.rows.to(left.rows)).double().sum(2)
    return _exact(each.sum(1)) if left.exact else _estimated(each)


def _exact(value: Tensor) -> Estimate:
    return Estimate(value.cpu(), torch.zeros_like(value, device="cpu"), 0)


def _estimated(each: Tensor) -> Estimate:
    """Return mean and standard error of values (N, P)."""
    probes = each.shape[1]
    error = each.std(1) / probes**0.5 if probes > 1 else torch.full_like(each[:, 0], torch.inf)
    return Estimate(each.mean(1).cpu(), error.cpu(), probes)
