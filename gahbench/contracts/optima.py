"""Properties of the best denoiser of a dataset."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, eq=False)
class Posterior:
    """The distribution of clean images given noisy ones, as far as denoising goes.

    The mean is the denoised image of least expected squared error, and the trace of the covariance is that error
    (Kadkhodaie 2024, equations 9 and 10).

    Parameters
    ----------
    mean
        Posterior means, shape (N, C, H, W).
    trace
        Traces of the posterior covariances (sums over pixels), shape (N,), float64, in squared units of the grey scale.
    ess_fraction
        Effective sample size behind each, as a share in (0, 1] of the samples drawn, shape (N,); ``None`` where no
        sampling was needed.
    covariance
        Posterior covariances, shape (N, d, d), float64, if requested.
    """

    mean: Tensor
    trace: Tensor
    ess_fraction: Tensor | None = None
    covariance: Tensor | None = None


@dataclass(frozen=True, eq=False)
class TrueBasis:
    """The basis in which the best denoiser of a family shrinks each of N images of d = C * H * W pixels.

    Parameters
    ----------
    vectors
        Orthonormal columns, shape (N, d, k) or (1, d, k) where all images share them, in falling order of energy.
    energies
        Variance of the coefficient of each vector, shape (N, k) or (1, k): the best denoiser multiplies it by
        energy / (energy + sigma^2). ``None`` where the vectors span a tangent space, which is kept whole as sigma
        tends to 0.
    """

    vectors: Tensor
    energies: Tensor | None = None
