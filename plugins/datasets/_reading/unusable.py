"""Image files that cannot be used: all of them are named, or left out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from gahbench import DataError, Dataset, listing, spec_of

OnError = Literal["raise", "skip"]
#: How many files an error or a note names.
SHOWN = 12


def described(unusable: Mapping[str, str], total: int) -> str:
    """Return how many of all images cannot be used, the first of their names, and why."""
    by_reason: dict[str, list[str]] = {}
    for name, reason in list(unusable.items())[:SHOWN]:
        by_reason.setdefault(reason, []).append(name)
    parts = [f"{listing(names)}: {reason}" for reason, names in by_reason.items()]
    more = [f"and {len(unusable) - SHOWN} more"] if len(unusable) > SHOWN else []
    return f"{len(unusable)} of {total} images cannot be used: {'; '.join([*parts, *more])}"


def check_usable(dataset: Dataset, on_error: OnError, where: str, unusable: Mapping[str, str], total: int) -> None:
    """Raise ``DataError`` if a dataset has images that cannot be used and are not to be skipped, or none that can."""
    if not unusable or (on_error == "skip" and len(unusable) < total):
        return
    spec = spec_of(dataset)
    example = f", as in {spec[:-1]},on_error=skip]" if spec and spec.endswith("]") else ""
    advice = f"; on_error=skip leaves them out{example}" if len(unusable) < total else ""
    raise DataError(f"{where}: {described(unusable, total)}{advice}")


def unusable_notes(unusable: Mapping[str, str], total: int) -> tuple[str, ...]:
    """Return the note of a dataset that leaves out images."""
    return (f"{described(unusable, total)}; they are left out (on_error=skip)",) if unusable else ()
