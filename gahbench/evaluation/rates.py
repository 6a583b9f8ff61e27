"""Slopes of output PSNR against input PSNR."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

#: Above this PSNR, errors are dominated by the rounding of float32 images (relative errors of 6e-8, or 144 dB).
MAX_PSNR = 140
#: Minimum number of noise levels in the window of a rate, since two points always lie on a line.
MIN_LEVELS = 3


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
