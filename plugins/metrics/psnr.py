"""Peak signal-to-noise ratio."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from gahbench import Metric, Scores
from gahbench.evaluation import MAX_PSNR, Evaluation


class Psnr(Metric):
    """Peak signal-to-noise ratio, -10 log10 of the mean squared error per pixel, for images in [0, 1].

    Where the expected error has a closed form (oracles, linear denoisers, thresholding at a fixed threshold), that is
    used rather than the error under one draw of the noise. Values above 140 dB are given as 140: images in float32 are
    not more accurate than that.
    """

    unit = "dB"
    titles: ClassVar[dict[str, str]] = {"": "test PSNR (dB)"}

    def score(self, evaluation: Evaluation) -> Scores:
        """Return the PSNR of every image at every noise level."""
        values = torch.stack([psnr_per_image(evaluation, sigma) for sigma in evaluation.sigmas])
        return Scores.grid(values, evaluation.sigmas)


def psnr_per_image(evaluation: Evaluation, sigma: float) -> Tensor:
    """Return the PSNR in dB of each image, shape (N,), float64, at most 140."""
    error = evaluation.risk(sigma)
    if error is None:
        error = (evaluation.denoised(sigma).double() - evaluation.clean).square().flatten(1).mean(1)
    return -10 * error.double().clamp(min=10 ** (-MAX_PSNR / 10)).log10()
