"""Alignment of families of filters in what changes from image to image, beyond strength."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gahbench._util.noise import generator
from gahbench._util.shapes import Shape
from gahbench.evaluation.direction import directional
from gahbench.jacobian.maps import Sketch

#: A filter whose part that changes with the image is smaller than this, relative to itself, does not change: the rest
#: is rounding.
UNCHANGING = 1e-4
#: A family of which strength explains all but less than this share of the change has no residual to speak of.
MIN_SHARE = 0.02
#: A residual of which less than this share is directional has no direction to speak of.
MIN_DIRECTIONAL = 0.02
#: Images that directions and alignments need: with fewer images the regression on strength removes much of the signal.
MIN_IMAGES = 24
#: Partial cosines are 0 where sqrt(1 - cosine^2) of either with the third is smaller: it explains all there is.
MIN_FACTOR = 0.01
#: Powers of the logarithm of the trace that filters are regressed on.
DEGREE = 3
#: Where the standard deviation of log-traces is smaller, all images are smoothed as strongly: only the mean is removed.
MIN_SPREAD = 1e-3
#: An image that decides its own regression by more than this has no residual to speak of.
MAX_LEVERAGE = 0.9
#: Singular values of Z below this share of the largest are of rounding.
ROUNDING = 1e-10
#: Random permutations that the significance is estimated from.
PERMUTATIONS = 9999


@dataclass(frozen=True, eq=False)
class StrengthRemoval:
    """The residuals of filters in a regression on their strength: H = 1 - Z (Z'Z)^-1 Z', acting on the image index.

    Z = [1, l, l^2, l^3] for log-traces l, standardised; Z = [1] where all traces are the same. It takes away the mean
    filter, and whatever filters do that depends on the image by its strength alone.

    Parameters
    ----------
    places
        Images that it is made for, of N, shape (M,), in order.
    matrix
        H, shape (M, M), float64.
    """

    places: Tensor
    matrix: Tensor

    def __len__(self) -> int:
        return len(self.places)

    def __call__(self, filters: Tensor) -> Tensor:
        """Return the residuals, shape (M, ...), of filters (N, ...)."""
        kept = filters[self.places.to(filters.device)]
        found: Tensor = (self.matrix.to(kept) @ kept.flatten(1)).reshape(kept.shape)
        return found

    def left_out(self, count: int) -> Tensor:
        """Return 1 for the images of N that it is not made for, and 0 for the others, shape (N,), float64."""
        found = torch.ones(count, dtype=torch.float64)
        found[self.places] = 0
        return found

    def among(self, count: int, values: Tensor | float) -> Tensor:
        """Return values of its images, shape (M,), or one for all, among N, NaN elsewhere, shape (N,), float64."""
        found = torch.full((count,), torch.nan, dtype=torch.float64)
        found[self.places] = torch.as_tensor(values, dtype=torch.float64)
        return found


def remove_strength(traces: Tensor, usable: Tensor | None = None) -> StrengthRemoval:
    """Return what takes the strength out of filters, given their traces.

    Images whose trace is not positive are left out, and those of leverage above 0.9, which is the diagonal of 1 - H.

    Parameters
    ----------
    traces
        Shape (N,), on any device.
    usable
        Which images may be used, shape (N,); all by default.

    Examples
    --------
    >>> import torch
    >>> traces = torch.cat([torch.tensor([-1.0]), torch.linspace(1, 9, 30)])
    >>> remove = remove_strength(traces)
    >>> remove.places[0], len(remove)  # The first has no strength.
    (tensor(1), 30)
    >>> bool(remove(traces.log().square()[:, None]).abs().max() < 1e-5)
    True
    """
    traces = traces.double().cpu()
    kept = traces > 0
    if usable is not None:
        kept = kept & usable.cpu()
    while True:
        places = kept.nonzero()[:, 0]
        design = _design(traces[places])
        # Orthonormal columns that span those of Z, which are fewer where several images have one trace.
        columns, values, _ = torch.linalg.svd(design, full_matrices=False)
        columns = columns[:, values > ROUNDING * values[:1]]
        leverage = columns.square().sum(1)
        if len(places) == 0 or not (leverage > MAX_LEVERAGE).any() or len(places) <= design.shape[1]:
            break
        kept[places[leverage > MAX_LEVERAGE]] = False
    return StrengthRemoval(places, torch.eye(len(places), dtype=torch.float64) - columns @ columns.mT)


def _design(traces: Tensor) -> Tensor:
    """Return Z for positive traces."""
    logarithms = traces.log()
    if len(traces) < 2 or logarithms.std() < MIN_SPREAD:
        return torch.ones(len(traces), 1, dtype=torch.float64)
    standard = (logarithms - logarithms.mean()) / logarithms.std()
    return standard[:, None] ** torch.arange(DEGREE + 1, dtype=torch.float64)


@dataclass(frozen=True, eq=False)
class Adaptation:
    """The residuals HS of filters of M images, without their strength and their mean, or their directional part.

    Parameters
    ----------
    sketch
        The residuals, on M images.
    share
        How much of the squared norm they are: of what changes with the image (U), or, for the directional part, of HS.
    adapts
        Whether there is any to speak of. Where there is none, cosines are 0 by definition.
    """

    sketch: Sketch
    share: float
    adapts: bool

    def __len__(self) -> int:
        return len(self.sketch.rows)

    def directional(self, shape: Shape) -> Adaptation:
        """Return its part that is not isotropic about each pixel; see :func:`directional`.

        Parameters
        ----------
        shape
            Shape (C, H, W) of the images.

        Raises
        ------
        ValueError
            If it is on random vectors.
        """
        if not self.sketch.exact:
            raise ValueError("the directional part of a filter follows from all of it, not from random vectors")
        rest = Sketch(directional(self.sketch.rows, shape), exact=True)
        whole = float(squares(self.sketch).sum())
        share = float(squares(rest).sum()) / whole if whole > 0 else 0.0
        return Adaptation(rest, share, self.adapts and share >= MIN_DIRECTIONAL)


def adaptation(sketch: Sketch, remove: StrengthRemoval) -> Adaptation:
    """Return what filters do beyond their strength and their mean.

    Parameters
    ----------
    sketch
        The filters of N images: their symmetric parts, whole or on random vectors.
    remove
        Takes out the strength.

    Examples
    --------
    >>> import torch
    >>> from gahbench.jacobian import Sketch
    >>> from gahbench.evaluation import remove_strength
    >>> traces = torch.linspace(1, 4, 30)
    >>> stronger = Sketch(torch.eye(5) * traces[:, None, None] / 5, exact=True)
    >>> adaptation(stronger, remove_strength(traces)).adapts
    False
    """
    kept = Sketch(sketch.rows[remove.places.to(sketch.rows.device)], sketch.exact)
    rest = Sketch(remove(sketch.rows), sketch.exact)
    change = _change(kept)
    share = float(squares(rest).sum()) / change if change > 0 else 0.0
    return Adaptation(rest, share, share >= MIN_SHARE)


def changes(sketch: Sketch) -> bool:
    """Return whether filters change from image to image, beyond rounding: |S - mean S| >= 1e-4 |S|, over all images.

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
    return _change(sketch) > 0


def _change(sketch: Sketch) -> float:
    """Return sum_i |S_i - mean S|^2, and 0 where it is rounding."""
    if len(sketch.rows) < 2:
        return 0.0
    centred = Sketch(sketch.rows - sketch.rows.mean(0, keepdim=True), sketch.exact)
    change = float(squares(centred).sum())
    return change if change > UNCHANGING**2 * float(squares(sketch).sum()) else 0.0


@dataclass(frozen=True, eq=False)
class Alignment:
    """Scores of M images.

    Parameters
    ----------
    own
        Cosine of the two residuals of each image, shape (M,), float64, from -1 to 1.
    error
        Standard errors of ``own`` from the random vectors; 0 where it is exact.
    """

    own: Tensor
    error: Tensor


def align(one: Adaptation, other: Adaptation) -> Alignment:
    """Return the cosine of the residuals of two families of filters, image by image.

    It is the alignment of Cortes, Mohri & Rostamizadeh 2012, and of Kornblith et al. 2019, between two families of
    filters rather than two kernels, from which strength has been taken out as well as the mean. A family that does not
    adapt scores 0.

    Parameters
    ----------
    one, other
        On the same images, sketched on the same vectors.

    Raises
    ------
    ValueError
        If there are different numbers of images.

    Examples
    --------
    >>> import torch
    >>> from gahbench.jacobian import Sketch
    >>> from gahbench.evaluation import remove_strength
    >>> filters = torch.rand(30, 5, 5, generator=torch.Generator().manual_seed(0))
    >>> remove = remove_strength(filters.diagonal(dim1=1, dim2=2).sum(1))
    >>> rest = adaptation(Sketch(filters, exact=True), remove)
    >>> align(rest, rest).own.min().round(decimals=6)
    tensor(1., dtype=torch.float64)
    """
    if len(one) != len(other):
        raise ValueError(f"alignment compares pairs of filters, not {len(one)} with {len(other)}")
    if not (one.adapts and other.adapts):
        zeros = torch.zeros(len(one), dtype=torch.float64)
        return Alignment(zeros, zeros)
    products = one.sketch.own_products(other.sketch).cpu()
    left, right = squares(one.sketch), squares(other.sketch)
    own = _cosine(products.sum(0), left.sum(0), right.sum(0))
    error = torch.zeros_like(own)
    groups = len(products)
    if groups > 1:
        # Leave out one group of random vectors after the other.
        others = torch.stack(
            [_cosine(*(part.sum(0) - part[left_out] for part in (products, left, right))) for left_out in range(groups)]
        )
        error = ((groups - 1) * others.var(0, correction=0)).sqrt()
    return Alignment(own, error)


def partial_cosine(one: Tensor, other: Tensor, third: Tensor) -> Tensor:
    """Return the cosine c_SW of two residuals given a third, V: (c_SW - c_SV c_WV) / sqrt((1 - c_SV^2)(1 - c_WV^2)).

    Parameters
    ----------
    one
        The cosines c_SW, shape (M,).
    other, third
        The cosines c_SV and c_WV, shape (M,).

    Returns
    -------
    Tensor
        Shape (M,); 0 where V explains all of S or of W.
    """
    left, right = ((1 - cosine.square()).clamp_min(0).sqrt() for cosine in (other, third))
    found = (one - other * third) / (left * right).clamp_min(MIN_FACTOR**2)
    return torch.where((left >= MIN_FACTOR) & (right >= MIN_FACTOR), found, 0.0)


def squares(sketch: Sketch) -> Tensor:
    """Return |S_i|^2 from each group of vectors, shape (G, M), float64; their sum over G is it."""
    return sketch.own_products(sketch).cpu()


def _cosine(product: Tensor, left: Tensor, right: Tensor) -> Tensor:
    return torch.where((left > 0) & (right > 0), product / (left * right).clamp_min(1e-300).sqrt(), 0.0)


def exchange_significance(table: Tensor, permutations: int = PERMUTATIONS) -> float:
    """Return the share of permutations of the images under which filters agree as well as with their own geometries.

    Parameters
    ----------
    table
        T_ij, how much the filter of image i agrees with the geometry of image j at the strength of i, shape (M, M); see
        :meth:`gahbench.jacobian.FilterFamily.exchanged`.
    permutations
        How many are drawn, always the same.

    Returns
    -------
    float
        The p-value of sum_i T_ii, from 1 / (1 + permutations) to 1: the permutation that leaves all as it is counts.

    Examples
    --------
    >>> import torch
    >>> exchange_significance(torch.eye(30)), exchange_significance(torch.ones(30, 30))
    (0.0001, 1.0)
    """
    table = table.double().cpu()
    count = len(table)
    draw = generator("noise", "exchange", count)
    orders = torch.rand(permutations, count, generator=draw).argsort(1)
    sums = table[torch.arange(count), orders].sum(1)
    own = table.diagonal().sum()
    # Sums of the same numbers in another order differ by rounding.
    as_good = sums >= own - 1e-12 * table.abs().sum(1).max() * count
    return (1 + int(as_good.sum())) / (1 + permutations)


def retrieved(table: Tensor) -> Tensor:
    """Return 1 where of all geometries an image's own agrees the most with its filter, else 0, shape (M,), float64.

    Parameters
    ----------
    table
        T_ij, shape (M, M).
    """
    return (table.argmax(1) == torch.arange(len(table), device=table.device)).double().cpu()
