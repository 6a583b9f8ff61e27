"""References made of other references: a denoiser for each noise level, and averages over shifts of the image."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from gahbench import Dataset, Names, Reference, Shape, TrainingData, Truth, get_spec, hardware
from gahbench.jacobian import LinearMaps

#: The grey value of white, in units of which published noise levels are stated.
WHITE = 255
#: Number of values that are denoised at a time; a GPU is faster with larger batches.
BATCH_VALUES = 1 << 17
BATCH_VALUES_GPU = 1 << 23


class Composite(Reference):
    """A reference that uses the ``references``, which are prepared, fitted and moved together."""

    references: tuple[Reference, ...]

    def check_shape(self, shape: Shape) -> None:
        """Raise ``ValueError`` for image shapes (C, H, W) that a reference refuses."""
        for reference in self.references:
            reference.check_shape(shape)

    def supports(self, dataset: Dataset) -> bool:
        """Return whether all references support the dataset."""
        return all(reference.supports(dataset) for reference in self.references)

    def missing(self) -> tuple[str, ...]:
        """Return what the references lack."""
        return tuple(dict.fromkeys(item for reference in self.references for item in reference.missing()))

    def prepare(self) -> None:
        """Prepare the references."""
        for reference in self.references:
            reference.prepare()

    def fit(self, examples: TrainingData) -> None:
        """Fit the references."""
        for reference in self.references:
            reference.fit(examples)

    def move(self, device: torch.device) -> None:
        """Compute on the given device from now on."""
        for reference in self.references:
            reference.move(device)

    @property
    def num_parameters(self) -> int | None:
        """Number of parameters of all networks that were used, or ``None`` before any was used."""
        numbers = [reference.num_parameters for reference in self.references]
        return sum(number for number in numbers if number is not None) if any(numbers) else None

    @property
    def notes(self) -> tuple[str, ...]:
        """Notes of the references."""
        return tuple(dict.fromkeys(note for reference in self.references for note in reference.notes))


class ByLevel(Composite):
    """Denoisers that were trained, or tuned, for one noise level each, as a single entrant.

    At every noise level the images are denoised by the reference whose level is nearest; of two levels at the same
    distance, the smaller. A note states noise levels that are not the level of a reference.

    Total variation with a weight for each of the levels 15, 25 and 50, for example::

        by-level: {levels: [15, 25, 50], references: ["tv[weight=0.034]", "tv[weight=0.067]", "tv[weight=0.17]"]}

    Parameters
    ----------
    references
        References of kind ``trained``, such as ``pretrained``, or ``classical``, such as ``tv[weight=0.1]``. The
        entrant is of kind ``classical`` if all are.
    levels
        Noise level of each reference, as a standard deviation in grey values from 0 to 255.

    Raises
    ------
    ValueError
        If there are not as many levels as references, a level is repeated, or a reference is of another kind.
    """

    display_name = "one denoiser for each noise level"
    kind: Literal["trained", "classical"] = "trained"
    label_parameters = ("levels",)

    def __init__(
        self,
        references: Annotated[tuple[Reference, ...], Names("reference"), Field(min_length=1)],
        levels: tuple[Annotated[float, Field(gt=0)], ...],
    ) -> None:
        if len(levels) != len(references) or len(set(levels)) < len(levels):
            raise ValueError(
                f"levels={list(levels)} for {len(references)} references; accepted: a different level for each"
            )
        kinds = {reference.kind for reference in references}
        if not kinds <= {"trained", "classical"}:
            specs = ", ".join(f"{get_spec(reference)}, of kind '{reference.kind}'" for reference in references)
            raise ValueError(f"references={specs}; accepted: references of kind 'trained' or 'classical'")
        self.kind = "classical" if kinds == {"classical"} else "trained"
        pairs = sorted(zip(levels, references, strict=True), key=lambda pair: pair[0])
        self.levels = tuple(level for level, _ in pairs)
        self.references = tuple(reference for _, reference in pairs)
        self._other_levels: set[float] = set()

    @property
    def notes(self) -> tuple[str, ...]:
        """Noise levels that are not the level of a reference, and the notes of the references."""
        others = ", ".join(f"{level:g}" for level in sorted(self._other_levels))
        notes = (f"denoised by the reference for the nearest noise level at {others} of {WHITE}",) if others else ()
        return (*notes, *super().notes)

    def denoise(self, noisy: Tensor, sigma: float, truth: Truth) -> Tensor:
        """Return the denoised images, shape (N, C, H, W)."""
        return self._nearest(sigma).denoise(noisy, sigma, truth)

    def jacobian(self, noisy: Tensor, sigma: float, truth: Truth) -> LinearMaps | None:
        """Return the Jacobians of the reference for the noise level at the noisy images."""
        return self._nearest(sigma).jacobian(noisy, sigma, truth)

    def _nearest(self, sigma: float) -> Reference:
        level = WHITE * sigma
        index = min(range(len(self.levels)), key=lambda index: abs(self.levels[index] - level))
        # The tolerance is that of noise levels in float32.
        if abs(self.levels[index] - level) > 1e-5 * level:
            self._other_levels.add(round(level, 3))
        return self.references[index]


class CycleSpin(Composite):
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
        self.references = (reference,)
        self.shifts = shifts

    def check_shape(self, shape: Shape) -> None:
        """Raise ``ValueError`` for image shapes (C, H, W) smaller than ``shifts``, or that the reference refuses."""
        super().check_shape(shape)
        if self.shifts > min(shape[1:]):
            raise ValueError(
                f"shifts={self.shifts} exceeds a side of images of {shape[1]}x{shape[2]}; "
                f"accepted: 1 to {min(shape[1:])}"
            )

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
            parts = torch.split(self.references[0].denoise(shifted, sigma, repeated), len(noisy))
            for (down, right), part in zip(shifts, parts, strict=True):
                total += part.roll((-down, -right), (-2, -1))
        return total / self.shifts**2
