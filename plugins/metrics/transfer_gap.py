"""PSNR under recorded noise compared with the PSNR under white noise of equal strength."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

import torch
from torch import Tensor

from gahbench import Metric, ParameterError, Scores
from gahbench.evaluation import Evaluation

from .psnr import psnr_of_error, psnr_per_image, without_reference_noise

#: Largest distance of pixels, in rows or columns, whose correlation is measured.
LAGS = 4
#: The images need more pixels than this in each direction.
_SMALLEST = 2 * LAGS


class TransferGap(Metric):
    """The PSNR under recorded noise minus the PSNR under drawn white Gaussian noise, on the same images.

    The drawn noise of an image has the noise level of its recorded noise. So the gap is 0 for white Gaussian noise, and
    0 on average for the noisy images themselves (``identity``) if the level is the root mean square of the noise. It is
    negative if an entrant loses under noise as it is recorded. Both PSNR are those of a single noisy image, so the gap
    varies from image to image; boards average it, with an interval over images.

    If a reference is the mean of repeated captures, v is the variance of the noise that is left in it. The squared
    error under recorded noise then exceeds the error by v, which is subtracted. The drawn noise has the variance
    sigma^2 - v, so that the noisy image is as far from the scene; its squared error differs from the error by v minus
    the covariance of the output with the noise of the reference, which is v times the trace of the Jacobian and is
    estimated from the drawn noise by Stein's lemma.

    Parts: ``drawn``, the PSNR under drawn noise; ``rows-1`` to ``rows-4`` and ``columns-1`` to ``columns-4``, the
    correlation of the recorded noise of two pixels at a distance of 1 to 4 rows or columns, which is the same for all
    entrants, and 0 for white noise.
    """

    unit = "dB"
    titles: ClassVar[dict[str, str]] = {"": "PSNR under recorded minus drawn noise (dB)"}
    needs = frozenset({"captured", "test"})
    any_noise = True

    def check(self, shape: tuple[int, int, int], sigmas: object) -> None:
        """Refuse images that are too small for the correlations."""
        if min(shape[1:]) <= _SMALLEST:
            raise ValueError(
                f"images of {shape[1]}x{shape[2]} pixels; accepted: more than {_SMALLEST} in each direction"
            )

    def score(self, evaluation: Evaluation) -> Scores:
        """Return the gap, the PSNR under drawn noise and the correlations of the noise for every image."""
        captured = evaluation.captured
        if captured is None:
            raise ParameterError("transfer-gap needs recorded noise: set 'sigmas: measured' under 'scoring'")
        (level,) = evaluation.sigmas
        drawn = _psnr_under_drawn_noise(evaluation, level)
        values = {("", level): psnr_per_image(evaluation, level) - drawn, ("drawn", level): drawn}
        noise = captured.noisy - evaluation.clean
        for axis, name in ((-2, "rows"), (-1, "columns")):
            for lag in range(1, LAGS + 1):
                values[f"{name}-{lag}", level] = correlation(noise, lag, axis)
        return Scores.parts(values)


def _psnr_under_drawn_noise(evaluation: Evaluation, level: float) -> Tensor:
    """Return the PSNR of each image, shape (N,), under white noise of its noise level."""
    captured, clean = evaluation.captured, evaluation.clean
    assert captured is not None
    left = captured.reference_variance
    if bool((left >= captured.sigma.square()).any()):
        raise ParameterError("the references are as noisy as the noisy images; accepted: bursts of more captures")
    share = (1 - left / captured.sigma.square()).sqrt().float().view(-1, 1, 1, 1)
    noise = share * (evaluation.noisy(level, 1) - clean)
    drawn = replace(evaluation, captured=replace(captured, noisy=clean + noise))
    difference = (drawn.denoised(level) - clean).double()
    trace = (difference * noise).flatten(1).mean(1) / (captured.sigma.square() - left)
    error = difference.square().flatten(1).mean(1)
    return psnr_of_error(without_reference_noise(error, left * (1 - 2 * trace)))


def correlation(noise: Tensor, lag: int, axis: int) -> Tensor:
    """Return the correlation of the noise of pixels that are ``lag`` apart along an axis, shape (N,), float64.

    The mean over the image, and over channels, is removed; noise of shape (N, C, H, W).
    """
    centred = noise.double() - noise.double().mean((1, 2, 3), keepdim=True)
    length = centred.shape[axis] - lag
    product = centred.narrow(axis, 0, length) * centred.narrow(axis, lag, length)
    return product.mean((1, 2, 3)) / centred.square().mean((1, 2, 3)).clamp(min=torch.finfo(torch.float64).tiny)
