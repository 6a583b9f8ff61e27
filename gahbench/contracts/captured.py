"""Noisy images that a camera or microscope recorded, which take the place of drawn noise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from torch import Tensor

#: Kinds of recorded noise: white and Gaussian, with the given noise levels; of independent pixels, with any
#: distribution; or noise of which neither is known.
NoiseKind = Literal["white", "independent", "unknown"]
#: The noise of scores whose noisy images were recorded.
MEASURED = "measured"


@dataclass(frozen=True, eq=False)
class Captured:
    """Recorded noisy images of N clean images, with their noise levels.

    Parameters
    ----------
    noisy
        The noisy images, shape (N, C, H, W), float32, in the units of the clean images; values outside [0, 1] are kept.
    sigma
        Noise level of each image, shape (N,), float64, greater than 0. Denoisers that need a noise level get this one.
    reference_variance
        Variance per pixel of the noise that is left in each clean image, shape (N,), float64: 0 for an exact reference,
        and the variance of the mean for a mean of repeated captures. The PSNR subtracts it from squared errors.

    Examples
    --------
    >>> import torch
    >>> sigma = torch.tensor([0.05, 0.2], dtype=torch.float64)
    >>> len(Captured(torch.zeros(2, 1, 8, 8), sigma, torch.zeros_like(sigma))[:1])
    1
    """

    noisy: Tensor
    sigma: Tensor
    reference_variance: Tensor

    def __len__(self) -> int:
        return len(self.noisy)

    def __getitem__(self, chosen: slice) -> Captured:
        """Return a part of the images."""
        return Captured(self.noisy[chosen], self.sigma[chosen], self.reference_variance[chosen])
