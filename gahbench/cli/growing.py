"""Printing of ``merge``, ``remove``, ``weights``, and of what ``--reuse`` and ``--again`` do."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

import typer
from rich.console import Console

from gahbench._util.errors import listing
from gahbench._util.readable import counted

if TYPE_CHECKING:
    from gahbench.contracts.unit import Unit
    from gahbench.runs.opening import OpenedRun
    from gahbench.runs.removal import Removed
    from gahbench.runs.reuse import Merged, Reused
    from gahbench.store.stored_weights import StoredWeights

_SHOWN = 12
_OTHER_WEIGHTS = "since the weights here are not those that were measured"


def print_begun(opened: OpenedRun, again: Sequence[str], console: Console) -> None:
    """Print what was taken from other folders, and how much was moved away, to be done anew."""
    if opened.reused is not None:
        print_reused(opened.reused, console)
    if again:
        _say(console, f"{counted(opened.replaced, 'unit')} moved to {opened.folder}/replaced, to be done anew")


def print_reused(found: Reused, console: Console) -> None:
    """Print how many units were taken from other folders, and which were left."""
    fits = sum(unit.kind == "fit" for unit in found.taken)
    _say(console, f"{counted(len(found.taken), 'unit')} taken from other folders, {counted(fits, 'fit')} among them")
    _say_several(console, f"not taken, {_OTHER_WEIGHTS}", _labels(found.other_weights))
    _say_several(console, "not taken, since damaged", map(str, found.damaged))


def print_merged(found: Merged, console: Console) -> None:
    """Print what came from where, and how the folders differ."""
    for path, count in found.taken.items():
        _say(console, f"{path}: {counted(count, 'unit')} taken")
    for note in found.notes:
        _say(console, note, "yellow")
    if found.failures:
        _say(console, f"{counted(found.failures, 'unit')} failed, and done in no folder", "yellow")
    text = "with other weights or scores in another folder; the first is kept"
    _say_several(console, text, _labels(found.differing))
    _say_several(console, f"not taken, {_OTHER_WEIGHTS}", _labels(found.other_weights))
    _say_several(console, "not taken, since damaged", map(str, found.damaged))


def print_removed(found: Removed, console: Console) -> None:
    """Print what was removed."""
    kept = f"; {counted(found.kept, 'unit')} kept, which others need" if found.kept else ""
    _say(console, f"removed {listing(found.rows)}: {counted(found.units, 'unit')}{kept}")


def print_weights(found: Sequence[StoredWeights], as_json: bool) -> None:
    """Print where networks are: a line each, or JSON."""
    if as_json:
        typer.echo(json.dumps([asdict(one) for one in found], indent=1, default=str))
        return
    for one in found:
        seed = f"{one.seed} {one.split}" if one.split else str(one.seed)
        typer.echo("\t".join((one.dataset, seed, str(one.weights), str(one.history), one.entrant)))
    if not found:
        typer.echo("none is finished", err=True)


def _labels(units: Iterable[Unit]) -> list[str]:
    return [unit.label for unit in units]


def _say_several(console: Console, what: str, names: Iterable[str]) -> None:
    listed = list(names)
    if not listed:
        return
    _say(console, f"{len(listed)} {what}:", "yellow")
    for name in listed[:_SHOWN]:
        _say(console, f"  {name}", "yellow")
    if len(listed) > _SHOWN:
        _say(console, f"  and {len(listed) - _SHOWN} more", "yellow")


def _say(console: Console, text: str, style: str | None = None) -> None:
    # Labels have brackets, and paths are for copying.
    console.print(text, style=style, markup=False, highlight=False, soft_wrap=True)
