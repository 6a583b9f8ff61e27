"""Linear maps of images, one for each of N images: Jacobians, and filters to compare with.

Traces and Frobenius products are exact where matrices are small, and otherwise from random probes, with their errors.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from gahbench._util.noise import generator
from gahbench._util.shapes import Shape

#: Values of an image, as in 48x48 grey, up to which matrices are formed and results are exact; beyond it they are
#: estimated from random probes.
LARGEST_EXACT = 2304
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


class LinearMaps(ABC):
    """N linear maps of images of d = C * H * W values, the i-th of which belongs to the i-th image.

    They are given by their products with vectors; a matrix is made only on request, or where it is small
    enough (d up to 2304) for traces and products to be exact. Vectors are images laid out in a row, shape (N, P, d): P
    of them for each of the N maps.

    Parameters
    ----------
    count
        How many maps.
    shape
        Shape (C, H, W) of the images.
    """

    def __init__(self, count: int, shape: Shape) -> None:
        self.count = count
        self.shape = shape

    def __len__(self) -> int:
        return self.count

    @property
    def size(self) -> int:
        """Number d of values of an image."""
        return math.prod(self.shape)

    @property
    def is_small(self) -> bool:
        """Whether matrices are written down, so that traces and Frobenius products are exact."""
        return self.size <= LARGEST_EXACT

    @property
    def method(self) -> str:
        """How products are found, in words."""
        return "products"

    @property
    @abstractmethod
    def like(self) -> Tensor:
        """Any tensor of the dtype and on the device of the results."""

    @abstractmethod
    def only(self, place: int) -> LinearMaps:
        """Return the map of one of the images."""

    @abstractmethod
    def matvec(self, vectors: Tensor) -> Tensor:
        """Return A_i v for vectors (N, P, d), or (1, P, d) for the same vectors for all; shape (N, P, d)."""

    @abstractmethod
    def rmatvec(self, vectors: Tensor) -> Tensor:
        """Return A_i' v for vectors (N, P, d), or (1, P, d) for the same vectors for all; shape (N, P, d)."""

    def symmetric_product(self, vectors: Tensor) -> Tensor:
        """Return (A_i + A_i') v / 2, shape (N, P, d)."""
        return (self.matvec(vectors) + self.rmatvec(vectors)) / 2

    def matrices(self) -> Tensor:
        """Return the matrices, shape (N, d, d)."""
        identity = torch.eye(self.size, dtype=self.like.dtype, device=self.like.device)
        # The transposed product with the k-th unit vector is the k-th row.
        return self.rmatvec(identity[None])

    def trace(self, probes: int | None = None, seed: int = 0) -> Estimate:
        """Return the traces: exact where maps are small, otherwise Hutchinson's estimate."""
        if probes is None and self.is_small:
            return _exact(self.matrices().diagonal(dim1=1, dim2=2).double().sum(1))
        vectors = probes_for(self.size, PROBES if probes is None else probes, seed, self.like)
        return _estimated((self.rmatvec(vectors) * vectors).double().sum(2))

    def frobenius_product(self, other: LinearMaps, probes: int | None = None, seed: int = 0) -> Estimate:
        """Return <S_i, W_i>, S_i and W_i the symmetric parts of two maps: exact if small, else E z'S_i W_i z."""
        left, right = self.sketch(probes, seed), other.sketch(probes, seed)
        each = (left.rows * right.rows.to(left.rows)).double().sum(2)
        return _exact(each.sum(1)) if left.exact else _estimated(each)

    def sketch(self, probes: int | None = None, seed: int = 0) -> Sketch:
        """Return the symmetric parts, whole where maps are small, otherwise on 64 random vectors."""
        if probes is None and self.is_small:
            found = self.matrices()
            return Sketch((found + found.mT) / 2, exact=True)
        vectors = probes_for(self.size, PROBES if probes is None else probes, seed, self.like)
        return Sketch(self.symmetric_product(vectors), exact=False)


