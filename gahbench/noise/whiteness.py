"""A test of noisy images alone: whether their noise is white, Gaussian, and of the same variance everywhere.

The noise is seen in the high frequencies of smooth blocks (Ponomarenko et al. 2007; Colom & Buades 2013). Blocks of
8x8 pixels are transformed by the DCT. In each quarter of the blocks by intensity, those with the least energy at low
frequencies are kept. At frequencies (i, j) with i + j >= 8, they hold little but noise, and for white noise the choice
does not depend on these coefficients.

For stationary noise, the variance of coefficient (i, j) is the sum of c_i(k) c_j(l) R(k, l) over distances k, l of
pixels, where R is the autocovariance of the noise and c_i that of the i-th cosine. R(0, 0), R(0, 1) and R(1, 0) are
fitted to the variances.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from gahbench._util.errors import DataError

#: Side of blocks, and the sum of the two indices from which frequencies are high.
BLOCK = 8
#: Number of groups of blocks by intensity, share of smooth blocks in each, and smallest number of them.
_GROUPS, _SMOOTH, _FEWEST = 4, 0.25, 2
#: Limits of white Gaussian noise: of the correlation of neighbours plus two standard errors, of the ratio of the
#: largest and smallest standard deviation by intensity, of the excess kurtosis, and of the share of clipped pixels.
MAX_CORRELATION, MAX_RATIO, MAX_KURTOSIS, MAX_CLIPPED = 0.1, 1.25, 1.0, 0.01
#: Images with less noise count as noise-free: half a grey level of 8 bits.
LEAST_SIGMA = 0.5 / 255
#: A second difference in both directions, within blocks. Its kurtosis is that of pixels times the ratio of powers.
_DIFFERENCE = (1.0, -2.0, 1.0)


@dataclass(frozen=True, eq=False)
class NoiseExamination:
    """What noisy images show of their noise.

    Parameters
    ----------
    sigma
        Standard deviation of the noise of each image, shape (N,), float64.
    correlations
        Correlation of the noise of neighbouring pixels, in a row and in a column.
    correlation_error
        Standard error of a correlation.
    ratio
        Largest divided by smallest standard deviation of the noise, among quarters of the blocks by intensity.
    kurtosis
        Excess kurtosis of the noise of a pixel: 0 for Gaussian noise.
    clipped
        Share of pixels that are equal to the darkest or brightest pixel of their image.
    """

    sigma: Tensor
    correlations: tuple[float, float]
    correlation_error: float
    ratio: float
    kurtosis: float
    clipped: float

    @property
    def is_noise_free(self) -> bool:
        """Whether the noise of most images is below half a grey level of 8 bits."""
        return float(self.sigma.median()) < LEAST_SIGMA

    @property
    def is_uncorrelated(self) -> bool:
        """Whether the noise of neighbouring pixels is shown to be uncorrelated."""
        return max(map(abs, self.correlations)) + 2 * self.correlation_error <= MAX_CORRELATION

    @property
    def is_white_gaussian(self) -> bool:
        """Whether the noise is shown to be white, close to Gaussian, and of equal strength at all intensities."""
        is_stationary = self.ratio <= MAX_RATIO and self.clipped <= MAX_CLIPPED
        return self.is_uncorrelated and is_stationary and abs(self.kurtosis) <= MAX_KURTOSIS

    def __str__(self) -> str:
        """Return the results and the limits of the test on one line."""
        # A rounded value of -0 is 0.
        row, column = (round(value, 2) + 0.0 for value in self.correlations)
        return (
            f"noise level {float(self.sigma.log().mean().exp()):.3g}; correlation of neighbours {row:.2f} in a row and "
            f"{column:.2f} in a column, ± {2 * self.correlation_error:.2f} (limit {MAX_CORRELATION:g}); largest / "
            f"smallest noise level by intensity {self.ratio:.2f} (limit {MAX_RATIO:g}); excess kurtosis "
            f"{self.kurtosis:.1f} (limit {MAX_KURTOSIS:g}); clipped pixels {100 * self.clipped:.1f} % (limit "
            f"{100 * MAX_CLIPPED:g} %)"
        )


def examine_noise(images: Sequence[Tensor]) -> NoiseExamination:
    """Estimate the noise of noisy images alone, and test whether it is white and Gaussian.

    The test sees high frequencies only: noise that is correlated over more than about 8 pixels, such as slow bands,
    passes. Texture that fills an image is counted as noise, which makes it strong and correlated. Rare outliers are
    excluded with the blocks that hold them.

    Parameters
    ----------
    images
        Noisy images, each of shape (C, H, W) with sides of 16 pixels or more.

    Returns
    -------
    NoiseExamination
        The noise level of each image, and the results of the test over all images.

    Raises
    ------
    DataError
        If there is no image, or an image is too small, not finite, or clipped or constant almost everywhere.

    References
    ----------
    Ponomarenko, Lukin, Zriakhov, Kaarna & Astola 2007, An automatic approach to lossy compression of AVIRIS images,
    IGARSS; Colom & Buades 2013, Analysis and extension of the Ponomarenko et al. method, estimating a noise curve from
    a single image, Image Processing On Line 3. Here, blocks do not overlap, means replace medians over frequencies, and
    the shape of the spectrum is fitted.

    Examples
    --------
    >>> import torch
    >>> from gahbench.noise import examine_noise
    >>> noisy = 0.5 + 0.1 * torch.randn(8, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    >>> examine_noise(list(noisy)).is_white_gaussian
    True
    """
    if not images:
        raise DataError("noise examination: no images")
    parts = [_smooth_blocks(image) for image in images]
    high = _is_high()
    spectra = [_dct(blocks)[..., high].square() for blocks, _ in parts]
    sigma = torch.stack([spectrum.mean().sqrt() for spectrum in spectra])
    if bool((sigma == 0).any()):
        return NoiseExamination(sigma, (0.0, 0.0), 0.0, 1.0, 0.0, 0.0)
    # Images count by their number of blocks, whatever their noise level.
    relative = [spectrum / level**2 for spectrum, level in zip(spectra, sigma, strict=True)]
    count = sum(spectrum.shape[0] * spectrum.shape[1] for spectrum in relative)
    variances = sum((spectrum.sum((0, 1)) for spectrum in relative), torch.zeros(())) / count
    design = _design()[high]
    covariances = torch.linalg.lstsq(design, variances[:, None]).solution[:, 0]
    spread = torch.linalg.inv(design.mT @ design).diagonal()[1].sqrt() * math.sqrt(2 / count)
    row, column = (covariances[1:] / covariances[0]).tolist()
    groups = torch.stack([spectrum.mean((1, 2)) * spectrum.shape[1] for spectrum in relative]).sum(0)
    groups = (groups / sum(spectrum.shape[1] for spectrum in relative)).sqrt()
    residuals = [_difference(blocks) / level for (blocks, _), level in zip(parts, sigma, strict=True)]
    return NoiseExamination(
        sigma,
        (row, column),
        float(spread),
        float(groups.max() / groups.min()),
        _kurtosis(torch.cat([residual.flatten() for residual in residuals])),
        sum(clipped for _, clipped in parts) / len(parts),
    )


def _smooth_blocks(image: Tensor) -> tuple[Tensor, float]:
    """Return the smooth blocks of an image, shape (groups, K, 8, 8), and the share of clipped pixels."""
    if image.ndim != 3 or min(image.shape[1:]) < 2 * BLOCK or not bool(image.isfinite().all()):
        raise DataError(
            f"noise examination: an image of shape {tuple(image.shape)}; accepted: (C, H, W) with sides of 16 pixels "
            "or more, and finite numbers"
        )
    image = image.double()
    low, high = image.amin(), image.amax()
    is_end = (image == low) | (image == high)
    blocks, ends = (
        array.unfold(1, BLOCK, BLOCK).unfold(2, BLOCK, BLOCK).reshape(-1, BLOCK, BLOCK) for array in (image, is_end)
    )
    usable = blocks[~ends.flatten(1).any(1)]
    size = len(usable) // _GROUPS
    if size < 1:
        raise DataError(
            "noise examination: too few blocks without clipped pixels; accepted: larger images, with noise, that are "
            "neither black nor white"
        )
    order = usable.mean((1, 2)).argsort()[: _GROUPS * size].reshape(_GROUPS, size)
    groups = usable[order]
    is_low = ~_is_high()
    is_low[0, 0] = False
    energy = _dct(groups)[..., is_low].square().sum(-1)
    chosen = energy.argsort(1)[:, : max(min(_FEWEST, size), round(_SMOOTH * size))]
    smooth = groups.gather(1, chosen[:, :, None, None].expand(-1, -1, BLOCK, BLOCK))
    return smooth, float(is_end.double().mean())


def _dct(blocks: Tensor) -> Tensor:
    matrix = _dct_matrix()
    return matrix @ blocks @ matrix.mT


def _dct_matrix() -> Tensor:
    """Return the orthonormal cosines as rows, shape (8, 8)."""
    index = torch.arange(BLOCK, dtype=torch.float64)
    matrix = torch.cos(math.pi * (2 * index + 1) * index[:, None] / (2 * BLOCK)) * math.sqrt(2 / BLOCK)
    matrix[0] /= math.sqrt(2)
    return matrix


def _is_high() -> Tensor:
    index = torch.arange(BLOCK)
    return index[:, None] + index >= BLOCK


def _design() -> Tensor:
    """Return the share of R(0, 0), R(0, 1) and R(1, 0) in the variance of each coefficient, shape (8, 8, 3)."""
    matrix = _dct_matrix()
    neighbours = 2 * (matrix[:, 1:] * matrix[:, :-1]).sum(1)
    ones = torch.ones_like(neighbours)
    return torch.stack([torch.outer(ones, ones), torch.outer(ones, neighbours), torch.outer(neighbours, ones)], dim=-1)


def _difference(blocks: Tensor) -> Tensor:
    """Return second differences in both directions inside blocks, shape (..., 6, 6), with the variance of the noise."""
    kernel = blocks.new_tensor(_DIFFERENCE)
    rows = blocks.unfold(-2, 3, 1) @ kernel
    return (rows.unfold(-1, 3, 1) @ kernel) / float(kernel.square().sum())


def _kurtosis(differences: Tensor) -> float:
    """Return the excess kurtosis of the noise of pixels, given differences of independent noise."""
    kernel = differences.new_tensor(_DIFFERENCE)
    shrinks = float(kernel.pow(4).sum() / kernel.square().sum() ** 2) ** 2
    excess = float(differences.pow(4).mean() / differences.square().mean().square()) - 3
    return excess / shrinks
