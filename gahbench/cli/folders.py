"""Commands on results folders: ``status why weights verify``."""

from __future__ import annotations

import math
import shlex
from typing import Annotated, Any

import typer

from gahbench._util.errors import listing
from gahbench._util.readable import format_duration, pluralize, printable
from gahbench.cli import options
from gahbench.cli.printing import say

#: Maximum number of failed units that are printed.
_MAX_FAILURES = 20


def status(folder: options.Planned) -> None:
    """Show the finished, running and failed units of a results folder, and the estimated time left."""
    from gahbench.runs.status import status as read_status

    state = read_status(folder)
    total = state.done + state.failed + state.blocked + state.waiting
    if state.is_published:
        note = "which are not in this folder; 'gahbench leaderboard' prints it"
        say(f"suite {state.suite}: a board of {total} units, {note}")
        return
    say(f"suite {state.suite}: {state.done} of {total} units done, {state.failed} failed")
    if state.blocked:
        say(f"{state.blocked} units wait for failed units")
    if state.waiting and state.remaining is not None:
        rows = f"{len(state.running)} rows" if len(state.running) > 1 else "one row"
        say(f"about {format_duration(state.remaining)} left with {rows} at a time, estimated from finished units")
    if state.running:
        say("\nstarted, and not ended")
    for label, report in state.running.items():
        steps = f", step {report['step']}" if "step" in report else ""
        place = f"on {report['host']}, process {report['process']}"
        times = f"for {format_duration(report['seconds'])}, last report {format_duration(report['silent'])} ago"
        say(f"  {label}: {place}, {times}{steps}")
    if state.failed:
        say(f"\n'gahbench why {shlex.quote(str(folder))}' prints why units failed")


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
        lines = [*failure.units[:_MAX_FAILURES]]
        if len(failure.units) > _MAX_FAILURES:
            lines.append(f"and {len(failure.units) - _MAX_FAILURES} more")
        if failure.blocked:
            lines.append(f"{pluralize(failure.blocked, 'score')} not started, since the network is missing")
        lines += ["", *(f"  {line}" for line in failure.traceback.splitlines())]
        if printable(failure.error) not in printable(" ".join(failure.traceback.split())):
            # If the process of the row died, there is an error without a traceback.
            lines.append(f"  {failure.error}")
        for line in (*lines, ""):
            say(printable(line, "\t"))
    if not distinct_failures:
        say(f"no unit{f' of {listing(entrant)}' if entrant else ''} has failed")


def weights(
    folder: options.Planned,
    entrant: Annotated[
        str, typer.Option("--entrant", "-e", help="Entrants of this label, name or pattern, such as unet*.")
    ],
) -> None:
    """Print the files of trained networks, tab-separated: dataset, seed, weights, history and entrant."""
    from gahbench.runs.status import weights as trained_weights

    networks = trained_weights(folder, entrant)
    for network in networks:
        seed = f"{network.seed} {network.split}" if network.split else str(network.seed)
        typer.echo("\t".join((network.dataset, seed, str(network.weights), str(network.history), network.entrant)))
    if not networks:
        typer.echo("no network is finished", err=True)


@options.parameters_of("gahbench.runs.verification:verify")
def verify(**arguments: Any) -> None:
    """Check the files of a results folder, and compute a random sample of its scores and fits again.

    Each comparison has one tolerance, which the table states. The rows of the sample are also scored under other noise
    and, for generated families, on new images. The folder is not changed. The plugins of the folder are code, and are
    executed.

    Exit status: 0 all results reproduced, 1 some not reproduced or not computable here, 2 bad input, 130 interrupted.
    """
    from gahbench.runs.verification import REPRODUCED
    from gahbench.runs.verification import verify as verify_folder
    from gahbench.store.store import open_folder

    with open_folder(arguments.pop("folder")) as source:
        table = verify_folder(source, **arguments)
    for unit, check, stored, computed, tolerance, verdict in table.to_numpy():
        numbers = f"{stored:.6g} stored, {computed:.6g} here, tolerance {tolerance:.2g}; "
        text = f"{unit}: {check}: {'' if math.isnan(tolerance) else numbers}{verdict}"
        say(text, None if verdict == REPRODUCED else "red")
    reproduced = int((table["verdict"] == REPRODUCED).sum())
    say(f"{reproduced} of {pluralize(len(table), 'comparison')} reproduced")
    if reproduced < len(table):
        raise typer.Exit(1)
