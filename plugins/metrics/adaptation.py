"""Gain of a denoiser from adapting its filter to the image."""

from __future__ import annotations

import torch
from torch import Tensor

from gahbench import Metric, Scores
from gahbench.evaluation import MAX_PSNR, Evaluation
from gahbench.jacobian import DenseMaps, LinearMaps

#: Number of other images whose filters are used if Jacobians are too large for all pairs.
OTHER_IMAGES = 3


class Adaptation(Metric):
    """Gain in PSNR (dB) from adapting the filter to the image, without the part that is due to the noise.

    The filter of an image is the Jacobian of the denoiser, applied to the noisy image y. The gain is the PSNR under the
    filter of the image, minus the mean PSNR under the filters of other images. A filter that depends on the noise also
    has a positive gain, without adapting to the image. Therefore the noise sensitivity is subtracted: the PSNR under
    the filter of the image, minus the PSNR under its filter for fresh noise. The value is then the PSNR under the
    filter for fresh noise, minus the mean PSNR under the filters of other images. It is 0 for a linear denoiser, and
    needs no model of geometry.

    For networks with additive constants the filter does not describe the denoiser completely; see
    ``spectrum.homogeneity``.

    Parts: ``gain`` and ``sensitivity``, both in dB. The value is their difference.
    """

    needs = frozenset({"jacobian"})
    unit = "dB"
    min_images = 2

    def score(self, evaluation: Evaluation) -> Scores:
        """Return the gains and parts for every image at every noise level."""
        values: dict[tuple[str, float], Tensor] = {}
        for sigma in evaluation.sigmas:
            maps, fresh_maps = (_maps(evaluation, sigma, draw) for draw in (0, 1))
            if maps is None or fresh_maps is None:
                continue
            noisy, clean = evaluation.noisy(sigma).flatten(1), evaluation.clean.flatten(1)
            own_psnr = _psnr(maps.matvec(noisy[:, None])[:, 0], clean)
            fresh_psnr = _psnr(fresh_maps.matvec(noisy[:, None])[:, 0], clean)
            other_psnr = _under_others(maps, noisy, clean)
            values["", sigma] = fresh_psnr - other_psnr
            values["gain", sigma] = own_psnr - other_psnr
            values["sensitivity", sigma] = own_psnr - fresh_psnr
        return Scores.parts(values)


def _maps(evaluation: Evaluation, sigma: float, draw: int) -> LinearMaps | None:
    maps = evaluation.local_filters.maps(sigma, draw)
    if maps is None or not maps.is_small:
        return maps
    matrices = evaluation.local_filters.matrices(sigma, draw)
    assert matrices is not None
    return DenseMaps(matrices, evaluation.shape)


def _under_others(maps: LinearMaps, noisy: Tensor, clean: Tensor) -> Tensor:
    """Return the mean PSNR of each image under the filters of other images, shape (N,)."""
    count = len(noisy)
    if isinstance(maps, DenseMaps):
        # Apply the filter of image i to all images j, and average over i other than j.
        psnr = _psnr(maps.matvec(noisy[None]), clean)
        return torch.as_tensor((psnr.sum(0) - psnr.diagonal()) / (count - 1))
    shifts = range(1, min(OTHER_IMAGES, count - 1) + 1)
    # Apply the filter of image i to the images i + 1, i + 2, ...
    products = maps.matvec(torch.stack([noisy.roll(-shift, 0) for shift in shifts], dim=1))
    psnr = torch.stack(
        [_psnr(products[:, index], clean.roll(-shift, 0)).roll(shift, 0) for index, shift in enumerate(shifts)]
    )
    return psnr.mean(0)


def _psnr(denoised: Tensor, clean: Tensor) -> Tensor:
    """Return the PSNR in dB of flat images (..., d), shape (...), float64."""
    errors = (denoised.double().cpu() - clean.double().cpu()).square().mean(-1)
    return -10 * errors.clamp(min=10 ** (-MAX_PSNR / 10)).log10()
