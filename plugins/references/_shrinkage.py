"""Base of references that shrink coefficients in a basis."""

from __future__ import annotations

from gahbench import Basis, Dataset, Reference, Shape, TrainingData


class Shrinkage(Reference):
    """A reference that works on the coefficients in a basis."""

    label_parameters = ("basis",)
    _notes: tuple[str, ...] = ()

    def __init__(self, basis: Basis) -> None:
        self.basis = basis

    def check_shape(self, shape: Shape) -> None:
        """Raise ``ValueError`` for images (C, H, W) that the basis cannot analyse."""
        self.basis.check_shape(shape)

    def supports(self, dataset: Dataset) -> bool:
        """Return whether the basis exists on the dataset."""
        return self.basis.supports(dataset)

    def fit(self, examples: TrainingData) -> None:
        """Fit the basis."""
        self.basis.fit(examples)
        self._notes = self.basis.notes(examples.shape)

    @property
    def notes(self) -> tuple[str, ...]:
        """The notes of the basis."""
        return self._notes
