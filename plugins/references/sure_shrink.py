"""Soft thresholding with the thresholds that look best to Stein's unbiased risk estimate."""

from __future__ import annotations

import math
from typing import Annotated

import torch
from torch import Tensor

from gahbench import Basis, Names

from .._papers import DONOHO_1995
from ._shrinkage import Thresholding, soft


class SureShrink(Thresholding):
    """SureShrink: soft thresholding with a threshold of its own for each subband, by Stein's unbiased risk estimate.

    For the d coefficients x of a subband, in units of the noise, the threshold minimises
    SURE(t) = d - 2 #{|x_i| <= t} + sum min(|x_i|, t)^2 over 0 <= t <= sqrt(2 log d): exactly, since the minimum lies at
    0 or at one of the |x_i|. Where the subband is so sparse that the estimate drowns in its own noise, that is where
    mean(x^2) - 1 <= log2(d)^(3/2) / sqrt(d), it is the universal threshold sqrt(2 log d) instead (Donoho & Johnstone
    1995, sections 2.3 and 2.4). The coarse scale (band 0) is left alone. Every channel has thresholds of its own.

    The estimate is unbiased in fixed orthonormal bases. Elsewhere it is a heuristic: errors of the coefficients of a
    frame are not those of the image, and an adaptive basis, which is adapted to the noisy image for a threshold of 3
    sigma, has fitted some of the noise.

    Parameters
    ----------
    basis
        Any basis but those for oracles only.
    hybrid
        Whether sparse subbands get the universal threshold, as published. On photographs, whose finest subbands are
        called sparse though edges are in them, the minimum of the estimate alone is often better.
    """

    citation = DONOHO_1995

    def __init__(self, basis: Annotated[Basis, Names("basis", default="sym4")], hybrid: bool = True) -> None:
        super().__init__(basis)
        self.hybrid = hybrid

    def shrink(self, coefficients: Tensor, labels: Tensor, sigma: float) -> Tensor:
        """Return the thresholded coefficients, shape (N, C, ...)."""
        # Flat numbers of coefficients are found on the CPU: a mask on a GPU would have to be waited for.
        flat = coefficients.flatten(2)
        thresholds = torch.zeros_like(flat)
        for channel, bands in enumerate(labels.flatten(1)):
            for band in bands[bands > 0].unique():
                numbers = (bands == band).nonzero()[:, 0].to(flat.device)
                found = sure_thresholds(flat[:, channel].index_select(1, numbers) / sigma, self.hybrid)
                thresholds[:, channel].index_copy_(1, numbers, (sigma * found[:, None]).expand(-1, len(numbers)))
        return soft(coefficients, thresholds.view_as(coefficients))


def sure_thresholds(coefficients: Tensor, hybrid: bool = True) -> Tensor:
    """Return SureShrink's thresholds, shape (N,), for coefficients (N, d) with noise of standard deviation 1."""
    count = coefficients.shape[1]
    universal = math.sqrt(2 * math.log(count))
    candidates = torch.nn.functional.pad(coefficients.abs(), (1, 0)).sort(1).values
    # The k smallest coefficients do not exceed the k-th candidate, the 0th of which is 0. Of equal candidates the last
    # counts all of them rightly, and the others estimate more risk than there is.
    killed = torch.arange(count + 1, device=coefficients.device)
    energy = candidates.double().square()
    estimates = count - 2 * killed + energy.cumsum(1) + (count - killed) * energy
    best = estimates.masked_fill(candidates > universal, torch.inf).argmin(1, keepdim=True)
    thresholds = candidates.gather(1, best).squeeze(1)
    if not hybrid:
        return thresholds
    sparse = coefficients.square().mean(1) - 1 <= math.log2(count) ** 1.5 / math.sqrt(count)
    return torch.where(sparse, universal, thresholds)
