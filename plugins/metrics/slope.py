"""Slope of output PSNR against input PSNR over all noise levels."""

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
    """Least-squares slope of output PSNR against input PSNR over all noise levels, for every image.

    Choose small noise levels to compare the slope with the optimal slope alpha/(alpha+1) of the dataset (Kadkhodaie
    2024, equation 13). A slope is meaningful only together with the PSNR, since the identity has slope 1. The fit is
    linear in the output, so the mean slope of the images is the slope of the mean curve. Every board shows the slope of
    the mean PSNR, with or without this metric.
    """

    citation = KADKHODAIE_2024
    unit = "dB/dB"
    higher_is_better = None

    def check(self, shape: Shape, sigmas: Sequence[float]) -> None:
        """Raise ``ValueError`` if there are fewer than two different noise levels."""
        if len(set(sigmas)) < 2:
            raise ValueError(f"slope needs at least 2 different noise levels, not {sorted(set(sigmas))}")

    def score(self, evaluation: Evaluation) -> Scores:
        """Return the slope for every image."""
        sigmas = sorted(set(evaluation.sigmas))
        self.check(evaluation.shape, sigmas)
        inputs = np.array([-20 * math.log10(sigma) for sigma in sigmas])
        outputs = torch.stack([psnr_per_image(evaluation, sigma) for sigma in sigmas], dim=-1)
        slopes = fit_slope(inputs, outputs.cpu().numpy())
        return Scores(slopes.tolist(), image=range(len(slopes)))
