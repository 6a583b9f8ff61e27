"""Strength, taken out of families of filters."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

#: Powers of the logarithm of the trace that filters are regressed on.
DEGREE = 3
#: Where the standard deviation of log-traces is smaller, all images are smoothed as strongly: only the mean is removed.
MIN_SPREAD = 1e-3
#: An image that decides its own regression by more than this has no residual to speak of.
MAX_LEVERAGE = 0.9
#: Singular values of Z below this share of the largest are of rounding.
ROUNDING = 1e-10


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

    Images whose trace is not positive are left out, and those of leverage above .9, which is the diagonal of 1 - H.

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
