"""Commands on results folders: ``status why weights verify``."""

from __future__ import annotations

import json
import math
import shlex
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from gahbench._util.errors import listing
from gahbench._util.readable import format_duration, pluralize, printable
from gahbench.cli import options
from gahbench.cli.printing import say

if TYPE_CHECKING:
    from gahbench.runs.status import Failure, Status

#: Maximum number of failed units that are printed.
_MAX_FAILURES = 20


def status(
    folder: options.Planned,
    watch: Annotated[bool, typer.Option("--watch", help="Refresh every two seconds until no unit is left.")] = False,
) -> None:
    """Show the finished, running and failed units of a results folder, and the estimated time left."""
    from gahbench.runs.status import status as read_status

    console = Console()
    while True:
        snapshot = read_status(folder)
        if watch and console.is_terminal:
            console.clear()
        for line in _status_lines(snapshot, folder):
            say(line)
        if not watch or not snapshot.waiting or snapshot.is_published:
            return
        time.sleep(2.0)


def _status_lines(status: Status, folder: Path) -> Iterator[str]:
    total = status.done + status.failed + status.blocked + status.waiting
    if status.is_published:
        note = "which are not in this folder; 'gahbench leaderboard' prints it"
        yield f"suite {status.suite}: a board of {total} units, {note}"
        return
    yield f"suite {status.suite}: {status.done} of {total} units done, {status.failed} failed"
    if status.blocked:
        yield f"{status.blocked} units wait for failed units"
    if status.waiting and status.remaining is not None:
        rows = f"{len(status.running)} rows" if len(status.running) > 1 else "one row"
        yield f"about {format_duration(status.remaining)} left with {rows} at a time, estimated from finished units"
    if status.running:
        yield ""
        yield "started, and not ended"
    for label, report in status.running.items():
        steps = f", step {report['step']}" if "step" in report else ""
        place = f"on {report['host']}, process {report['process']}"
        times = f"for {format_duration(report['seconds'])}, last report {format_duration(report['silent'])} ago"
        yield f"  {label}: {place}, {times}{steps}"
    if status.failed:
        yield ""
        yield f"'gahbench why {shlex.quote(str(folder))}' prints why units failed"


def why(
    folder: options.Planned,
    entrant: Annotated[
        list[str] | None,
        typer.Argument(help="Show only entrants of this label, name or pattern. [default: all that failed]"),
    ] = None,
    full: Annotated[
        bool, typer.Option("--full", help="Also show stack frames of gahbench, installed packages and Python.")
    ] = False,
) -> None:
    """Print why units of a results folder failed: each distinct traceback once, ending at your own code."""
    from gahbench.runs.status import failures

    distinct_failures = failures(folder, entrant or (), full)
    for failure in distinct_failures:
        for line in _failure_lines(failure):
            say(printable(line, "\t"))
    if not distinct_failures:
        say(f"no unit{f' of {listing(entrant)}' if entrant else ''} has failed")


def _failure_lines(failure: Failure) -> Iterator[str]:
    yield from failure.units[:_MAX_FAILURES]
    if len(failure.units) > _MAX_FAILURES:
        yield f"and {len(failure.units) - _MAX_FAILURES} more"
    if failure.blocked:
        yield f"{pluralize(failure.blocked, 'score')} not started, since the network is missing"
    yield ""
    yield from (f"  {line}" for line in failure.traceback.splitlines())
    if printable(failure.error) not in printable(" ".join(failure.traceback.split())):
        # If the process of the row died, there is an error without a traceback.
        yield f"  {failure.error}"
    yield ""


def weights(
    folder: options.Planned,
    entrant: Annotated[
        str, typer.Option("--entrant", "-e", help="Entrants of this label, name or pattern, such as unet*.")
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, including snapshots.")] = False,
) -> None:
    """Print the files of trained networks, tab-separated: dataset, seed, weights, history and entrant."""
    from gahbench.runs.status import weights as trained_weights

    networks = trained_weights(folder, entrant)
    if as_json:
        typer.echo(json.dumps([asdict(network) for network in networks], indent=1, default=str))
        return
    for network in networks:
        seed = f"{network.seed} {network.split}" if network.split else str(network.seed)
        typer.echo("\t".join((network.dataset, seed, str(network.weights), str(network.history), network.entrant)))
    if not networks:
        typer.echo("no network is finished", err=True)


def verify(
    folder: Annotated[Path, typer.Argument(help="A results folder with its units, or an archive of one.")],
    units: options.Units = 10,
    fits: options.Fits = None,
    seed: options.SampleSeed = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Check the files of a results folder, and compute a random sample of its scores and fits again.

    Each comparison has one tolerance, which the table states. The rows of the sample are also scored under other noise
    and, for generated families, on new images. The folder is not changed. The plugins of the folder are code, and are
    executed.

    Exit status: 0 all results reproduced, 1 some not reproduced or not computable here, 2 bad input, 130 interrupted.
    """
    from gahbench.runs.verification import REPRODUCED
    from gahbench.runs.verification import verify as verify_folder
    from gahbench.store.store import open_folder

    with open_folder(folder) as source:
        table = verify_folder(source, units=units, fits=fits, seed=seed)
    reproduced = int((table["verdict"] == REPRODUCED).sum())
    if as_json:
        typer.echo(table.to_json(orient="records", indent=1))
    else:
        for unit, check, stored, computed, tolerance, verdict in table.to_numpy():
            numbers = f"{stored:.6g} stored, {computed:.6g} here, tolerance {tolerance:.2g}; "
            text = f"{unit}: {check}: {'' if math.isnan(tolerance) else numbers}{verdict}"
            say(text, None if verdict == REPRODUCED else "red")
        say(f"{reproduced} of {pluralize(len(table), 'comparison')} reproduced")
    if reproduced < len(table):
        raise typer.Exit(1)
