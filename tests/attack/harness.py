"""What a campaign is: cases, and what is tried with each."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hypothesis.strategies import SearchStrategy

from gahbench._util.errors import GahbenchError


@contextlib.contextmanager
def accepted() -> Iterator[None]:
    """Let a case be refused by a :class:`GahbenchError`."""
    with contextlib.suppress(GahbenchError):
        yield


def nothing() -> None:
    """Prepare nothing."""


@dataclass(frozen=True)
class Campaign:
    """Cases, and what is tried with each.

    Parameters
    ----------
    name
        Its name in tables.
    strategy
        Draws a case.
    attempt
        Called with a case and an empty folder of its own; returns if all is well, or raises.
    prepare
        Called once before the first case.
    """

    name: str
    strategy: SearchStrategy[Any]
    attempt: Callable[[Any, Path], None]
    prepare: Callable[[], None] = nothing
