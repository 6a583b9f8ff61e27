"""SureShrink: soft thresholding with thresholds chosen by Stein's unbiased risk estimate."""

from __future__ import annotations

import math
from typing import Annotated

import torch
from torch import Tensor

from gahbench import Basis, Names
from gahbench_plugins.references.shrinkage import Thresholding, soft


class SureShrink(Thresholding):
    """SureShrink: soft thresholding of each subband with the threshold of smallest estimated risk (Stein's estimate).

    For the d coefficients x of a subband, in units of sigma, the threshold t minimises Stein's unbiased risk estimate
    SURE(t) = d - 2 #{|x_i| <= t} + sum min(|x_i|, t)^2 over 0 <= t <= sqrt(2 log d). The minimisation is exact, since
    the minimum is at 0 or at one of the |x_i|. If the subband is so sparse that the estimate is too noisy, that is if
    mean(x^2) - 1 <= log2(d)^(3/2) / sqrt(d), the universal threshold sqrt(2 log d) is used (Donoho & Johnstone 1995,
    sections 2.3 and 2.4). The coarse scale (band 0) is not thresholded. Each channel has separate thresholds.

    The estimate is unbiased in fixed orthonormal bases. In other bases it is a heuristic: in a frame, errors of
    coefficients are not equal to errors of the image, and an adaptive basis, which is adapted to the noisy image for a
    threshold of 3 sigma, fits some of the noise.

    Parameters
    ----------
    basis
        Any basis except bases for oracles only.
    hybrid
        Whether sparse subbands use the universal threshold, as published. On photographs, whose finest subbands count
        as sparse although they contain edges, the minimum of the estimate is often better.
    """

    display_name = "SureShrink, {basis}"
    citation = "donoho-1995"

    def __init__(self, basis: Annotated[Basis, Names("basis", default="sym4")], hybrid: bool = True) -> None:
        super().__init__(basis)
        self.hybrid = hybrid

    def shrink(self, coefficients: Tensor, labels: Tensor, sigma: float) -> Tensor:
        """Return the thresholded coefficients, shape (N, C, ...)."""
        # Indices are computed on the CPU, since indexing with a mask would synchronise a GPU.
        flat = coefficients.flatten(2)
        thresholds = torch.zeros_like(flat)
        for channel, bands in enumerate(labels.flatten(1)):
            for band in bands[bands > 0].unique():
                indices = (bands == band).nonzero()[:, 0].to(flat.device)
                relative_thresholds = sure_thresholds(flat[:, channel].index_select(1, indices) / sigma, self.hybrid)
                thresholds[:, channel].index_copy_(
                    1, indices, (sigma * relative_thresholds[:, None]).expand(-1, len(indices))
                )
        return soft(coefficients, thresholds.view_as(coefficients))


def sure_thresholds(coefficients: Tensor, hybrid: bool = True) -> Tensor:
    """Return SureShrink's thresholds, shape (N,), for coefficients (N, d) with noise of standard deviation 1."""
    count = coefficients.shape[1]
    universal = math.sqrt(2 * math.log(count))
    candidates = torch.nn.functional.pad(coefficients.abs(), (1, 0)).sort(1).values
    # The k-th candidate, where the 0th is 0, sets the k smallest coefficients to 0. Among equal candidates only the
    # last counts all equal coefficients; the other candidates overestimate the risk and are never chosen.
    zeroed = torch.arange(count + 1, device=coefficients.device)
    energy = candidates.double().square()
    estimates = count - 2 * zeroed + energy.cumsum(1) + (count - zeroed) * energy
    best = estimates.masked_fill(candidates > universal, torch.inf).argmin(1, keepdim=True)
    thresholds = candidates.gather(1, best).squeeze(1)
    if not hybrid:
        return thresholds
    sparse = coefficients.square().mean(1) - 1 <= math.log2(count) ** 1.5 / math.sqrt(count)
    return torch.where(sparse, universal, thresholds)
