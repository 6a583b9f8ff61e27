"""The gain of a denoiser from adapting its filter to the image."""

from __future__ import annotations

import torch
from torch import Tensor

from gahbench import Metric, Scores
from gahbench.evaluation import MAX_PSNR, Evaluation
from gahbench.jacobian import DenseMaps, LinearMaps

#: Number of other images whose filters are used where not all Jacobians are available.
OTHERS = 3


class Adaptation(Metric):
    """Gain in PSNR from the filter that the denoiser makes for the image itself, less what it owes to the noise, in dB.

    The denoiser is seen as the filter that its Jacobian is, applied to the noisy image y. The gain is the PSNR under
    the filter of the image's own, less that under the filters of other images (mean over them). A filter that follows
    the noise has such a gain for the wrong reason: so the noise sensitivity is taken off, which is the same difference
    for the filter of the same image under fresh noise. What is left is the PSNR under the filter of the image with
    fresh noise, less that under other images' filters: 0 for a linear denoiser, and no model of geometry is needed.

    For networks with additive constants the filter is not all of the denoiser: see ``spectrum.homogeneity``.

    Parts: ``gain`` and ``sensitivity``, both in dB; the headline is their difference.
    """

    needs = frozenset({"jacobian"})
    unit = "dB"
    min_images = 2

    def score(self, evaluation: Evaluation) -> Scores:
        """Return the gains of every image at every noise level, and their parts."""
        values: dict[tuple[str, float], Tensor] = {}
        for sigma in evaluation.sigmas:
            own, fresh = (_maps(evaluation, sigma, draw) for draw in (0, 1))
            if own is None or fresh is None:
                continue
            noisy, clean = evaluation.noisy(sigma).flatten(1), evaluation.clean.flatten(1)
            itself = _psnr(own.matvec(noisy[:, None])[:, 0], clean)
            again = _psnr(fresh.matvec(noisy[:, None])[:, 0], clean)
            others = _under_others(own, noisy, clean)
            values["", sigma] = again - others
            values["gain", sigma] = itself - others
            values["sensitivity", sigma] = itself - again
        return Scores.parts(values)


def _maps(evaluation: Evaluation, sigma: float, draw: int) -> LinearMaps | None:
    maps = evaluation.local.maps(sigma, draw)
    if maps is None or not maps.is_small:
        return maps
    matrices = evaluation.local.matrices(sigma, draw)
    assert matrices is not None
    return DenseMaps(matrices, evaluation.shape)


def _under_others(maps: LinearMaps, noisy: Tensor, clean: Tensor) -> Tensor:
    """Return the mean PSNR of each image under the filters of other images, shape (N,)."""
    count = len(noisy)
    if isinstance(maps, DenseMaps):
        # The filter of image i on all images j, and the mean over i other than j.
        found = _psnr(maps.matvec(noisy[None]), clean)
        return torch.as_tensor((found.sum(0) - found.diagonal()) / (count - 1))
    shifts = range(1, min(OTHERS, count - 1) + 1)
    # The filter of image i on the images i + 1, i + 2 and so on.
    products = maps.matvec(torch.stack([noisy.roll(-shift, 0) for shift in shifts], dim=1))
    found = torch.stack(
        [_psnr(products[:, place], clean.roll(-shift, 0)).roll(shift, 0) for place, shift in enumerate(shifts)]
    )
    return found.mean(0)


def _psnr(denoised: Tensor, clean: Tensor) -> Tensor:
    """Return the PSNR in dB of images in the last dimension, float64."""
    errors = (denoised.double().cpu() - clean.double().cpu()).square().mean(-1)
    return -10 * errors.clamp(min=10 ** (-MAX_PSNR / 10)).log10()
