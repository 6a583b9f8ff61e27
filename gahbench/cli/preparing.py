"""Printing what a suite misses on this machine, and getting it."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

if TYPE_CHECKING:
    from gahbench.runs.preparation import Missing, Prepared


def print_missing(
    missing: Missing,
    suite: str,
    entrants: Sequence[str],
    plugins: Sequence[Path],
    settings: Sequence[str],
    console: Console,
) -> None:
    """Print a line for each thing that is missing, with the command that gets it."""
    named = {"-p": map(str, plugins), "-e": entrants, "--set": settings}
    options = [part for option, values in named.items() for value in values for part in (option, value)]
    command = shlex.join(["gahbench", "prepare", suite, *options])
    for plugin, what in missing.things:
        _say(console, f"missing here: {plugin}: {what}; '{command}' gets it", "yellow")


def print_preparation(
    suite: str, entrants: Sequence[str], plugins: Sequence[Path], settings: Sequence[str], console: Console
) -> bool:
    """Get what a suite needs, and print of each plugin what came of it.

    Returns
    -------
    bool
        Whether all is here now.
    """
    from gahbench.runs.preparation import prepare

    prepared = prepare(
        suite, entrants=entrants, settings=settings, plugins=plugins, report=lambda one: _print_one(one, console)
    )
    failed = sum(one.error is not None for one in prepared)
    if failed:
        _say(console, f"suite {suite}: {failed} of {len(prepared)} could not be had", "red")
    elif prepared:
        _say(console, f"suite {suite}: all that it needs is here")
    else:
        _say(console, f"suite {suite}: needs nothing from elsewhere")
    return not failed


def _print_one(one: Prepared, console: Console) -> None:
    for text in one.got:
        _say(console, f"{one.plugin}: got {text}")
    if one.error is not None:
        _say(console, f"{one.plugin}: could not be had: {one.error}", "red")
    elif not one.got:
        _say(console, f"{one.plugin}: here already")


def _say(console: Console, text: str, style: str | None = None) -> None:
    # Labels have brackets, and paths are for copying: neither marked up nor broken.
    console.print(text, style=style, markup=False, highlight=False, soft_wrap=True)
