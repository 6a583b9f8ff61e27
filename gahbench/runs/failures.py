"""Why units of a results folder failed, with the tracebacks that were recorded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from gahbench._util.error_text import without_library_frames
from gahbench._util.errors import ResultsError, listing, suggestion
from gahbench._util.patterns import matches
from gahbench.contracts.unit import Unit
from gahbench.planning.row_labels import base_label
from gahbench.store.plan_file import recorded_plan
from gahbench.store.store import Store


@dataclass(frozen=True)
class Failure:
    """Units that failed in the same way."""

    units: tuple[str, ...]
    error: str
    traceback: str
    blocked: int


def failures(folder: Path, entrants: Sequence[str] = (), full: bool = False) -> list[Failure]:
    """Return why units of a results folder failed, those with the same traceback together."""
    units, store = recorded_plan(folder).shown, Store(folder)
    for pattern in entrants:
        _require_match(pattern, units, folder)
    failed = store.failed()
    found: dict[tuple[str, str], dict[str, Unit]] = {}
    for unit in units:
        if unit.folder in failed and (not entrants or any(_is_named(unit, pattern) for pattern in entrants)):
            details = store.failure_record(unit.folder).get("traceback")
            text = details.strip("\n") if isinstance(details, str) else ""
            reason = store.failure_of(unit.folder), text if full else without_library_frames(text)
            found.setdefault(reason, {})[unit.folder] = unit
    return [
        Failure(
            tuple(unit.label for unit in own.values()),
            error,
            text,
            sum(unit.folder not in failed and unit.is_blocked(own.keys()) for unit in units),
        )
        for (error, text), own in found.items()
    ]


def _is_named(unit: Unit, pattern: str) -> bool:
    return any(matches(label, pattern) for label in (unit.entrant, base_label(unit.entrant)))


def _require_match(pattern: str, units: Sequence[Unit], folder: Path) -> None:
    if not any(_is_named(unit, pattern) for unit in units):
        labels = list(dict.fromkeys(base_label(unit.entrant) for unit in units))
        near = suggestion(pattern, labels) or ";"
        raise ResultsError(f"{folder}: no entrant '{pattern}'{near} accepted are patterns of {listing(labels)}")
