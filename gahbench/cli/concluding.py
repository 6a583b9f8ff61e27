"""The end of ``run``: where the board is, and what it does not show."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

import typer
from rich.console import Console

from gahbench._util.errors import listing
from gahbench._util.readable import counted
from gahbench.board.results import saved_beyond_optimum, saved_marks
from gahbench.cli.working import why_command

if TYPE_CHECKING:
    from gahbench.runs.runner import Outcome
    from gahbench.store.folder import Opened


def conclude(outcome: Outcome, console: Console) -> None:
    """Print where the board is, and exit with the status of the outcome."""

    def report(text: str, style: str | None = None) -> None:
        # Labels have brackets, and paths are for copying: neither marked up nor broken.
        console.print(text, style=style, markup=False, highlight=False, soft_wrap=True)

    if outcome.done:
        report(f"board, scores and figures: {outcome.folder}")
    beyond = saved_beyond_optimum(outcome.folder)
    if beyond:
        places = ", ".join(dict.fromkeys(f"{one['entrant']} on {one['dataset']}" for one in beyond))
        report(f"better than the optimum, which is impossible: {places}; that entrant or the optimum is wrong", "red")
    for one in saved_marks(outcome.folder):
        report(f"flagged: {one['entrant']} on {one['dataset']}: {one['mark']}", "red")
    print_not_shown(outcome, console)
    if outcome.stopped:
        report(f"stopped with {counted(outcome.waiting, 'unit')} to do; the same command goes on from here", "yellow")
        raise typer.Exit(130)
    if outcome.waiting:
        # They were left to others.
        left = counted(outcome.waiting, "unit")
        folder = shlex.quote(str(outcome.folder))
        report(f"{left} to do: 'gahbench status {folder}' shows them, 'gahbench collect' then writes the board")
    if outcome.failed:
        scores = outcome.failed - outcome.blocked - outcome.failed_fits
        kinds = [counted(number, kind) for number, kind in ((outcome.failed_fits, "fit"), (scores, "score")) if number]
        blocked = f"; {counted(outcome.blocked, 'score')} not started for lack of a network" if outcome.blocked else ""
        failed = " and ".join(kinds)
        report(f"{failed} failed{blocked}; '{why_command(outcome.folder)}' prints the tracebacks", "red")
        raise typer.Exit(1)
    if outcome.waiting:
        raise typer.Exit(130)


def print_not_shown(found: Outcome | Opened, console: Console) -> None:
    """Print what a board does not show of what its folder holds, and how to have it back, a line for each reason."""
    again = "add them again with --entrant, or 'gahbench remove' them"
    for names, text in (
        (found.unfinished, f"added by an earlier run, and not finished: %s; {again}"),
        (found.left_out, f"not shown, since measured otherwise before: %s; {again}"),
        (found.outdated, f"not shown, since measured with earlier code: %s; {again}"),
        (
            found.stale,
            "not shown, since done with other code or settings: %s; a run of the whole suite does them again",
        ),
        (found.dropped, "no longer shown, since not in the suite: %s; put back into the suite, nothing is done again"),
    ):
        if names:
            console.print(text % listing(names), style="yellow", markup=False, highlight=False, soft_wrap=True)
