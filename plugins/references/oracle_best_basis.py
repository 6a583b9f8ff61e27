"""An oracle that also chooses the basis."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from gahbench import Basis, Dataset, Names, Reference, Shape, TrainingData, Truth, generator, get_spec, image_shape
from gahbench_plugins.references.oracle import Oracle, OracleShrink, OracleThreshold

#: Number of noise images on which variances without a closed form are measured.
PROBES = 4


class OracleBestBasis(Reference):
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
        self.oracles: tuple[Oracle, ...] = tuple(oracle(basis) for basis in bases)

    def check_shape(self, shape: Shape) -> None:
        """Raise ``ValueError`` for image shapes (C, H, W) that a basis cannot analyse."""
        for oracle in self.oracles:
            oracle.check_shape(shape)

    def supports(self, dataset: Dataset) -> bool:
        """Return whether all bases support the dataset."""
        return all(oracle.supports(dataset) for oracle in self.oracles)

    def fit(self, examples: TrainingData) -> None:
        """Fit the bases."""
        for oracle in self.oracles:
            oracle.fit(examples)

    def denoise(self, noisy: Tensor, sigma: float, truth: Truth) -> Tensor:
        """Return the denoised images, shape (N, C, H, W)."""
        candidates = torch.stack([oracle.denoise(noisy, sigma, truth) for oracle in self.oracles])
        return candidates[self.choice(truth, sigma), torch.arange(len(noisy), device=noisy.device)]

    def risk(self, truth: Truth, sigma: float) -> Tensor | None:
        """Return the expected mean squared error per pixel of each image, shape (N,), float64."""
        if not all(oracle.basis.is_orthonormal(image_shape(truth.clean)) for oracle in self.oracles):
            return None
        return self._risks(truth, sigma).amin(0)

    def choice(self, truth: Truth, sigma: float) -> Tensor:
        """Return the index of the best basis for each image, shape (N,)."""
        return self._risks(truth, sigma).argmin(0)

    def _risks(self, truth: Truth, sigma: float) -> Tensor:
        exact = ((oracle, oracle.risk(truth, sigma)) for oracle in self.oracles)
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
