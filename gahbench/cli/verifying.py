"""Printing of ``verify``."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import typer
from rich.console import Console

from gahbench._util.readable import counted

if TYPE_CHECKING:
    from gahbench.runs.agreement import Repetition
    from gahbench.runs.verification import Verification


def print_verification(found: Verification, console: Console, as_json: bool) -> None:
    """Print a line for each unit that was computed again, and what is damaged; or all of it as JSON."""

    def say(text: str, style: str | None = None) -> None:
        # Labels have brackets, and paths are for copying.
        console.print(text, style=style, markup=False, highlight=False, soft_wrap=True)

    if as_json:
        typer.echo(json.dumps(_as_json(found), indent=1))
        return
    for one in (*found.rescored, *found.refitted):
        detail = f": {one.detail}" if one.detail else ""
        say(f"{one.ending:<9}  {one.unit.label}{detail}", None if one.repeats else "red")
    for text in found.damaged:
        say(f"damaged    {text}", "red")
    if found.sample.trained:
        say(_about_fits(found))
    repeating = sum(one.repeats for one in found.rescored)
    say(
        f"{repeating} of {counted(len(found.rescored), 'score')} repeat; the files of "
        f"{found.checked - len(found.damaged)} of {counted(found.checked, 'unit')} are as they were written"
    )


def _about_fits(found: Verification) -> str:
    """Return how many fits repeat, and the chance that a forged one is among those that were trained again."""
    among, trained = found.sample.among, found.sample.trained
    left = f"; {trained - among} could not be chosen (ten minutes or more, or no PSNR)" if among < trained else ""
    if not found.refitted:
        return f"none of {counted(trained, 'fit')} was trained again{left}"
    repeating, count = sum(one.repeats for one in found.refitted), len(found.refitted)
    verb = "repeats" if count == 1 else "repeat"
    return (
        f"{repeating} of {counted(count, 'fit')} {verb}; a single forged fit would be among them with a chance "
        f"of {count} in {among}{left}"
    )


def _as_json(found: Verification) -> dict[str, object]:
    def listed(units: tuple[Repetition, ...]) -> list[dict[str, str]]:
        return [{"unit": one.unit.label, "ending": one.ending, "detail": one.detail} for one in units]

    return {
        "repeats": found.repeats,
        "stopped": found.stopped,
        "checked": found.checked,
        "damaged": list(found.damaged),
        "scores": listed(found.rescored),
        "fits": listed(found.refitted),
        "chance": found.chance,
    }
