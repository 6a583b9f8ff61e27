"""Alignment of families of filters: how well their changes from image to image agree, apart from their strength."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from gahbench._util.shapes import Shape
from gahbench.evaluation.direction import directional
from gahbench.jacobian.maps import Sketch

#: Filters whose relative change from image to image is smaller than this count as constant: such changes are rounding
#: errors.
UNCHANGING = 1e-4
#: A family of filters adapts beyond its strength if the residual is at least this share of the change.
MIN_SHARE = 0.02
#: A residual has no direction if its directional share is smaller than this.
MIN_DIRECTIONAL = 0.02
#: Directions and alignments need this many images: with fewer, the regression on strength removes much of the signal.
MIN_IMAGES = 24
#: With this many images, up to four images may be left out.
ADVISED_IMAGES = 28
#: Degree of the polynomial in the logarithm of the trace on which filters are regressed.
DEGREE = 3
#: If the standard deviation of log-traces is smaller than this, all filters count as equally strong, and only the mean
#: is removed.
MIN_SPREAD = 1e-3
#: Images with a leverage above this, which determine their own fit, are left out.
MAX_LEVERAGE = 0.9
#: Singular values of Z below this share of the largest are rounding.
ROUNDING = 1e-10


@dataclass(frozen=True, eq=False)
class StrengthRemoval:
    """Regression of filters on their strength: the projection H = 1 - Z (Z'Z)^-1 Z' on residuals, over the image index.

    Z = [1, l, l^2, l^3] for standardised log-traces l; Z = [1] if all traces are equal. The projection removes the mean
    filter, and all changes of filters that depend on the image only through the strength.

    Parameters
    ----------
    indices
        Ascending indices of the M images, out of N, that the regression uses, shape (M,).
    matrix
        The projection H, shape (M, M), float64.

    Examples
    --------
    >>> import torch
    >>> remove = remove_strength(torch.linspace(1, 4, 30))
    >>> remove(torch.ones(30, 2)).abs().max() < 1e-6
    tensor(True)
    """

    indices: Tensor
    matrix: Tensor

    def __len__(self) -> int:
        return len(self.indices)

    def __call__(self, filters: Tensor) -> Tensor:
        """Return the residuals, shape (M, ...), of filters (N, ...)."""
        kept = filters[self.indices.to(filters.device)]
        residuals: Tensor = (self.matrix.to(kept) @ kept.flatten(1)).reshape(kept.shape)
        return residuals

    def scatter(self, count: int, values: Tensor | float) -> Tensor:
        """Return values of the M used images, or a scalar for them, with NaN for unused images: shape (N,), float64."""
        padded = torch.full((count,), torch.nan, dtype=torch.float64)
        padded[self.indices] = torch.as_tensor(values, dtype=torch.float64)
        return padded


def remove_strength(traces: Tensor, usable: Tensor | None = None) -> StrengthRemoval:
    """Return the regression that removes the strength from filters, given their traces.

    Images are left out if their trace is not positive, or if their leverage, the diagonal of 1 - H, is above 0.9.

    Parameters
    ----------
    traces
        Shape (N,), on any device.
    usable
        Whether each image may be used, bool, shape (N,); all images by default.

    Examples
    --------
    >>> import torch
    >>> traces = torch.cat([torch.tensor([-1.0]), torch.linspace(1, 9, 30)])
    >>> remove = remove_strength(traces)
    >>> remove.indices[0], len(remove)  # The first trace is not positive.
    (tensor(1), 30)
    >>> bool(remove(traces.log().square()[:, None]).abs().max() < 1e-5)
    True
    """
    traces = traces.double().cpu()
    is_kept = traces > 0
    if usable is not None:
        is_kept = is_kept & usable.cpu()
    while True:
        indices = is_kept.nonzero()[:, 0]
        design = _design(traces[indices])
        # Orthonormal columns that span the columns of Z; the rank is lower if several images have equal traces.
        columns, values, _ = torch.linalg.svd(design, full_matrices=False)
        columns = columns[:, values > ROUNDING * values[:1]]
        leverage = columns.square().sum(1)
        if len(indices) == 0 or not (leverage > MAX_LEVERAGE).any() or len(indices) <= design.shape[1]:
            break
        is_kept[indices[leverage > MAX_LEVERAGE]] = False
    return StrengthRemoval(indices, torch.eye(len(indices), dtype=torch.float64) - columns @ columns.mT)


def _design(traces: Tensor) -> Tensor:
    """Return the design matrix Z for positive traces."""
    logarithms = traces.log()
    if len(traces) < 2 or logarithms.std() < MIN_SPREAD:
        return torch.ones(len(traces), 1, dtype=torch.float64)
    standardised = (logarithms - logarithms.mean()) / logarithms.std()
    return standardised[:, None] ** torch.arange(DEGREE + 1, dtype=torch.float64)


@dataclass(frozen=True, eq=False)
class Adaptation:
    """Residuals HS of the filters S of M images, without strength and mean, or the directional part of HS.

    Parameters
    ----------
    sketch
        The residuals, on M images.
    share
        Share of the squared norm: of HS in the filters without their mean, or of the directional part in HS.
    adapts
        Whether the share is large enough to count as adaptation. If not, cosines are 0 by definition for a denoiser,
        and unknown for a basis; see :func:`align`.

    Examples
    --------
    >>> import torch
    >>> filters = torch.rand(30, 5, 5, generator=torch.Generator().manual_seed(0))
    >>> result = adaptation(Sketch(filters, exact=True), remove_strength(torch.linspace(1, 4, 30)))
    >>> len(result.sketch.rows), result.adapts
    (30, True)
    """

    sketch: Sketch
    share: float
    adapts: bool

    def directional(self, shape: Shape) -> Adaptation:
        """Return the part that is not isotropic about each pixel; see :func:`directional`.

        The share is 0 if these residuals do not count as adaptation, since their directions are then arbitrary.

        Parameters
        ----------
        shape
            Shape (C, H, W) of the images.

        Raises
        ------
        ValueError
            If the sketch is on random vectors.
        """
        if not self.sketch.exact:
            raise ValueError("the directional part of filters needs whole matrices, not sketches on random vectors")
        residual = Sketch(directional(self.sketch.rows, shape), exact=True)
        total = float(squares(self.sketch).sum())
        share = float(squares(residual).sum()) / total if self.adapts and total > 0 else 0.0
        return Adaptation(residual, share, share >= MIN_DIRECTIONAL)


def adaptation(sketch: Sketch, remove: StrengthRemoval) -> Adaptation:
    """Return the adaptation of filters: their residuals without strength and mean.

    Parameters
    ----------
    sketch
        The filters of N images: their symmetric parts, whole or on random vectors.
    remove
        The regression that removes the strength.

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
    kept = Sketch(sketch.rows[remove.indices.to(sketch.rows.device)], sketch.exact)
    residual = Sketch(remove(sketch.rows), sketch.exact)
    change = _change(kept)
    share = float(squares(residual).sum()) / change if change > 0 else 0.0
    return Adaptation(residual, share, share >= MIN_SHARE)


def changes(sketch: Sketch) -> bool:
    """Return whether filters change from image to image beyond rounding: |S - mean S| > 1e-4 |S| over all images.

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
    """Return sum_i |S_i - mean S|^2, or 0 if this is rounding."""
    if len(sketch.rows) < 2:
        return 0.0
    centred = Sketch(sketch.rows - sketch.rows.mean(0, keepdim=True), sketch.exact)
    change = float(squares(centred).sum())
    return change if change > UNCHANGING**2 * float(squares(sketch).sum()) else 0.0


class Alignment(NamedTuple):
    """Alignment of the residuals of M images.

    Parameters
    ----------
    own
        Cosine of the two residuals of each image, shape (M,), float64, from -1 to 1; NaN if unknown.
    error
        Standard errors of ``own`` due to the random vectors, shape (M,), float64; 0 for exact sketches, NaN if unknown.
    """

    own: Tensor
    error: Tensor


def align(denoiser: Adaptation, basis: Adaptation) -> Alignment:
    """Return the cosine of the residuals of a denoiser's filters and of a basis's filters, image by image.

    This is the alignment of Cortes, Mohri & Rostamizadeh 2012 and of Kornblith et al. 2019, for two families of filters
    instead of two kernels, and with the strength removed as well as the mean. The value is NaN if the basis does not
    adapt, whatever the denoiser: such a basis has nothing to compare with. Otherwise it is 0 for a denoiser that does
    not adapt.

    Parameters
    ----------
    denoiser, basis
        Adaptations of two families of filters on the same images, sketched on the same vectors.

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
    if not (denoiser.adapts and basis.adapts):
        count = len(denoiser.sketch.rows)
        by_definition = torch.full((count,), 0.0 if basis.adapts else torch.nan, dtype=torch.float64)
        return Alignment(by_definition, by_definition)
    products = denoiser.sketch.own_products(basis.sketch).cpu()
    left, right = squares(denoiser.sketch), squares(basis.sketch)
    own = _cosine(products.sum(0), left.sum(0), right.sum(0))
    error = torch.zeros_like(own)
    groups = len(products)
    if groups > 1:
        # Jackknife: leave out each group of random vectors in turn.
        jackknife = torch.stack(
            [_cosine(*(part.sum(0) - part[group] for part in (products, left, right))) for group in range(groups)]
        )
        error = ((groups - 1) * jackknife.var(0, correction=0)).sqrt()
    return Alignment(own, error)


def squares(sketch: Sketch) -> Tensor:
    """Return the contribution of each group of vectors to |S_i|^2, shape (G, M), float64; the sum over G is |S_i|^2."""
    return sketch.own_products(sketch).cpu()


def _cosine(product: Tensor, left: Tensor, right: Tensor) -> Tensor:
    return torch.where((left > 0) & (right > 0), product / (left * right).clamp_min(1e-300).sqrt(), 0.0)
