"""Cycle spinning: a denoiser made less dependent on where the pixel grid begins."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from gahbench import Dataset, Names, Reference, Shape, TrainingData, Truth, hardware

from .._messages import name_of
from .._papers import COIFMAN_1995

#: Values that are denoised at a time, on a processor, and on a GPU, which waits less the more there are.
TOGETHER = 1 << 17
TOGETHER_GPU = 1 << 23


class CycleSpin(Reference):
    """Average of a classical reference over circular shifts of the image (Coifman & Donoho 1995).

    The image is shifted by (i, j) pixels, 0 <= i, j < shifts, denoised, and shifted back. Coefficients of a wavelet
    transform of J levels with periodic boundaries move along with shifts by 2^J, if the sides are multiples of it: with
    2^J shifts along each axis the average is translation-invariant.

    Parameters
    ----------
    reference
        A reference of kind ``classical``. Its numbers are tuned without shifts. One whose boundaries are not periodic
        sees an edge where opposite sides of the image meet.
    shifts
        Shifts along each axis: it denoises every image shifts^2 times.

    Raises
    ------
    ValueError
        If the reference is of another kind.
    """

    citation = COIFMAN_1995
    label_parameters = ("reference",)

    def __init__(
        self,
        reference: Annotated[Reference, Names("reference", default="threshold")],
        shifts: Annotated[int, Field(ge=1)] = 8,
    ) -> None:
        if reference.kind != "classical":
            raise ValueError(
                f"reference '{name_of(reference)}' is of kind '{reference.kind}'; accepted: those of kind 'classical', "
                "since what depends on the clean image cannot be shifted with it"
            )
        self.reference = reference
        self.shifts = shifts

    def check_shape(self, shape: Shape) -> None:
        """Raise ``ValueError`` for images (C, H, W) that the reference cannot denoise, or smaller than the shifts."""
        self.reference.check_shape(shape)
        if self.shifts > min(shape[1:]):
            raise ValueError(
                f"shifts={self.shifts} come round again in images of {shape[1]}x{shape[2]}; "
                f"accepted are 1 to {min(shape[1:])}"
            )

    def supports(self, dataset: Dataset) -> bool:
        """Return whether the reference exists on the dataset."""
        return self.reference.supports(dataset)

    def fit(self, examples: TrainingData) -> None:
        """Fit the reference."""
        self.reference.fit(examples)

    @property
    def notes(self) -> tuple[str, ...]:
        """The notes of the reference."""
        return self.reference.notes

    def denoise(self, noisy: Tensor, sigma: float, truth: Truth) -> Tensor:
        """Return the denoised images, shape (N, C, H, W)."""
        total = torch.zeros_like(noisy)
        together = max(1, (TOGETHER_GPU if hardware(noisy.device).has_large_batches else TOGETHER) // noisy.numel())
        every = list(itertools.product(range(self.shifts), repeat=2))
        for first in range(0, len(every), together):
            shifts = every[first : first + together]
            shifted = torch.cat([noisy.roll(shift, (-2, -1)) for shift in shifts])
            repeated = replace(truth, clean=truth.clean.repeat(len(shifts), 1, 1, 1))
            parts = torch.split(self.reference.denoise(shifted, sigma, repeated), len(noisy))
            for (down, right), part in zip(shifts, parts, strict=True):
                total += part.roll((-down, -right), (-2, -1))
        return total / self.shifts**2
