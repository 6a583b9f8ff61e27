"""What noisy images without clean references show of their noise.

The level is estimated by scikit-image, from the median of the finest wavelet coefficients (Donoho & Johnstone 1994).

Whether the noise is white is seen in the high frequencies of smooth blocks (Ponomarenko, Lukin, Zriakhov, Kaarna &
Astola 2007, An automatic approach to lossy compression of AVIRIS images, IGARSS; Colom & Buades 2013, Analysis and
extension of the Ponomarenko et al. method, estimating a noise curve from a single image, Image Processing On Line 3).
Blocks of 8x8 pixels are transformed by the DCT. In each quarter of the blocks by intensity, those with the least
energy at low frequencies are kept. At frequencies (i, j) with i + j >= 8, they hold little but noise, and for white
noise the choice does not depend on these coefficients. Here, blocks do not overlap, means replace medians over
frequencies, and the shape of the spectrum is fitted.

For stationary noise, the variance of coefficient (i, j) is the sum of c_i(k) c_j(l) R(k, l) over distances k, l of
pixels, where R is the autocovariance of the noise and c_i that of the i-th cosine. R(0, 0), R(0, 1) and R(1, 0) are
fitted to the variances.

Noise that is correlated over more than about 8 pixels, such as slow bands, is not seen. Texture that fills an image is
counted as noise, which makes it strong and correlated. Rare outliers are left out with the blocks that hold them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.fft import dct, dctn
from skimage.restoration import estimate_sigma
from torch import Tensor

from gahbench import DataError

#: Side of blocks; number of groups of blocks by intensity, share of smooth blocks in each, and smallest number of them.
_BLOCK, _GROUPS, _SMOOTH, _FEWEST = 8, 4, 0.25, 2
_ORDERS = np.add.outer(np.arange(_BLOCK), np.arange(_BLOCK))
_HIGH, _LOW = _ORDERS >= _BLOCK, (_ORDERS > 0) & (_ORDERS < _BLOCK)
#: Limits of white Gaussian noise: of the correlation of neighbours plus two standard errors, of the ratio of the
#: largest and smallest standard deviation by intensity, of the excess kurtosis, and of the share of clipped pixels.
_MAX_CORRELATION, _MAX_RATIO, _MAX_KURTOSIS, _MAX_CLIPPED = 0.1, 1.25, 1.0, 0.01

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Noise:
    """What noisy images show of their noise.

    Parameters
    ----------
    level
        Standard deviation of the noise, the geometric mean over the images.
    correlations
        Correlation of the noise of neighbouring pixels, in a row and in a column.
    error
        Standard error of a correlation.
    ratio
        Largest divided by smallest standard deviation of the noise, among quarters of the blocks by intensity.
    kurtosis
        Excess kurtosis of the noise of a pixel: 0 for Gaussian noise.
    clipped
        Share of pixels that are equal to the darkest or brightest pixel of their image.
    """

    level: float
    correlations: tuple[float, float]
    error: float
    ratio: float
    kurtosis: float
    clipped: float

    @property
    def kind(self) -> Literal["white", "independent", "unknown"]:
        """Whether the noise is shown to be white, Gaussian and equally strong, or only independent between pixels."""
        if max(map(abs, self.correlations)) + 2 * self.error > _MAX_CORRELATION:
            return "unknown"
        is_stationary = self.ratio <= _MAX_RATIO and self.clipped <= _MAX_CLIPPED
        return "white" if is_stationary and abs(self.kurtosis) <= _MAX_KURTOSIS else "independent"

    def __str__(self) -> str:
        """Return the noise level, which metrics are defined, and the results and limits of the test, on one line."""
        verdicts = {
            "white": "It is white and Gaussian within the limits, so sure and masked-error are defined",
            "independent": "It is not shown to be Gaussian and equally strong, so only masked-error is defined",
            "unknown": "It is not shown to be uncorrelated, so no error can be estimated without clean images",
        }
        # A rounded value of -0 is 0.
        row, column = (round(value, 2) + 0.0 for value in self.correlations)
        return (
            f"no clean images: the noise is estimated from the noisy images. {verdicts[self.kind]}. Noise level "
            f"{self.level:.3g}; correlation of neighbours {row:.2f} in a row and {column:.2f} "
            f"in a column, ± {2 * self.error:.2f} (limit {_MAX_CORRELATION:g}); largest / smallest noise level by "
            f"intensity {self.ratio:.2f} (limit {_MAX_RATIO:g}); excess kurtosis {self.kurtosis:.1f} (limit "
            f"{_MAX_KURTOSIS:g}); clipped pixels {100 * self.clipped:.1f} % (limit {100 * _MAX_CLIPPED:g} %)"
        )


def white_noise_level(image: Tensor) -> float:
    """Return the standard deviation of white noise in an image of shape (1, H, W)."""
    return float(estimate_sigma(image.double().numpy()[0]))


def examine(images: Sequence[Tensor]) -> Noise:
    """Estimate the noise of noisy images of shape (1, H, W), and test whether it is white and Gaussian.

    ``DataError`` is raised if an image is too small, or clipped or constant almost everywhere.
    """
    pixels = [image.double().numpy()[0] for image in images]
    blocks, clipped = zip(*map(_smooth_blocks, pixels), strict=True)
    spectra = [np.square(_transform(block)[..., _HIGH]) for block in blocks]
    sigmas = np.array([math.sqrt(spectrum.mean()) for spectrum in spectra])
    if not sigmas.all():
        raise DataError("an image without noise in its smooth blocks; accepted: images with noise")
    # Images count by their number of blocks, whatever their noise level.
    relative = np.concatenate([spectrum / sigma**2 for spectrum, sigma in zip(spectra, sigmas, strict=True)], axis=1)
    cosines = dct(np.eye(_BLOCK), axis=0, norm="ortho")
    neighbours = 2 * (cosines[:, 1:] * cosines[:, :-1]).sum(1)
    design = np.stack(np.broadcast_arrays(1.0, neighbours, neighbours[:, None]), axis=-1)[_HIGH]
    variance, row, column = np.linalg.lstsq(design, relative.mean((0, 1)))[0]
    error = math.sqrt(2 / (relative.shape[0] * relative.shape[1]) * np.linalg.inv(design.T @ design)[1, 1])
    groups = np.sqrt(relative.mean((1, 2)))
    # A second difference in both directions mixes nine pixels, which divides the excess kurtosis by 4.
    differences = [np.diff(np.diff(block, 2), 2, axis=-2) / sigma for block, sigma in zip(blocks, sigmas, strict=True)]
    values = np.concatenate([difference.ravel() for difference in differences])
    kurtosis = 4 * float(np.mean(values**4) / np.mean(values**2) ** 2 - 3)
    ratio = float(groups.max() / groups.min())
    level = float(np.exp(np.log([white_noise_level(image) for image in images]).mean()))
    return Noise(level, (row / variance, column / variance), error, ratio, kurtosis, float(np.mean(clipped)))


def _smooth_blocks(pixels: Array) -> tuple[Array, float]:
    """Return the smooth blocks of an image, shape (groups, K, 8, 8), and the share of clipped pixels."""
    if min(pixels.shape) < 2 * _BLOCK:
        raise DataError(f"an image of {pixels.shape[0]}x{pixels.shape[1]} pixels; accepted: sides of 16 pixels or more")
    is_end = (pixels == pixels.min()) | (pixels == pixels.max())
    usable = _blocks(pixels)[~_blocks(is_end).any((1, 2))]
    if (size := len(usable) // _GROUPS) < 1:
        raise DataError(
            "too few blocks without clipped pixels; accepted: larger images, with noise, that are neither black nor "
            "white"
        )
    groups = usable[usable.mean((1, 2)).argsort()[: _GROUPS * size].reshape(_GROUPS, size)]
    energy = np.square(_transform(groups)[..., _LOW]).sum(-1)
    chosen = energy.argsort(1)[:, : max(min(_FEWEST, size), round(_SMOOTH * size))]
    return np.take_along_axis(groups, chosen[:, :, None, None], axis=1), float(is_end.mean())


def _blocks(pixels: NDArray[Any]) -> NDArray[Any]:
    height, width = (side // _BLOCK for side in pixels.shape)
    inner = pixels[: height * _BLOCK, : width * _BLOCK].reshape(height, _BLOCK, width, _BLOCK)
    return inner.swapaxes(1, 2).reshape(-1, _BLOCK, _BLOCK)


def _transform(blocks: Array) -> Array:
    transformed: Array = dctn(blocks, axes=(-2, -1), norm="ortho")
    return transformed
