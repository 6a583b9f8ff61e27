"""Peak signal-to-noise ratio."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

import torch
from torch import Tensor

from gahbench import Metric, Scores
from gahbench.evaluation import MAX_PSNR, Evaluation

#: Number of images that are saved for figures, and their largest side in pixels.
SAVED_IMAGES, SAVED_SIDE = 3, 96
#: The noise of a reference explains at most nine tenths of a squared error: beyond, it is too large to be subtracted.
MIN_SHARE = 0.1


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
        values = torch.stack([psnr_per_image(evaluation, sigma) for sigma in evaluation.sigmas])
        images = saved_images(evaluation)
        arrays = None if images is None else {**images, "psnr": values[:, :SAVED_IMAGES]}
        return replace(Scores.grid(values, evaluation.sigmas), arrays=arrays)


def saved_images(evaluation: Evaluation) -> dict[str, Tensor] | None:
    """Return images for figures: ``clean`` (K, C, H, W), ``noisy``, ``denoised`` (S, K, C, H, W), ``sigmas`` (S,)."""
    if evaluation.split != "test" or evaluation.denoiser.kind == "bound":
        return None
    noisy = torch.stack([_to_bytes(evaluation.noisy(sigma)[:SAVED_IMAGES]) for sigma in evaluation.sigmas])
    denoised = torch.stack([_to_bytes(_denoise(evaluation, sigma)) for sigma in evaluation.sigmas])
    sigmas = torch.tensor(evaluation.sigmas, dtype=torch.float64)
    return {"clean": _to_bytes(evaluation.clean[:SAVED_IMAGES]), "noisy": noisy, "denoised": denoised, "sigmas": sigmas}


def _denoise(evaluation: Evaluation, sigma: float) -> Tensor:
    if evaluation.denoiser.kind not in ("oracle", "optimal") or evaluation.risk(sigma) is None:
        return evaluation.denoised(sigma)[:SAVED_IMAGES]
    # The score is in closed form, so the images are denoised here, with access to the clean images.
    (truth, *_) = evaluation.truth.batches(SAVED_IMAGES)
    with torch.no_grad():
        return evaluation.denoiser.denoise(evaluation.noisy(sigma)[:SAVED_IMAGES], sigma, truth)


def _to_bytes(images: Tensor) -> Tensor:
    top, left = (max(0, (side - SAVED_SIDE) // 2) for side in images.shape[-2:])
    cropped = images[..., top : top + SAVED_SIDE, left : left + SAVED_SIDE]
    return cropped.nan_to_num().clamp(0, 1).mul(255).round().to(torch.uint8)


def psnr_per_image(evaluation: Evaluation, sigma: float) -> Tensor:
    """Return the PSNR in dB of each image, shape (N,), float64, at most 140."""
    error = evaluation.risk(sigma)
    if error is None:
        error = (evaluation.denoised(sigma).double() - evaluation.clean).square().flatten(1).mean(1)
        if evaluation.captured is not None:
            error = without_reference_noise(error, evaluation.captured.reference_variance)
    return psnr_of_error(error)


def without_reference_noise(error: Tensor, excess: Tensor) -> Tensor:
    """Return squared errors without the excess due to noise in the reference, shape (N,); a share is always left."""
    return (error - excess).maximum(MIN_SHARE * error)


def psnr_of_error(error: Tensor) -> Tensor:
    """Return the PSNR in dB, float64, at most 140, of mean squared errors per pixel."""
    return -10 * error.double().clamp(min=10 ** (-MAX_PSNR / 10)).log10()
