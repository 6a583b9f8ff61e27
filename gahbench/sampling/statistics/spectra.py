"""Radial power spectra of images, and distances between them."""

from __future__ import annotations

import torch
from torch import Tensor

#: Approximate number of values that are transformed at a time.
BATCH_VALUES = 1 << 21


def radial_spectrum(images: Tensor) -> Tensor:
    """Return the mean power of images at each radial frequency.

    The mean of each image is subtracted, and rows and columns are multiplied by a Hann window, because the jump between
    opposite borders would add power at all frequencies. Power is normalised such that white noise of standard deviation
    s has power s^2 at all frequencies.

    Parameters
    ----------
    images
        Shape (N, C, H, W), with sides of at least 4.

    Returns
    -------
    Tensor
        Mean power over images, channels, and all frequencies that round to r = 1, ..., R cycles per shorter side, with
        R = min(H, W) // 2; shape (R,), float64.

    Raises
    ------
    ValueError
        If there are no images, or they are smaller than 4x4.
    """
    if images.ndim != 4 or not len(images) or min(images.shape[2:]) < 4:
        raise ValueError(f"expected images (N, C, H, W) with sides of 4 or more, not {tuple(images.shape)}")
    height, width = images.shape[2:]
    window = _window(height)[:, None] * _window(width)
    window = (window / window.square().mean().sqrt()).to(images.device)
    power = torch.zeros(height, width, dtype=torch.float64, device=images.device)
    for batch in torch.split(images, max(1, BATCH_VALUES // images[0].numel())):
        centred = batch.double() - batch.double().mean((1, 2, 3), keepdim=True)
        power += torch.fft.fft2(centred * window, norm="ortho").abs().square().sum((0, 1))
    power /= images.shape[0] * images.shape[1]
    rows, columns = (torch.fft.fftfreq(side, dtype=torch.float64, device=images.device) for side in (height, width))
    radius = (torch.hypot(rows[:, None], columns) * min(height, width)).round().long()
    bins = min(height, width) // 2 + 1
    is_inside = radius < bins
    sums, counts = (
        torch.bincount(radius[is_inside], weights=weights[is_inside], minlength=bins)
        for weights in (power, torch.ones_like(power))
    )
    return (sums / counts)[1:]


def spectrum_distance(samples: Tensor, images: Tensor) -> float:
    """Return the log-spectral distance of two sets of images: the root mean square over radial frequencies, in dB.

    The spectra are computed by :func:`radial_spectrum`. The distance detects blur and missing texture, but not copies.
    Two halves of one set have a positive distance by chance; use that distance as a baseline. For halves of 100 and of
    2000 C^alpha images of 24x24 pixels, it is 1.1 and 0.5 dB; if one half is blurred by 0.7 pixels, it is 10 dB.

    Parameters
    ----------
    samples
        Shape (N, C, H, W).
    images
        Shape (M, C, H, W).

    Returns
    -------
    float
        Distance in dB; infinite if one set has no power at a frequency.

    Raises
    ------
    ValueError
        If there are no images, they are smaller than 4x4, or their shapes differ.

    Examples
    --------
    >>> import torch
    >>> images = torch.rand(4, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    >>> round(spectrum_distance(images, images), 3), round(spectrum_distance(10 * images, images), 3)
    (0.0, 20.0)
    """
    if samples.shape[1:] != images.shape[1:]:
        raise ValueError(f"samples {tuple(samples.shape)} and images {tuple(images.shape)} are not of one shape")
    decibels = 10 * (radial_spectrum(samples).log10() - radial_spectrum(images).to(samples.device).log10())
    return float(decibels.square().mean().sqrt())


def _window(side: int) -> Tensor:
    return torch.hann_window(side + 2, periodic=False, dtype=torch.float64)[1:-1]
