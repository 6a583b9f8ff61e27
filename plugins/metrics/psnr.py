"""Peak signal-to-noise ratio."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

import torch
from torch import Tensor

from gahbench import Metric, Scores
from gahbench.evaluation import MAX_PSNR, Evaluation

#: Images that are kept, and the side of what is kept of them.
KEPT, SIDE = 3, 96


class Psnr(Metric):
    """Peak signal-to-noise ratio, -10 log10 of the mean squared error per pixel, for images in [0, 1].

    Where the expected error has a closed form (oracles, linear denoisers, thresholding at a fixed threshold), that is
    used rather than the error under one draw of the noise. Values above 140 dB are given as 140: images in float32 are
    not more accurate than that.

    The first images are kept, for figures: clean, noisy and denoised, in 8 bits, and of large ones the centre.
    """

    unit = "dB"
    titles: ClassVar[dict[str, str]] = {"": "test PSNR (dB)"}

    def score(self, evaluation: Evaluation) -> Scores:
        """Return the PSNR of every image at every noise level."""
        values = torch.stack([psnr_per_image(evaluation, sigma) for sigma in evaluation.sigmas])
        kept = kept_images(evaluation)
        arrays = None if kept is None else {**kept, "psnr": values[:, :KEPT]}
        return replace(Scores.grid(values, evaluation.sigmas), arrays=arrays)


def kept_images(evaluation: Evaluation) -> dict[str, Tensor] | None:
    """Return images to draw: ``clean`` (K, C, H, W), ``noisy`` and ``denoised`` (S, K, C, H, W), ``sigmas`` (S,)."""
    if evaluation.split != "test" or evaluation.denoiser.kind == "bound":
        return None
    noisy = torch.stack([_bytes(evaluation.noisy(sigma)[:KEPT]) for sigma in evaluation.sigmas])
    denoised = torch.stack([_bytes(_denoised(evaluation, sigma)) for sigma in evaluation.sigmas])
    sigmas = torch.tensor(evaluation.sigmas, dtype=torch.float64)
    return {"clean": _bytes(evaluation.clean[:KEPT]), "noisy": noisy, "denoised": denoised, "sigmas": sigmas}


def _denoised(evaluation: Evaluation, sigma: float) -> Tensor:
    if evaluation.denoiser.kind not in ("oracle", "optimal") or evaluation.risk(sigma) is None:
        return evaluation.denoised(sigma)[:KEPT]
    # Nothing was denoised for the score; it sees the clean images anyway.
    (first, *_) = evaluation.truth.batches(KEPT)
    with torch.no_grad():
        return evaluation.denoiser.denoise(evaluation.noisy(sigma)[:KEPT], sigma, first)


def _bytes(images: Tensor) -> Tensor:
    top, left = (max(0, (side - SIDE) // 2) for side in images.shape[-2:])
    shown = images[..., top : top + SIDE, left : left + SIDE]
    return shown.nan_to_num().clamp(0, 1).mul(255).round().to(torch.uint8)


def psnr_per_image(evaluation: Evaluation, sigma: float) -> Tensor:
    """Return the PSNR in dB of each image, shape (N,), float64, at most 140."""
    error = evaluation.risk(sigma)
    if error is None:
        error = (evaluation.denoised(sigma).double() - evaluation.clean).square().flatten(1).mean(1)
    return -10 * error.double().clamp(min=10 ** (-MAX_PSNR / 10)).log10()
