"""The notes of a reference on images of several shapes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from gahbench.contracts.bases import Basis

if TYPE_CHECKING:
    from gahbench.contracts.references import Reference
    from gahbench.evaluation.evaluation import Evaluation

#: Of so many shapes the notes are given, those of the most images first.
SHOWN = 3


def notes_of(reference: Reference, evaluations: Sequence[Evaluation]) -> list[str]:
    """Return the notes of a reference that was evaluated on the images of each shape."""
    notes, basis = list(reference.notes), getattr(reference, "basis", None)
    if len(evaluations) == 1 or not isinstance(basis, Basis):
        return notes
    counts: Counter[str] = Counter()
    for one in evaluations:
        counts.update(dict.fromkeys(basis.notes(one.shape), len(one.clean)))
    images = sum(len(one.clean) for one in evaluations)
    of_basis = [
        note if count == images else f"{note} ({count} of {images} images)" for note, count in counts.most_common(SHOWN)
    ]
    rest = counts.most_common()[SHOWN:]
    more = [f"so are images of {len(rest)} other shapes, each as it needs"] if rest else []
    first = basis.notes(evaluations[0].shape)
    return [*(note for note in notes if note not in first), *of_basis, *more]
