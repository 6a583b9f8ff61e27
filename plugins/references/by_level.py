"""A denoiser for each noise level."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from gahbench import Dataset, Names, Reference, Shape, TrainingData, Truth, get_spec
from gahbench.jacobian import LinearMaps

#: The grey value of white, in units of which published noise levels are stated.
WHITE = 255


class ByLevel(Reference):
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

    def check_shape(self, shape: Shape) -> None:
        """Raise ``ValueError`` for image shapes (C, H, W) that one of the references refuses."""
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
        """Noise levels that are not the level of a reference, and the notes of the references."""
        others = ", ".join(f"{level:g}" for level in sorted(self._other_levels))
        notes = (f"denoised by the reference for the nearest noise level at {others} of {WHITE}",) if others else ()
        return (*notes, *dict.fromkeys(note for reference in self.references for note in reference.notes))

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
