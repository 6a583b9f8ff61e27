"""Poisson-Gaussian noise: the noise of counted photons plus the noise of reading them out."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gahbench._util.errors import DataError, ParameterError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

#: Rates above this limit are sampled from a Gaussian, whose skewness differs by less than 4e-4.
_GAUSSIAN_RATE = 1e7
#: Accepted intensities. Images lie in [0, 1]; Gaussian families rarely leave it, and captures may overshoot.
LOWEST, HIGHEST = -1.0, 2.0


@dataclass(frozen=True)
class PoissonGaussian:
    """Poisson-Gaussian noise: y = a Poisson(x / a) + sqrt(b) z, with intensities x in [0, 1] and z standard normal.

    The mean of y is x, and its variance is a x + b. An image in which white counts N photons has a = 1 / N (the gain,
    in units of intensity); b is the variance of the read noise. Intensities below 0 are replaced by 0.

    Parameters
    ----------
    a
        Variance of the photon noise at intensity 1, at least 0. Without photon noise, the noise is white and Gaussian.
    b
        Variance of the Gaussian noise, at least 0. At least one of ``a`` and ``b`` is greater than 0.

    Raises
    ------
    ParameterError
        If a parameter is negative or not finite, or both are 0.

    References
    ----------
    Foi, Trimeche, Katkovnik & Egiazarian 2008, Practical Poissonian-Gaussian noise modeling and fitting for
    single-image raw-data, IEEE Transactions on Image Processing 17(10).

    Examples
    --------
    >>> import torch
    >>> from gahbench.noise import PoissonGaussian
    >>> noise = PoissonGaussian(a=0.02, b=0.001)
    >>> noise.variance(torch.tensor([0.0, 0.5, 1.0]))
    tensor([0.0010, 0.0110, 0.0210])
    """

    a: float
    b: float

    def __post_init__(self) -> None:
        for name, value in (("a", self.a), ("b", self.b)):
            if not (math.isfinite(value) and value >= 0):
                raise ParameterError(f"Poisson-Gaussian noise: {name}={value:g}; accepted: a finite number, 0 or more")
        if self.a == self.b == 0:
            raise ParameterError("Poisson-Gaussian noise: a=0 and b=0, which is no noise; accepted: a or b above 0")

    def variance(self, clean: Tensor) -> Tensor:
        """Return the variance of the noise at each intensity, in the shape of ``clean``."""
        return clean.clamp(min=0).mul(self.a).add(self.b)

    def sample(self, clean: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Return noisy intensities, which are not clipped.

        Parameters
        ----------
        clean
            Intensities of any shape, in [0, 1]; values down to -1, which count as 0, and up to 2 are accepted.
        generator
            Source of the random numbers, on the device of ``clean``.

        Returns
        -------
        Tensor
            Noisy intensities, in the shape, precision and device of ``clean``.

        Raises
        ------
        DataError
            If an intensity is out of range or not finite.
        """
        # Suites are read without torch.
        import torch

        check_intensities(clean)
        exact = clean.double().clamp(min=0)
        normal = torch.randn(clean.shape, dtype=torch.float64, device=clean.device, generator=generator)
        noisy = exact + self.b**0.5 * normal
        if self.a:
            rate = exact / self.a
            shot = self.a * (torch.poisson(rate.clamp(max=_GAUSSIAN_RATE), generator=generator) - rate)
            if bool((rate > _GAUSSIAN_RATE).any()):
                normal = torch.randn(clean.shape, dtype=torch.float64, device=clean.device, generator=generator)
                shot = torch.where(rate > _GAUSSIAN_RATE, (self.a * exact).sqrt() * normal, shot)
            noisy = noisy + shot
        result: Tensor = noisy.to(clean.dtype)
        return result


def check_intensities(images: Tensor) -> None:
    """Raise ``DataError`` if intensities are not finite, or far outside [0, 1]."""
    if images.numel() == 0:
        return
    lowest, highest = (float(value) for value in images.aminmax())
    if not (lowest >= LOWEST and highest <= HIGHEST):
        raise DataError(
            f"Poisson-Gaussian noise: intensities from {lowest:g} to {highest:g}; accepted: finite numbers in [0, 1] "
            f"({LOWEST:g} to {HIGHEST:g} is tolerated), so divide 8-bit images by 255"
        )
