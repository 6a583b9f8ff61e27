"""Estimates of the parameters of Poisson-Gaussian noise, from pairs of images or from noisy images alone.

Both estimators fit the line a x + b to squared deviations whose expectation is the variance of the noise at intensity
x. The fit is weighted by the inverse of the variance of a squared deviation, which is proportional to (a x + b)^2.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from gahbench._util.errors import DataError
from gahbench.noise.poisson_gaussian import PoissonGaussian, check_intensities

#: Steps of the weighted fit, each with the weights of the previous fit.
_STEPS = 30
#: Residuals beyond this number of standard deviations plus this number of counts, since photon noise has a long tail at
#: low counts, are outliers such as defective pixels.
_OUTLIER = 6.0
#: Distance from black and white, in standard deviations of the noise, within which clipped pixels are left out.
_CLIPPING = 3.0
#: Smallest variance in the weights, as a share of the mean variance: black pixels may have no noise.
_FLOOR = 1e-3
#: Number of intervals of intensity, and smallest number of values in each.
_BINS, _BIN_VALUES = 48, 200
#: Ratio of the standard deviation of a Gaussian to its median absolute deviation, and efficiency of that estimate.
_MAD_RATIO, _MAD_EFFICIENCY = 1.4826, 0.3675
#: Daubechies wavelet of 3 vanishing moments: its low-pass filter, of norm 1.
_DB3 = (0.33267055, 0.80689151, 0.45987750, -0.13501102, -0.08544127, 0.03522629)
#: Window of local averages, and largest slope, relative to the noise, of pixels that count as smooth.
_WINDOW, _SMOOTH = 7, 0.5


@dataclass(frozen=True)
class NoiseEstimate:
    """Estimated Poisson-Gaussian noise.

    Parameters
    ----------
    noise
        The noise.
    a_error, b_error
        Standard errors of its parameters, without the error of the method (texture, for images without a reference).
    values
        Number of values in the fit.
    """

    noise: PoissonGaussian
    a_error: float
    b_error: float
    values: int


def estimate_from_pairs(
    reference: Tensor, noisy: Tensor, reference_variance: float = 0.0, is_clipped: bool = False
) -> NoiseEstimate:
    """Estimate the noise from its images and their references, by regression of squared residuals on the reference.

    Parameters
    ----------
    reference
        Clean images, or averages of repeated captures, any shape.
    noisy
        Noisy images, in the same shape.
    reference_variance
        Variance of the noise that remains in the reference, as a share of the variance of the noise: 1/(k - 1) for the
        mean of the other images of k captures.
    is_clipped
        Whether noisy intensities are clipped to [0, 1]. Pixels whose reference lies within 3 standard deviations of
        black or white are then left out.

    Returns
    -------
    NoiseEstimate
        The noise, whose parameters are not negative, and standard errors.

    Raises
    ------
    DataError
        If shapes differ, values are not finite, references are constant, or images equal their references.
    """
    if reference.shape != noisy.shape:
        raise DataError(
            f"noise estimation: references of shape {tuple(reference.shape)} and noisy images of shape "
            f"{tuple(noisy.shape)}; accepted: equal shapes"
        )
    check_intensities(reference)
    residual = (noisy.double() - reference.double()).flatten()
    # Intensities are those of the average of reference and image in which the noise is independent of the residual.
    x = reference.double().flatten() + reference_variance / (1 + reference_variance) * residual
    if not bool(residual.isfinite().all()):
        raise DataError("noise estimation: the noisy images have values that are not finite; accepted: finite numbers")
    x, squares = x.clamp(min=0), residual.square() / (1 + reference_variance)
    if not bool(squares.any()):
        raise DataError("noise estimation: the noisy images equal their references; accepted: images with noise")
    means, variances, counts = _bin(x, residual / math.sqrt(1 + reference_variance))
    a, b, _ = _fit_line(means, variances, counts)
    is_used = torch.ones_like(x, dtype=torch.bool)
    for _ in range(_STEPS):
        variance = _variance(x, a, b)
        is_used = squares <= (_OUTLIER * (variance.sqrt() + a)).square()
        if is_clipped:
            margin = _CLIPPING * variance.sqrt()
            is_used &= (x > margin) & (x < 1 - margin)
        old = a, b
        a, b, errors = _fit_step(x[is_used], squares[is_used], 1 / variance[is_used].square())
        if abs(a - old[0]) + abs(b - old[1]) <= 1e-9 * (a + b):
            break
    return NoiseEstimate(PoissonGaussian(a, b), *errors, values=int(is_used.sum()))


def estimate_from_image(noisy: Tensor) -> NoiseEstimate:
    """Estimate the noise from noisy images alone, after Foi et al. 2008.

    A wavelet transform separates noise (the diagonal details) from intensity (the approximation). In smooth regions,
    details are grouped by intensity, their standard deviation is estimated robustly in each group, and the line is
    fitted to its square. Texture that fills the image is counted as noise. Images with a narrow range of intensities
    determine a and b poorly, which the standard errors show. At a few counts per pixel a is underestimated.

    Parameters
    ----------
    noisy
        Noisy intensities, not clipped, shape (N, C, H, W), with white noise and sides of 16 pixels or more. All images
        and channels have the same noise.

    Returns
    -------
    NoiseEstimate
        The noise, whose parameters are not negative, and standard errors.

    Raises
    ------
    DataError
        If images are too small, not finite, constant, or nowhere smooth.

    References
    ----------
    Foi, Trimeche, Katkovnik & Egiazarian 2008, IEEE Transactions on Image Processing 17(10). The level sets here have
    equally many values, and the fit is by weighted least squares.
    """
    if noisy.ndim != 4 or min(noisy.shape[-2:], default=0) < 16:
        raise DataError(
            f"noise estimation: images of shape {tuple(noisy.shape)}; accepted: (N, C, H, W) with sides of 16 or more"
        )
    if not bool(noisy.isfinite().all()):
        raise DataError("noise estimation: the noisy images have values that are not finite; accepted: finite numbers")
    approximation, details = _wavelet(noisy.double().flatten(0, 1)[:, None])
    smoothed = _local_mean(approximation)
    # The mean absolute value of Gaussian details is sqrt(2 / pi) times their standard deviation.
    scale = math.sqrt(math.pi / 2) * _local_mean(details.abs())
    rows, columns = torch.gradient(smoothed, dim=(-2, -1))
    is_smooth = (rows.square() + columns.square()).sqrt() < _SMOOTH * scale
    if int(is_smooth.sum()) < 2 * _BIN_VALUES:
        raise DataError(
            f"noise estimation: {int(is_smooth.sum())} smooth values; accepted: {2 * _BIN_VALUES} or more, so give "
            "more or larger images, or pairs"
        )
    x, deviations = smoothed[is_smooth].clamp(min=0), details[is_smooth]
    means, variances, counts = _bin(x, deviations)
    a, b, errors = _fit_line(means, variances, counts)
    return NoiseEstimate(PoissonGaussian(a, b), *errors, values=len(x))


def _wavelet(images: Tensor) -> tuple[Tensor, Tensor]:
    """Return approximations, whose constants are kept, and diagonal details, whose noise is kept: (N, 1, H/2, W/2)."""
    low = images.new_tensor(_DB3)
    high = low.flip(0) * low.new_tensor([1.0, -1.0] * 3)
    filters = torch.stack([torch.outer(low, low) / 2, torch.outer(high, high)])[:, None]
    # Without padding, borders have no artificial details.
    bands = F.conv2d(images, filters, stride=2)
    return bands[:, :1], bands[:, 1:]


def _local_mean(images: Tensor) -> Tensor:
    half = min(_WINDOW // 2, min(images.shape[-2:]) - 1)
    return F.avg_pool2d(F.pad(images, [half] * 4, mode="reflect"), 2 * half + 1, stride=1)


def _bin(x: Tensor, deviations: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return mean intensities, robust variances of the deviations, and counts of intervals of equally many values."""
    bins = max(1, min(_BINS, len(x) // _BIN_VALUES))
    order = x.argsort()
    size = len(x) // bins
    order = order[: bins * size].reshape(bins, size)
    spread = _MAD_RATIO * deviations[order].abs().median(1).values
    return x[order].mean(1), spread.square(), torch.full((bins,), float(size), dtype=x.dtype, device=x.device)


def _fit_line(means: Tensor, variances: Tensor, counts: Tensor) -> tuple[float, float, tuple[float, float]]:
    """Fit a x + b to robust variances of intervals; return a, b and their standard errors."""
    if not bool(variances.any()):
        raise DataError("noise estimation: most pixels have no noise; accepted: noise in most pixels")
    a, b = 0.0, float(variances.mean())
    errors = 0.0, 0.0
    for _ in range(_STEPS):
        weights = counts * _MAD_EFFICIENCY / (2 * _variance(means, a, b).square())
        a, b, errors = _fit_step(means, variances, weights, known_weights=True)
    return a, b, errors


def _variance(x: Tensor, a: float, b: float) -> Tensor:
    """Return a x + b, at least a small share of its mean."""
    variance = a * x + b
    return variance.clamp(min=_FLOOR * float(variance.mean()))


def _fit_step(
    x: Tensor, squares: Tensor, weights: Tensor, known_weights: bool = False
) -> tuple[float, float, tuple[float, float]]:
    """Fit a x + b, with a and b at least 0, by weighted least squares; return a, b and their standard errors.

    If the weights are known, they are inverse variances; otherwise the errors follow from the residuals.
    """
    if len(x) < 2 or float(x.std()) < 1e-6:
        raise DataError(
            "noise estimation: all intensities are equal, which leaves a and b undetermined; accepted: images of "
            "several intensities"
        )
    design = torch.stack([x, torch.ones_like(x)], dim=1)
    normal = (design.mT * weights) @ design
    inverse = torch.linalg.inv(normal)
    a, b = (inverse @ (design.mT @ (weights * squares))).tolist()
    residual = squares - design @ design.new_tensor([a, b])
    middle = normal if known_weights else (design.mT * (weights * residual).square()) @ design
    a_error, b_error = (inverse @ middle @ inverse).diagonal().sqrt().tolist()
    # At a bound, the other parameter is fitted alone.
    if a < 0:
        a, b = 0.0, float((weights * squares).sum() / weights.sum())
    elif b < 0:
        a, b = float((weights * x * squares).sum() / (weights * x.square()).sum()), 0.0
    return a, b, (a_error, b_error)
