"""Metrics of recorded noise, and of the error without clean images."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from gahbench import Metric, ParameterError, Scores, generator
from gahbench.evaluation import Evaluation, PerLevel, psnr_of_error, psnr_per_image

#: Largest distance of pixels, in rows or columns, whose correlation is measured.
LAGS = 4
#: The images need more pixels than this in each direction.
_SMALLEST = 2 * LAGS
#: Size of the perturbation, in standard deviations of the noise.
STEP = 0.05
#: Weights of the eight neighbours that replace a masked pixel.
_WEIGHTS = ((0.5, 1.0, 0.5), (1.0, 0.0, 1.0), (0.5, 1.0, 0.5))


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
            raise ValueError(f"images of {shape[1]}x{shape[2]}; accepted: sides of more than {_SMALLEST} pixels")

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
    # A tenth of the error always remains, as of the error under recorded noise.
    return psnr_of_error((error - left * (1 - 2 * trace)).maximum(0.1 * error))


def correlation(noise: Tensor, lag: int, axis: int) -> Tensor:
    """Return the correlation of the noise of pixels that are ``lag`` apart along an axis, shape (N,), float64.

    The mean over the image, and over channels, is removed; noise of shape (N, C, H, W).
    """
    centred = noise.double() - noise.double().mean((1, 2, 3), keepdim=True)
    length = centred.shape[axis] - lag
    product = centred.narrow(axis, 0, length) * centred.narrow(axis, lag, length)
    return product.mean((1, 2, 3)) / centred.square().mean((1, 2, 3)).clamp(min=torch.finfo(torch.float64).tiny)


class Sure(PerLevel):
    """Stein's unbiased risk estimate: the mean squared error, estimated without clean images, divided by sigma^2.

    SURE = |f(y) - y|^2 - sigma^2 d + 2 sigma^2 tr J (Stein 1981), per pixel, where J is the Jacobian of the denoiser f
    at the noisy image y. The noisy images have 1, a perfect denoiser 0, and a value of an image may be negative. The
    estimate is unbiased if the noise is white and Gaussian with standard deviation sigma. If sigma is wrong by 1 %, the
    value is wrong by about 0.02, nearly equally for all good denoisers.

    The trace is estimated by Monte Carlo: tr J = E[b . (f(y + e b) - f(y))] / e for random signs b and e = 0.05 sigma
    (Ramani, Blu & Unser 2008), so every denoiser has a value.

    Parts: ``trace``, tr J / d. Boards show ``ratio``, the mean SURE divided by the mean of sigma^2 tr J, the
    self-consistency: 1 for an optimal denoiser.

    Parameters
    ----------
    probes
        Number of random perturbations of each image.
    """

    citation = ("stein-1981", "ramani-2008")
    higher_is_better = False
    titles: ClassVar[dict[str, str]] = {"": "estimated squared error / σ²", "ratio": "SURE / (σ² trace)"}
    ratios: ClassVar[Mapping[str, tuple[str, str]]] = {"ratio": ("", "trace")}
    without_clean = frozenset({"white"})

    def __init__(self, probes: Annotated[int, Field(ge=1)] = 2) -> None:
        self.probes = probes

    def parts(self, evaluation: Evaluation, sigma: float) -> dict[str, Tensor]:
        """Return the estimate and the trace."""
        noisy, denoised = evaluation.noisy(sigma), evaluation.denoised(sigma).double()
        levels, traces = evaluation.levels(sigma).view(-1, 1, 1, 1), []
        for probe in range(self.probes):
            draws = generator("noise", evaluation.noise_seed, "probe", probe)
            signs = torch.randint(0, 2, noisy.shape, generator=draws).double() * 2 - 1
            # The step is that of the perturbed image in its own precision.
            perturbed = (noisy + STEP * levels * signs).to(noisy.dtype)
            change = evaluation.denoise(perturbed, sigma).double() - denoised
            traces.append((signs * change / (STEP * levels)).flatten(1).mean(1))
        trace = torch.stack(traces).mean(0)
        residual = ((denoised - noisy) / levels).square().flatten(1).mean(1)
        return {"": residual - 1 + 2 * trace, "trace": trace}


class MaskedError(PerLevel):
    """Mean squared error at pixels that the denoiser does not see, divided by sigma^2, without clean images.

    The pixels of a grid are replaced by the weighted means of their neighbours, and the denoised image is compared with
    the noisy image at these pixels; each pixel belongs to one of the grids. The denoiser does not see the noise of the
    pixel, so the mean squared difference is the error plus the variance of the noise, which is subtracted (Batson &
    Royer 2019). The noise must be independent between pixels, with a mean of 0, of any distribution.

    The value is the error of the denoiser without the pixel, which is larger than its error with the pixel, and more so
    where denoisers change the noisy image little. It ranks denoisers; compare values of ``sure`` where noise is white
    and Gaussian.

    Parameters
    ----------
    spacing
        Distance of the pixels of a grid. Denoisers run ``spacing`` squared times.
    """

    citation = "batson-2019"
    higher_is_better = False
    titles: ClassVar[dict[str, str]] = {"": "squared error at unseen pixels / σ²"}
    without_clean = frozenset({"white", "independent"})

    def __init__(self, spacing: Annotated[int, Field(ge=2, le=16)] = 4) -> None:
        self.spacing = spacing

    def parts(self, evaluation: Evaluation, sigma: float) -> dict[str, Tensor]:
        """Return the error."""
        noisy = evaluation.noisy(sigma)
        interpolated, denoised = interpolate(noisy), torch.empty_like(noisy)
        for row, column in itertools.product(range(self.spacing), repeat=2):
            grid = (..., slice(row, None, self.spacing), slice(column, None, self.spacing))
            masked = noisy.clone()
            masked[grid] = interpolated[grid]
            denoised[grid] = evaluation.denoise(masked, sigma)[grid]
        difference = (denoised.double() - noisy) / evaluation.levels(sigma).view(-1, 1, 1, 1)
        return {"": difference.square().flatten(1).mean(1) - 1}


def interpolate(images: Tensor) -> Tensor:
    """Return the weighted mean of the neighbours of each pixel, inside the image, of images (N, C, H, W)."""
    channels = images.shape[1]
    weights = images.new_tensor(_WEIGHTS).expand(channels, 1, 3, 3)
    total = functional.conv2d(images, weights, padding=1, groups=channels)
    return total / functional.conv2d(torch.ones_like(images), weights, padding=1, groups=channels)
