"""Engines, which run units, and their jobs."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from gahbench._util.errors import ParameterError, listing
from gahbench._util.origins import origin_name
from gahbench.contracts.unit import Unit
from gahbench.devices.hardware import KINDS

if TYPE_CHECKING:
    from gahbench.registry.registry import Registry
    from gahbench.store.store import Store


class Limits(BaseModel):
    """Time limits in seconds, after which a unit is ended and has failed; not part of any key.

    Parameters
    ----------
    unit
        For a unit, a fit or a score; ``None`` for no limit.
    construction
        For importing the files of plugins from outside gahbench, and for each call of their constructors.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    unit: Annotated[float, Field(gt=0)] | None = None
    construction: Annotated[float, Field(gt=0)] = 60.0


EventKind = Literal["started", "progress", "finished", "failed", "stopped", "note"]


@dataclass(frozen=True)
class Event:
    """An event in the life of a unit.

    Parameters
    ----------
    kind
        ``started``, ``progress``, ``finished``, ``failed``, ``stopped`` (another process, or a later run, must finish
        the unit), or ``note`` (a message for the user).
    unit
        The unit; ``None`` for a note about the whole run.
    details
        For ``progress``: the fields of :class:`gahbench.training.trainer.Progress`; for ``finished``: ``seconds``; for
        ``failed``: ``error`` and ``traceback``; for ``note``: ``text``.
    """

    kind: EventKind
    unit: Unit | None
    details: dict[str, Any] = field(default_factory=dict)


@dataclass
class Job:
    """Units for an engine to run.

    Parameters
    ----------
    units
        The units to run, each after the units whose keys it ``needs`` (which are among them, or finished already).
        Other processes may work on the same units: the process that has claimed a unit runs it.
    store
        The store of finished units.
    registry
        The registry of plugins that run in this process.
    report
        Function to call with every event, from one thread.
    stop
        Set when the run is to end: running units write a checkpoint and stop.
    threads
        Threads of each worker, which the plan fixes: rounding depends on them.
    workers
        Number of workers; ``None`` for a sensible number.
    device
        Device of networks: ``cpu``, ``cuda``, or ``auto`` for GPUs if there are any.
    planned_here
        Whether the units were planned with the code that runs here; if not, units of other code are skipped.
    files
        Plugin files, for worker processes.
    limits
        Time limits of units in worker processes.

    Raises
    ------
    ParameterError
        If there is no such device.
    """

    units: Sequence[Unit]
    store: Store
    registry: Registry
    report: Callable[[Event], None]
    stop: threading.Event
    threads: int
    workers: int | None = None
    device: str = "auto"
    planned_here: bool = True
    files: Sequence[Path] = ()
    limits: Limits = field(default_factory=Limits)

    @property
    def outside(self) -> tuple[str, ...]:
        """The names of the plugin files and packages outside gahbench that its units use, sorted."""
        return tuple(sorted({origin_name(origin) for unit in self.units for origin in unit.origins}))

    def __post_init__(self) -> None:
        check_device(self.device)


def check_device(name: str) -> str:
    """Return the name of a device; raise ``ParameterError`` if it is unknown."""
    if name not in (accepted := ("auto", *sorted(KINDS))):
        raise ParameterError(f"device '{name}' is not accepted; accepted are {listing(accepted)}")
    return name


class Engine(ABC):
    """A way to run work units."""

    #: Parameters that labels always show, default or not.
    label_parameters: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def run(self, job: Job) -> None:
        """Run the units of a job in the order of their needs, and report events as they come.

        The run does not rely on these events: afterwards it reads the state of every unit from the store.
        """
