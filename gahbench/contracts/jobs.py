"""Jobs of engines: units to run, where to store them, and a callback for events."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from gahbench.contracts.unit import Unit

if TYPE_CHECKING:
    from gahbench.registry.registry import Registry
    from gahbench.store.store import Store

EventKind = Literal["started", "progress", "finished", "failed", "note"]


@dataclass(frozen=True)
class Event:
    """Something that happened to a unit.

    Parameters
    ----------
    kind
        ``started``, ``progress``, ``finished``, ``failed``, or ``note`` (a message for the user).
    unit
        The unit.
    details
        For ``progress``: the fields of :class:`gahbench.training.trainer.Progress`; for ``finished``: ``seconds``; for
        ``failed``: ``error`` and ``traceback``; for ``note``: ``text``.
    """

    kind: EventKind
    unit: Unit
    details: dict[str, Any] = field(default_factory=dict)


@dataclass
class Job:
    """Units for an engine to run.

    Parameters
    ----------
    units
        Those to run, each after the units whose keys it ``needs`` (which are among them, or done already).
    store
        Where finished units are.
    registry
        Where plugins are looked up.
    report
        To be called with every event, from one thread.
    stop
        Set when the run is to end: units in flight write a checkpoint and stop.
    planned_fits
        Fits of the suite, done or not, but for entrants that were added to it: threads are shared out by it, so that a
        run that resumes computes with as many threads as the one that was cut off, and rounds alike.
    workers
        How many to use; ``None`` for as many as make sense.
    """

    units: Sequence[Unit]
    store: Store
    registry: Registry
    report: Callable[[Event], None]
    stop: threading.Event
    planned_fits: int
    workers: int | None = None
