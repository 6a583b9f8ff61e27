"""Cycle spinning: averaging of a denoiser over shifts of the image."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from gahbench import Dataset, Names, Reference, Shape, TrainingData, Truth, get_spec, hardware

#: Number of values that are denoised at a time; a GPU is faster with larger batches.
BATCH_VALUES = 1 << 17
BATCH_VALUES_GPU = 1 << 23


class CycleSpin(Reference):
    """Average of a classical reference over circular shifts of the image (Coifman & Donoho 1995).

    The image is shifted by (i, j) pixels, 0 <= i, j < shifts, denoised, and shifted back. A periodic wavelet transform
    of J levels commutes with shifts by 2^J pixels if the image sides are multiples of 2^J. With 2^J shifts along each
    axis the average is then translation-invariant.

    Parameters
    ----------
    reference
        A reference of kind ``classical``. Its parameters are tuned without shifts. A reference with boundaries that are
        not periodic sees an edge where opposite sides of the shifted image meet.
    shifts
        Number of shifts along each axis; every image is denoised shifts^2 times.

    Raises
    ------
    ValueError
        If the reference is not of kind ``classical``.
    """

    display_name = "cycle spinning of {reference}"
    citation = "coifman-1995"
    label_parameters = ("reference",)

    def __init__(
        self,
        reference: Annotated[Reference, Names("reference", default="threshold")],
        shifts: Annotated[int, Field(ge=1)] = 8,
    ) -> None:
        if reference.kind != "classical":
            raise ValueError(
                f"reference '{get_spec(reference)}' is of kind '{reference.kind}'; accepted: references of "
                "kind 'classical', which do not depend on the clean image"
            )
        self.reference = reference
        self.shifts = shifts

    def check_shape(self, shape: Shape) -> None:
        """Raise ``ValueError`` for image shapes (C, H, W) smaller than ``shifts``, or that the reference refuses."""
        self.reference.check_shape(shape)
        if self.shifts > min(shape[1:]):
            raise ValueError(
                f"shifts={self.shifts} exceeds a side of images of {shape[1]}x{shape[2]}; "
                f"accepted: 1 to {min(shape[1:])}"
            )

    def supports(self, dataset: Dataset) -> bool:
        """Return whether the shifted reference supports the dataset."""
        return self.reference.supports(dataset)

    def fit(self, examples: TrainingData) -> None:
        """Fit the shifted reference."""
        self.reference.fit(examples)

    @property
    def notes(self) -> tuple[str, ...]:
        """Notes of the shifted reference."""
        return self.reference.notes

    def denoise(self, noisy: Tensor, sigma: float, truth: Truth) -> Tensor:
        """Return the denoised images, shape (N, C, H, W)."""
        total = torch.zeros_like(noisy)
        values = BATCH_VALUES_GPU if hardware(noisy.device).is_accelerator else BATCH_VALUES
        batch_size = max(1, values // noisy.numel())
        all_shifts = list(itertools.product(range(self.shifts), repeat=2))
        for start in range(0, len(all_shifts), batch_size):
            shifts = all_shifts[start : start + batch_size]
            shifted = torch.cat([noisy.roll(shift, (-2, -1)) for shift in shifts])
            repeated = replace(truth, clean=truth.clean.repeat(len(shifts), 1, 1, 1))
            parts = torch.split(self.reference.denoise(shifted, sigma, repeated), len(noisy))
            for (down, right), part in zip(shifts, parts, strict=True):
                total += part.roll((-down, -right), (-2, -1))
        return total / self.shifts**2
