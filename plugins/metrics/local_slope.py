"""Slope of output PSNR against input PSNR at each noise level."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from gahbench import Metric, Scores, Shape
from gahbench.evaluation import Evaluation, input_psnr, local_slopes

from .psnr import psnr_per_image


class LocalSlope(Metric):
    """Slope of output PSNR against input PSNR at each noise level, computed from neighbouring levels.

    The local slope shows at which noise levels the slope is constant and can be read as a rate, and where it tends to
    1, as it does for every denoiser at a fixed resolution as sigma tends to 0.
    """

    unit = "dB/dB"
    higher_is_better = None

    def check(self, shape: Shape, sigmas: Sequence[float]) -> None:
        """Raise ``ValueError`` if there are fewer than two different noise levels."""
        if len(set(sigmas)) < 2:
            raise ValueError(f"local-slope needs at least 2 different noise levels, not {sorted(set(sigmas))}")

    def score(self, evaluation: Evaluation) -> Scores:
        """Return the slope for every image at every noise level."""
        sigmas = sorted(set(evaluation.sigmas))
        outputs = torch.stack([psnr_per_image(evaluation, sigma) for sigma in sigmas], dim=-1)
        slopes = local_slopes(input_psnr(sigmas), outputs.cpu().numpy())
        return Scores.grid(torch.as_tensor(slopes).T, sigmas)
