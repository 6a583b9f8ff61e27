"""Oracles that shrink coefficients in a basis, or in the best of several bases, given the clean image."""

from __future__ import annotations

from abc import abstractmethod
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from gahbench import Basis, Names, Truth, generator, get_spec, image_shape
from gahbench_plugins.references.composite import Composite
from gahbench_plugins.references.shrinkage import Shrinkage

#: Number of noise images on which variances without a closed form are measured.
PROBES = 4


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


class OracleBestBasis(Composite):
    """Oracle thresholding or shrinkage of each image in the basis with the smallest expected error among several bases.

    In orthonormal bases the expected error has a closed form, and is never above the error of an oracle in one of these
    bases. In other bases, including those that extend images of this size, the expected error is the exact squared bias
    plus a variance that is measured on fixed noise, with an error of a few per cent on small images. The choice among
    nearly equal bases may then differ from the best, and reported errors are measured on noisy images.

    Parameters
    ----------
    bases
        Two or more different bases, such as ``[sym4, dct, bandlet]``.
    rule
        ``threshold`` to keep coefficients or set them to 0, ``shrink`` for optimal weights.

    Raises
    ------
    ValueError
        If fewer than two bases are given, or a basis is repeated.
    """

    display_name = "oracle in the best basis"
    kind = "oracle"
    label_parameters = ("bases",)

    def __init__(
        self,
        bases: Annotated[tuple[Basis, ...], Names("basis", default=("sym4", "dct")), Field(min_length=2)],
        rule: Literal["threshold", "shrink"] = "threshold",
    ) -> None:
        specs = [spec for spec in map(get_spec, bases) if spec is not None]
        if len(set(specs)) < len(specs):
            raise ValueError(f"bases={specs}: repeats a basis; accepted: different bases")
        oracle = OracleThreshold if rule == "threshold" else OracleShrink
        self.references: tuple[Oracle, ...] = tuple(oracle(basis) for basis in bases)

    def denoise(self, noisy: Tensor, sigma: float, truth: Truth) -> Tensor:
        """Return the denoised images, shape (N, C, H, W)."""
        candidates = torch.stack([oracle.denoise(noisy, sigma, truth) for oracle in self.references])
        return candidates[self.choice(truth, sigma), torch.arange(len(noisy), device=noisy.device)]

    def risk(self, truth: Truth, sigma: float) -> Tensor | None:
        """Return the expected mean squared error per pixel of each image, shape (N,), float64."""
        if not all(oracle.basis.is_orthonormal(image_shape(truth.clean)) for oracle in self.references):
            return None
        return self._risks(truth, sigma).amin(0)

    def choice(self, truth: Truth, sigma: float) -> Tensor:
        """Return the index of the best basis for each image, shape (N,)."""
        return self._risks(truth, sigma).argmin(0)

    def _risks(self, truth: Truth, sigma: float) -> Tensor:
        exact = ((oracle, oracle.risk(truth, sigma)) for oracle in self.references)
        return torch.stack([_measure_risk(oracle, truth, sigma) if risk is None else risk for oracle, risk in exact])


def _measure_risk(oracle: Oracle, truth: Truth, sigma: float) -> Tensor:
    """Estimate the expected mean squared errors of an oracle, which is linear in the noise."""
    truth = truth.double()
    shape = image_shape(truth.clean)
    bias = (oracle.denoise(truth.clean, sigma, truth) - truth.clean).square().flatten(1).mean(1)
    random = generator("noise", "oracle-best-basis")
    # All images share the noise, so that the choice for an image does not depend on its batch.
    probes = torch.randn(PROBES, *shape, generator=random, dtype=torch.float64).to(truth.clean.device)
    variances = [
        oracle.denoise(probe.expand_as(truth.clean), sigma, truth).square().flatten(1).mean(1) for probe in probes
    ]
    return bias + sigma**2 * torch.stack(variances).mean(0)
