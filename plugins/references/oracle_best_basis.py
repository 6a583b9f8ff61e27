"""The oracle that also chooses the basis."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from gahbench import Basis, Dataset, Names, Reference, Shape, TrainingData, Truth, generator, image_shape, spec_of

from .._messages import name_of
from .._tensors import candidate_choices
from .oracle import Oracle, OracleShrink, OracleThreshold

#: Draws of noise on which variances without a closed form are measured.
PROBES = 4


class OracleBestBasis(Reference):
    """Oracle thresholding, or shrinkage, of each image in whichever of several bases its expected error is least in.

    In an orthonormal basis the expected error has a closed form, so that the error is nowhere above that of an oracle
    in any one of such bases. In others, among them those that continue images of this size, it is the squared bias,
    exactly, and a variance that is measured on fixed noise, to some per cent on small images: of bases that are nearly
    equal another one may be taken. Then errors are measured on noisy images.

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

    kind = "oracle"
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
        """Raise ``ValueError`` for images (C, H, W) that a basis cannot analyse."""
        for oracle in self.oracles:
            oracle.check_shape(shape)

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
        for place in candidate_choices(choice, len(self.oracles)):
            chosen = (choice == place)[:, None, None, None]
            denoised = torch.where(chosen, self.oracles[place].denoise(noisy, sigma, truth), denoised)
        return denoised

    def risk(self, truth: Truth, sigma: float) -> Tensor | None:
        """Return the expected mean squared error per pixel of each image, shape (N,), float64."""
        if not all(oracle.basis.is_orthonormal(image_shape(truth.clean)) for oracle in self.oracles):
            return None
        return self._risks(truth, sigma).amin(0)

    def choice(self, truth: Truth, sigma: float) -> Tensor:
        """Return the place in the library of the best basis of each image, shape (N,)."""
        return self._risks(truth, sigma).argmin(0)

    def _risks(self, truth: Truth, sigma: float) -> Tensor:
        known = ((oracle, oracle.risk(truth, sigma)) for oracle in self.oracles)
        return torch.stack([_measured(oracle, truth, sigma) if risk is None else risk for oracle, risk in known])


def _measured(oracle: Oracle, truth: Truth, sigma: float) -> Tensor:
    """Return the expected mean squared errors of an oracle: its weights do not depend on the noise, so it is linear."""
    truth = truth.double()
    shape = image_shape(truth.clean)
    bias = (oracle.denoise(truth.clean, sigma, truth) - truth.clean).square().flatten(1).mean(1)
    random = generator("noise", "oracle-best-basis")
    # The same noise for all images, so that an image has the same basis in every batch.
    probes = torch.randn(PROBES, *shape, generator=random, dtype=torch.float64).to(truth.clean.device)
    left = [oracle.denoise(probe.expand_as(truth.clean), sigma, truth).square().flatten(1).mean(1) for probe in probes]
    return bias + sigma**2 * torch.stack(left).mean(0)
