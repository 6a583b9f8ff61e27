"""Printing of ``work``, ``status`` and ``why``."""

from __future__ import annotations

import shlex
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from gahbench._util.errors import listing
from gahbench._util.readable import counted, duration

if TYPE_CHECKING:
    from gahbench.contracts.jobs import Event
    from gahbench.runs.status import Failure, Status

#: Failures that are printed with their reason.
_SHOWN = 20


class WorkReport:
    """Prints a line for each unit that begins, ends or fails, as a log of a job wants it.

    Parameters
    ----------
    console
        The console to print on.
    """

    def __init__(self, console: Console) -> None:
        self._console = console

    def __call__(self, event: Event) -> None:
        """Print an event."""
        if event.kind != "progress":
            label = f"{event.unit.label}: " if event.unit is not None else ""
            line = f"{time.strftime('%Y-%m-%d %H:%M:%S')} {label}{_said(event)}"
            self._console.print(line, markup=False, highlight=False, soft_wrap=True)


def _said(event: Event) -> str:
    if event.kind == "finished":
        return f"done in {duration(event.details['seconds'])}"
    if event.kind == "failed":
        return f"failed: {event.details['error']}"
    return str(event.details["text"]) if event.kind == "note" else event.kind


def print_status(folder: Path, watch: bool, console: Console) -> None:
    """Print the state of a results folder, once or until nothing is left."""
    from gahbench.runs.status import status
    from gahbench.runs.status import watch as watched

    for found in watched(folder) if watch else (status(folder),):
        if watch and console.is_terminal:
            console.clear()
        for line in _lines(found, folder):
            console.print(line, markup=False, highlight=False, soft_wrap=True)


def _lines(found: Status, folder: Path) -> Iterator[str]:
    total = found.done + found.failed + found.blocked + found.waiting
    if found.is_board_alone:
        where = "which are not in this folder; 'gahbench leaderboard' prints it"
        yield f"suite {found.suite}: a board of {total} units, {where}"
        return
    active = [one for one in found.running if not one.is_lost]
    lost = [one for one in found.running if one.is_lost]
    yield f"suite {found.suite}: {found.done} of {total} units done, {len(active)} running, {found.failed} failed"
    if found.noise:
        yield found.noise
    if found.damaged:
        yield f"{counted(found.damaged, 'unit')} moved to damaged/ before, not as they were written"
    if found.blocked:
        yield f"{found.blocked} units wait for one that failed"
    if found.waiting and found.remaining is not None:
        workers = f"{len(active)} workers" if len(active) > 1 else "one worker"
        yield f"about {duration(found.remaining)} left with {workers}, by the time that units took so far"
    for title, units in (("running", active), ("lost, to be taken over", lost)):
        if not units:
            continue
        yield ""
        yield title
        for one in units:
            job = f", job {one.job}" if one.job else ""
            losses = f", lost {one.losses} times before" if one.losses else ""
            where = f"{one.host}, process {one.process}{job}"
            yield f"  {one.unit.label}: since {duration(one.seconds)} on {where}{losses}"
    if found.failures:
        yield ""
        yield "failed"
        for label, why in found.failures[:_SHOWN]:
            yield f"  {label}: {why}"
        if len(found.failures) > _SHOWN:
            yield f"  and {len(found.failures) - _SHOWN} more"
        yield f"'{why_command(folder)}' prints the tracebacks"


def why_command(folder: Path) -> str:
    """Return the command that prints why units of a results folder failed."""
    return f"gahbench why {shlex.quote(str(folder))}"


def print_failures(folder: Path, entrants: Sequence[str], full: bool, console: Console) -> None:
    """Print why units of a results folder failed, each traceback once."""
    from gahbench._util.error_text import printable
    from gahbench.runs.status import failures

    found = failures(folder, entrants, full)
    for one in found:
        for line in _failure_lines(one):
            console.print(printable(line), markup=False, highlight=False, soft_wrap=True)
    if not found:
        console.print(f"no unit{f' of {listing(entrants)}' if entrants else ''} has failed", markup=False)


def _failure_lines(failure: Failure) -> Iterator[str]:
    yield from failure.units[:_SHOWN]
    if len(failure.units) > _SHOWN:
        yield f"and {len(failure.units) - _SHOWN} more"
    if failure.blocked:
        yield f"{counted(failure.blocked, 'score')} not started for lack of a network"
    yield ""
    yield from (f"  {line}" for line in failure.traceback.splitlines())
    if " ".join(failure.error.split()) not in " ".join(failure.traceback.split()):
        # The worker process died, or the error has no traceback.
        yield f"  {failure.error}"
    yield ""
