"""Oracles that shrink coefficients in a basis, given the clean image."""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor

from gahbench import Truth, image_shape
from gahbench_plugins.references.shrinkage import Shrinkage


class Oracle(Shrinkage):
    """An oracle that multiplies every noisy coefficient by a weight, which depends on the clean coefficient.

    In an orthonormal basis the weights are optimal, and the expected error has a closed form. In a frame or a
    biorthogonal basis, the noise level of each coefficient takes the place of sigma. The weights are then not optimal,
    and the error is measured on noisy images. The error is also measured if the basis extends images because its
    transform does not accept their size. An adaptive basis is adapted to the clean images, so the sum of
    min(c_k^2, sigma^2) is smallest.
    """

    kind = "oracle"

    @abstractmethod
    def weights(self, clean: Tensor, levels: Tensor) -> Tensor:
        """Return the weights of coefficients, given the clean coefficients and broadcastable noise levels."""

    @abstractmethod
    def expected_error(self, clean: Tensor, sigma: float) -> Tensor:
        """Return the expected squared errors of coefficients in an orthonormal basis, given the clean coefficients."""

    def denoise(self, noisy: Tensor, sigma: float, truth: Truth) -> Tensor:
        """Return the denoised images, shape (N, C, H, W)."""
        shape = image_shape(noisy)
        parts = list(self.basis.parts(truth))
        denoised = []
        for part, noisy_part in zip(parts, torch.split(noisy, [len(part) for part in parts]), strict=True):
            adapted = self.basis.adapt_to(part, sigma)
            levels = sigma * adapted.noise_levels(shape).to(noisy)
            weights = self.weights(adapted.analysis(part.clean), levels)
            denoised.append(adapted.synthesis(adapted.analysis(noisy_part) * weights))
        return torch.cat(denoised)

    def risk(self, truth: Truth, sigma: float) -> Tensor | None:
        """Return the expected mean squared error per pixel of each image, shape (N,), float64."""
        if not self.basis.is_orthonormal(image_shape(truth.clean)):
            return None
        risks = []
        for part in self.basis.parts(truth.double()):
            coefficients = self.basis.adapt_to(part, sigma).analysis(part.clean)
            risks.append(self.expected_error(coefficients, sigma).flatten(1).mean(1))
        return torch.cat(risks)


class OracleThreshold(Oracle):
    """Oracle thresholding: keeps coefficients whose clean magnitude exceeds sigma, and sets all others to 0.

    The weights are 1 where |c_k| > sigma and 0 elsewhere, where c_k are the coefficients of the clean image. The
    expected squared error is sum_k min(c_k^2, sigma^2) (Donoho & Johnstone 1994), at most twice the error of oracle
    shrinkage.

    Parameters
    ----------
    basis
        Any basis.
    """

    display_name = "oracle threshold, {basis}"
    citation = "donoho-1994"

    def weights(self, clean: Tensor, levels: Tensor) -> Tensor:
        """Return 1 where a clean coefficient exceeds its noise level, 0 elsewhere."""
        return (clean.abs() > levels).to(clean)

    def expected_error(self, clean: Tensor, sigma: float) -> Tensor:
        """Return min(c^2, sigma^2)."""
        return clean.square().clamp(max=sigma**2)


class OracleShrink(Oracle):
    """Oracle shrinkage (Donoho & Johnstone 1994): multiplies coefficients by the optimal weights for the clean image.

    The weights are c_k^2 / (c_k^2 + sigma^2), where c_k are the coefficients of the clean image. The expected squared
    error is sum_k sigma^2 c_k^2 / (c_k^2 + sigma^2) (Kadkhodaie 2024, equation 12).

    Parameters
    ----------
    basis
        Any basis.
    """

    display_name = "oracle shrinkage, {basis}"
    citation = "donoho-1994"

    def weights(self, clean: Tensor, levels: Tensor) -> Tensor:
        """Return c^2 / (c^2 + sigma^2), and 1 if sigma is 0."""
        energy, power = clean.square(), levels.square()
        return torch.where(power > 0, energy / (energy + power).clamp(min=torch.finfo(clean.dtype).tiny), 1.0)

    def expected_error(self, clean: Tensor, sigma: float) -> Tensor:
        """Return sigma^2 c^2 / (c^2 + sigma^2)."""
        return sigma**2 * self.weights(clean, clean.new_tensor(sigma))