class DenseMaps(LinearMaps):
    """Maps that are given as matrices.

    Parameters
    ----------
    matrices
        Shape (N, d, d), or (1, d, d) with ``count``, where all images share one.
    shape
        Shape (C, H, W) of the images.
    count
        N, where it is not the number of matrices.

    Raises
    ------
    ValueError
        If the matrices do not fit the shape or the count.
    """

    def __init__(self, matrices: Tensor, shape: Shape, count: int | None = None) -> None:
        super().__init__(len(matrices) if count is None else count, shape)
        if matrices.ndim != 3 or matrices.shape[1:] != (self.size, self.size) or len(matrices) not in (1, self.count):
            raise ValueError(
                f"expected matrices of shape ({self.count}, {self.size}, {self.size}) for images {shape}, "
                f"not {tuple(matrices.shape)}"
            )
        self._matrices = matrices

    @property
    def like(self) -> Tensor:
        """The matrices."""
        return self._matrices

    @property
    def method(self) -> str:
        """How the maps are stored."""
        return "matrices"

    def only(self, place: int) -> DenseMaps:
        """Return the map of one of the images."""
        return DenseMaps(self._matrices[place : place + 1] if len(self._matrices) > 1 else self._matrices, self.shape)

    def matvec(self, vectors: Tensor) -> Tensor:
        """Return A_i v, shape (N, P, d)."""
        return (vectors.to(self.like) @ self._matrices.mT).expand(self.count, -1, -1)

    def rmatvec(self, vectors: Tensor) -> Tensor:
        """Return A_i' v, shape (N, P, d)."""
        return (vectors.to(self.like) @ self._matrices).expand(self.count, -1, -1)

    def matrices(self) -> Tensor:
        """Return the matrices, shape (N, d, d)."""
        return self._matrices.expand(self.count, -1, -1)


class FunctionMaps(LinearMaps):
    """Symmetric maps that are given by a function, as the filters of optimal denoisers are.

    Parameters
    ----------
    function
        Returns the products, shape (M, P, d), of vectors (M, P, d) with the maps of M places, their numbers.
    count, shape
        Number of maps, and shape (C, H, W) of the images.
    like
        Any tensor of the dtype and on the device in which the function computes.
    places
        The numbers of the images; by default 0 to count - 1.
    """

    def __init__(
        self,
        function: Callable[[Tensor, Sequence[int]], Tensor],
        count: int,
        shape: Shape,
        like: Tensor,
        places: Sequence[int] | None = None,
    ) -> None:
        super().__init__(count, shape)
        self._function = function
        self._like = like
        self._places = range(count) if places is None else places

    @property
    def like(self) -> Tensor:
        """The tensor that was given."""
        return self._like

    def only(self, place: int) -> FunctionMaps:
        """Return the map of one of the images."""
        return FunctionMaps(self._function, 1, self.shape, self._like, [self._places[place]])

    def matvec(self, vectors: Tensor) -> Tensor:
        """Return A_i v, shape (N, P, d)."""
        return self._function(vectors.to(self._like).expand(self.count, -1, -1), self._places)

    def rmatvec(self, vectors: Tensor) -> Tensor:
        """Return A_i v, since the maps are symmetric."""
        return self.matvec(vectors)

    def symmetric_product(self, vectors: Tensor) -> Tensor:
        """Return A_i v."""
        return self.matvec(vectors)


def _exact(value: Tensor) -> Estimate:
    return Estimate(value.cpu(), torch.zeros_like(value, device="cpu"), 0)


def _estimated(each: Tensor) -> Estimate:
    """Return mean and standard error of values (N, P)."""
    probes = each.shape[1]
    error = each.std(1) / probes**0.5 if probes > 1 else torch.full_like(each[:, 0], torch.inf)
    return Estimate(each.mean(1).cpu(), error.cpu(), probes)
