"""The oracle that also chooses the basis."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from gahbench import Basis, Dataset, DenoiserKind, Names, Reference, Shape, TrainingData, Truth, spec_of

from .._names import name_of
from .oracle import Oracle, OracleShrink, OracleThreshold


class OracleBestBasis(Reference):
    """Oracle thresholding, or shrinkage, of each image in whichever of several bases its expected error is least in.

    So its error is nowhere above that of an oracle in any one of the bases. The bases must be orthonormal, where
    expected errors have a closed form.

    Parameters
    ----------
    bases
        The library of bases, such as ``[sym4, dct, bandlet]``.
    rule
        Whether coefficients are kept or killed, or shrunk.

    Raises
    ------
    ValueError
        If fewer than two bases are given, or one twice.
    """

    kind: DenoiserKind = "oracle"
    label_parameters = ("bases",)

    def __init__(
        self,
        bases: Annotated[tuple[Basis, ...], Names("basis", default=("sym4", "dct")), Field(min_length=2)],
        rule: Literal["threshold", "shrink"] = "threshold",
    ) -> None:
        self.names = tuple(map(name_of, bases))
        specs = [spec for spec in map(spec_of, bases) if spec is not None]
        if len(set(specs)) < len(specs):
            raise ValueError(f"bases={list(self.names)}: repeats a basis; accepted are different ones")
        oracle = OracleThreshold if rule == "threshold" else OracleShrink
        self.oracles: tuple[Oracle, ...] = tuple(oracle(basis) for basis in bases)

    def check_shape(self, shape: Shape) -> None:
        """Raise ``ValueError`` for images (C, H, W) that a basis cannot analyse, or is not orthonormal on."""
        for name, oracle in zip(self.names, self.oracles, strict=True):
            oracle.check_shape(shape)
            if not oracle.basis.is_orthonormal(shape):
                raise ValueError(
                    f"basis '{name}' is not orthonormal on images {shape}; accepted are bases that are, such as sym4"
                )

    def supports(self, dataset: Dataset) -> bool:
        """Return whether all of the bases exist on the dataset."""
        return all(oracle.supports(dataset) for oracle in self.oracles)

    def fit(self, examples: TrainingData) -> None:
        """Fit the bases."""
        for oracle in self.oracles:
            oracle.fit(examples)

    def denoise(self, noisy: Tensor, sigma: float, truth: Truth) -> Tensor:
        """Return the denoised images, shape (N, C, H, W)."""
        choice = self.choice(truth, sigma)
        denoised = noisy
        for place in sorted(set(choice.tolist())):
            chosen = (choice == place)[:, None, None, None]
            denoised = torch.where(chosen, self.oracles[place].denoise(noisy, sigma, truth), denoised)
        return denoised

    def risk(self, truth: Truth, sigma: float) -> Tensor:
        """Return the expected mean squared error per pixel of each image, shape (N,), float64."""
        return self._risks(truth, sigma).amin(0)

    def choice(self, truth: Truth, sigma: float) -> Tensor:
        """Return the place in the library of the best basis of each image, shape (N,)."""
        return self._risks(truth, sigma).argmin(0)

    def _risks(self, truth: Truth, sigma: float) -> Tensor:
        risks = []
        for name, oracle in zip(self.names, self.oracles, strict=True):
            risk = oracle.risk(truth, sigma)
            if risk is None:
                raise ValueError(f"basis '{name}' is not orthonormal on these images: no expected error to choose by")
            risks.append(risk)
        return torch.stack(risks)
