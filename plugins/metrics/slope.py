"""The rate at which a denoiser gains from less noise."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch

from gahbench import Metric, Scores, Shape
from gahbench.evaluation import Evaluation, fit_slope

from .._papers import KADKHODAIE_2024
from .psnr import psnr_per_image


class Slope(Metric):
    """Slope of output PSNR against input PSNR, by least squares over all the noise levels, for every image.

    To hold against a dataset's optimal slope alpha/(alpha+1) (Kadkhodaie 2024, equation 13) choose small
    noise levels; the identity has slope 1, so a slope says nothing without the PSNR beside it. The fit is
    linear in the output, so that the mean of the images' slopes is the slope of the mean curve, which every board
    fits to the PSNR, whether or not a suite has this metric.
    """

    citation = KADKHODAIE_2024
    unit = "dB/dB"
    higher_is_better = None

    def check(self, shape: Shape, sigmas: Sequence[float]) -> None:
        """Raise ``ValueError`` if there are fewer than two different noise levels."""
        if len(set(sigmas)) < 2:
            raise ValueError(f"slope needs at least 2 different noise levels, not {sorted(set(sigmas))}")

    def score(self, evaluation: Evaluation) -> Scores:
        """Return the slope of every image."""
        sigmas = sorted(set(evaluation.sigmas))
        self.check(evaluation.shape, sigmas)
        inputs = np.array([-20 * math.log10(sigma) for sigma in sigmas])
        outputs = torch.stack([psnr_per_image(evaluation, sigma) for sigma in sigmas], dim=-1)
        slopes = fit_slope(inputs, outputs.cpu().numpy())
        return Scores.per_image(torch.as_tensor(slopes))
