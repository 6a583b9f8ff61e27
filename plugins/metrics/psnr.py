"""Peak signal-to-noise ratio."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

import torch
from torch import Tensor

from gahbench import Metric, Scores
from gahbench.evaluation import Evaluation, psnr_per_image

#: Number of images that are saved for figures, and their largest side in pixels.
SAVED_IMAGES, SAVED_SIDE = 3, 96


class Psnr(Metric):
    """Peak signal-to-noise ratio, -10 log10 of the mean squared error per pixel, for images in [0, 1].

    If a reference is a mean of repeated captures, the variance of the noise that is left in it is subtracted from the
    mean squared error.

    If the expected error has a closed form (oracles, bounds, linear denoisers, thresholding at a fixed threshold), it
    replaces the error for a draw of the noise. Values are at most 140 dB, the accuracy of images in float32.

    Arrays for figures: the first clean, noisy and denoised images, in 8 bits, cropped to the centre if they are large.
    """

    unit = "dB"
    any_noise = True
    titles: ClassVar[dict[str, str]] = {"": "test PSNR (dB)"}

    def score(self, evaluation: Evaluation) -> Scores:
        """Return the PSNR for every image at every noise level."""
        sigmas, values = evaluation.sigmas, torch.stack([psnr_per_image(evaluation, s) for s in evaluation.sigmas])
        arrays = None
        if evaluation.split == "test" and evaluation.denoiser.kind != "bound":
            arrays = {
                "clean": _to_bytes(evaluation.clean),
                "noisy": torch.stack([_to_bytes(evaluation.noisy(sigma)) for sigma in sigmas]),
                "denoised": torch.stack([_to_bytes(_denoise(evaluation, sigma)) for sigma in sigmas]),
                "sigmas": torch.tensor(sigmas, dtype=torch.float64),
                "psnr": values[:, :SAVED_IMAGES],
            }
        return replace(Scores.grid(values, sigmas), arrays=arrays)


def _denoise(evaluation: Evaluation, sigma: float) -> Tensor:
    if evaluation.denoiser.kind not in ("oracle", "optimal") or evaluation.risk(sigma) is None:
        return evaluation.denoised(sigma)
    # The score is in closed form, so the images are denoised here, with access to the clean images.
    (truth, *_) = evaluation.truth.batches(SAVED_IMAGES)
    with torch.no_grad():
        return evaluation.denoiser.denoise(evaluation.noisy(sigma)[:SAVED_IMAGES], sigma, truth)


def _to_bytes(images: Tensor) -> Tensor:
    """Return the first images (N, C, H, W) for figures."""
    top, left = (max(0, (side - SAVED_SIDE) // 2) for side in images.shape[-2:])
    cropped = images[:SAVED_IMAGES, :, top : top + SAVED_SIDE, left : left + SAVED_SIDE]
    return cropped.nan_to_num().clamp(0, 1).mul(255).round().to(torch.uint8)
