"""Printing of ``verify``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console

from gahbench._util.readable import counted

if TYPE_CHECKING:
    from gahbench.runs.verification import Verification


def print_verification(found: Verification, console: Console) -> None:
    """Print a line for each score that was computed again, and what is damaged."""

    def say(text: str, style: str | None = None) -> None:
        # Labels have brackets, and paths are for copying.
        console.print(text, style=style, markup=False, highlight=False, soft_wrap=True)

    for one in found.rescored:
        detail = f": {one.detail}" if one.detail else ""
        say(f"{one.ending:<9}  {one.unit.label}{detail}", None if one.repeats else "red")
    for text in found.damaged:
        say(f"damaged    {text}", "red")
    repeating = sum(one.repeats for one in found.rescored)
    say(
        f"{repeating} of {counted(len(found.rescored), 'score')} repeat; the files of "
        f"{found.checked - len(found.damaged)} of {counted(found.checked, 'unit')} are as they were written"
    )
