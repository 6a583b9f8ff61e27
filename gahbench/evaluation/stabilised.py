"""Denoisers of white Gaussian noise under Poisson-Gaussian noise: stabilise, denoise, invert."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from gahbench.contracts.denoisers import SEES_CLEAN, Denoiser
from gahbench.contracts.truth import Truth
from gahbench.noise.poisson_gaussian import PoissonGaussian
from gahbench.noise.stabilisation import Stabilisation


def denoise_stabilised(denoiser: Denoiser, noisy: Tensor, truth: Truth, noise: PoissonGaussian) -> Tensor:
    """Denoise noisy intensities, shape (N, C, H, W), by a denoiser of white noise.

    The denoiser receives stabilised images and their noise level, and its output is inverted without bias. An oracle
    receives the expected stabilised images as its clean images. A reference that ``denoises_intensities`` receives the
    intensities and, in the truth, their noise.
    """
    stabilisation = Stabilisation(noise)
    if getattr(denoiser, "denoises_intensities", False):
        return denoiser.denoise(noisy, stabilisation.sigma, replace(truth, noise=noise))
    if denoiser.kind in SEES_CLEAN:
        truth = replace(truth, clean=stabilisation.expected(truth.clean))
    return stabilisation.inverse(denoiser.denoise(stabilisation.forward(noisy), stabilisation.sigma, truth))
