"""Printing the outcome of an adoption."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from gahbench import api
from gahbench._util.readable import counted

_SHOWN = 12


def print_superseded(count: int, folder: Path, plugins: Sequence[Path], console: Console) -> None:
    """Say, before they are done again, that some units were done with other code or settings."""
    if count:
        options = [part for plugin in plugins for part in ("-p", str(plugin))]
        command = shlex.join(["gahbench", "adopt", str(folder), *options])
        text = (
            f"{counted(count, 'unit')} in {folder} {'was' if count == 1 else 'were'} done with other code or settings, "
            "to be done again; "
            f"'{command}' accepts those in which nothing but code differs"
        )
        console.print(text, style="yellow", markup=False, highlight=False, soft_wrap=True)


def print_adoption(folder: Path, plugins: Sequence[Path], console: Console) -> bool:
    """Adopt the units of a results folder, and print which were accepted and which were not.

    Returns
    -------
    bool
        Whether no unit was left because more than its code differs.
    """

    def say(text: str) -> None:
        console.print(text, markup=False, highlight=False, soft_wrap=True)

    found = api.adopt(folder, plugins=plugins)
    adopted = counted(len(found.adopted), "unit")
    say(f"{adopted} adopted, {found.current} of today's code already, {len(found.refused)} left")
    if found.superseded:
        say(f"{found.superseded} units of earlier code were done again later, and stay as they are")
    for place, count in Counter(place for one in found.adopted for place in one.differs).most_common():
        say(f"  differs in {place}: {counted(count, 'unit')}")
    for label, why in found.refused[:_SHOWN]:
        say(f"  left: {label}: {why}")
    if len(found.refused) > _SHOWN:
        say(f"  and {len(found.refused) - _SHOWN} more")
    if found.adopted:
        say("the next run of the suite in this folder takes them as done, and its board says that they were adopted")
    return not found.refused
