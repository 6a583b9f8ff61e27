"""Rates: how fast the output PSNR grows with the input PSNR as noise fades.

A rate is defined in the limit of infinitely many pixels. At a fixed resolution, every curve ends with slope 1: once the
noise is below the finest details, all d coefficients are kept, and the error is d sigma^2 for any image. At the other
end, the curve is determined by a few large coefficients. So a slope is a rate only within a window of noise levels
(:func:`rate_window`): where oracle wavelet thresholding keeps at least :data:`MIN_TERMS` of the d coefficients of an
image, and at most :data:`MAX_TERMS` times sqrt(d). The square root is the side of the image in pixels. An edge crosses
about sqrt(d) pixels, so once that many coefficients are kept, the finest scale along edges is exhausted, and further
coefficients cannot come from finer scales. The pixel grid matters long before: with Haar wavelets on discs, errors at
equal noise per side agree within 0.1 dB with errors at twice the resolution only up to a quarter of sqrt(d). Images
with sides of 128 pixels or fewer have no window.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

#: Above this PSNR, errors are dominated by the rounding of float32 images (relative errors of 6e-8, or 144 dB).
MAX_PSNR = 140
#: In the window of a rate, an oracle keeps at least this number of coefficients.
MIN_TERMS = 32
#: In the window of a rate, an oracle keeps at most this number times the square root of the number of coefficients.
MAX_TERMS = 0.25
#: The decay of coefficients is fitted up to a rank of this number times the square root of the number of coefficients.
MAX_RANK = 1.0
#: Minimum number of noise levels in the window of a rate, since two points always lie on a line.
MIN_LEVELS = 3
#: Coefficients of float32 images below this share of the largest are rounding.
_ROUNDING = 1e-6


def input_psnr(sigma: ArrayLike) -> NDArray[np.float64]:
    """Return the PSNR of a noisy image, -20 log10 sigma, in dB.

    Parameters
    ----------
    sigma
        Standard deviations of the noise, any shape, greater than 0, in units where an image lies in [0, 1].

    Raises
    ------
    ValueError
        If a noise level is not greater than 0 and finite.

    Examples
    --------
    >>> float(input_psnr(0.1))
    20.0
    """
    levels = np.asarray(sigma, dtype=np.float64)
    if not (np.isfinite(levels) & (levels > 0)).all():
        raise ValueError(f"noise levels must be finite and greater than 0, not {levels.tolist()}")
    return np.asarray(-20.0 * np.log10(levels))


def fit_slope(input_psnr: ArrayLike, output_psnr: ArrayLike) -> NDArray[np.float64]:
    """Return the least-squares slope of output PSNR against input PSNR, in dB per dB.

    An error that falls as sigma^(2r) has slope r: 1 on a smooth manifold, alpha/(alpha+1) for images whose
    ordered coefficients decay as k^-(alpha+1) (Kadkhodaie 2024, equation 13), 0 for an output that ignores
    its input.

    Parameters
    ----------
    input_psnr
        Shape (S,), at least two different values, in dB.
    output_psnr
        Shape (..., S), in dB.

    Returns
    -------
    ndarray
        Shape (...); NaN where a curve holds a NaN.

    Raises
    ------
    ValueError
        If there are fewer than two noise levels, all are equal, or the shapes do not match.

    Examples
    --------
    >>> round(float(fit_slope([10, 20, 30], [16, 22, 28])), 6)
    0.6
    """
    x, y = _curves(input_psnr, output_psnr)
    if x.size < 2 or np.ptp(x) == 0:
        raise ValueError("a slope needs at least two different noise levels")
    centred = x - x.mean()
    return np.asarray(y @ (centred / (centred @ centred)))


def _curves(input_psnr: ArrayLike, output_psnr: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    x, y = np.asarray(input_psnr, dtype=np.float64), np.asarray(output_psnr, dtype=np.float64)
    if x.ndim != 1 or y.ndim < 1 or y.shape[-1] != x.size:
        raise ValueError(f"expected input PSNR of shape (S,) and output of shape (..., S), not {x.shape}, {y.shape}")
    return x, y


def local_slopes(input_psnr: ArrayLike, output_psnr: ArrayLike) -> NDArray[np.float64]:
    """Return the slope of output PSNR against input PSNR at each noise level, in dB per dB.

    At the ends, it is the slope of the first or the last interval. In between, it is the slope of the parabola through
    a level and its neighbours, which is accurate to second order in their distances.

    Parameters
    ----------
    input_psnr
        Shape (S,), at least two values, ascending or descending, in dB.
    output_psnr
        Shape (..., S), in dB.

    Returns
    -------
    ndarray
        Shape (..., S).

    Raises
    ------
    ValueError
        If there are fewer than two noise levels, they are not in order, or the shapes do not match.

    Examples
    --------
    >>> local_slopes([10, 20, 40], [16, 22, 34]).round(6).tolist()
    [0.6, 0.6, 0.6]
    """
    x, y = _curves(input_psnr, output_psnr)
    steps = np.diff(x)
    if x.size < 2 or not ((steps > 0).all() or (steps < 0).all()):
        raise ValueError("local slopes need at least two noise levels, in ascending or descending order")
    return np.asarray(np.gradient(y, x, axis=-1))


def rate_window(
    kept: ArrayLike, total: int, min_terms: float = MIN_TERMS, max_terms: float = MAX_TERMS
) -> NDArray[np.bool_]:
    """Return the noise levels at which a slope is a valid estimate of the rate.

    Parameters
    ----------
    kept
        Number of coefficients of a channel that exceed the noise, averaged over images, at each noise level, shape
        (S,).
    total
        Number of all coefficients of a channel.
    min_terms
        Levels with fewer kept coefficients are left out, since a few large coefficients determine the curve there.
    max_terms
        Levels with more than ``max_terms`` times sqrt(total) kept coefficients are left out, since the pixel grid bends
        the slope towards 1 there on any image.

    Returns
    -------
    ndarray
        Whether each level is in the window, shape (S,), bool. The number of coefficients above the noise is monotonic
        in the noise level, so the window is contiguous.

    Examples
    --------
    >>> rate_window([4, 40, 60, 500], total=256 * 256).tolist()
    [False, True, True, False]
    """
    counts = np.asarray(kept, dtype=np.float64)
    return np.asarray((counts >= min_terms) & (counts <= max_terms * np.sqrt(total)))


def coefficient_decay(
    coefficients: ArrayLike, min_terms: int = MIN_TERMS, max_terms: float = MAX_RANK
) -> NDArray[np.float64]:
    """Return the exponent of decay of sorted coefficients: alpha where c_(k)^2 falls as k^-(alpha+1).

    The exponent is fitted by least squares of log c_(k)^2 against log k, at ranks that are equally spaced in log k, so
    that all octaves of ranks have equal weight. The best M-term approximation then has an error of order M^-alpha, and
    oracle thresholding has an error of order sigma^(2 alpha/(alpha+1)) (Kadkhodaie 2024, equation 13).

    Parameters
    ----------
    coefficients
        Coefficients of images in an orthonormal basis, in any order, shape (..., d).
    min_terms
        The first rank of the fit.
    max_terms
        The last rank of the fit, as a multiple of sqrt(d).

    Returns
    -------
    ndarray
        The exponents alpha, shape (...); NaN if a coefficient in the range is zero up to rounding: below 1e-6 of the
        largest coefficient.

    Raises
    ------
    ValueError
        If fewer than 4 ranks are in the range.

    Examples
    --------
    >>> import numpy as np
    >>> round(float(coefficient_decay(np.arange(1, 64 * 64 + 1) ** -1.5)), 6)
    2.0
    """
    energy = np.sort(np.asarray(coefficients, dtype=np.float64) ** 2, axis=-1)[..., ::-1]
    size = energy.shape[-1]
    first, last = min_terms, min(size, int(max_terms * size**0.5))
    if last - first < 3:
        raise ValueError(
            f"{size} coefficients: a decay needs at least 4 ranks, and there are {first} to {last}; use larger images"
        )
    ranks = np.unique(np.geomspace(first, last, num=64).round().astype(int))
    energies = energy[..., ranks - 1]
    is_known = energies > _ROUNDING**2 * energy[..., :1]
    logs = np.log(np.where(is_known, energies, np.nan))
    return np.asarray(-fit_slope(np.log(ranks), logs) - 1)
