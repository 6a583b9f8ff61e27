"""Engines, which run units of work, and their jobs."""

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
    """Time limits in seconds, after which a unit fails. Keys do not depend on the limits.

    Parameters
    ----------
    unit
        The limit for a unit; ``None`` for no limit.
    construction
        The limit for each import of an external plugin, and for each call of its constructor.
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
        ``started``, ``progress``, ``finished``, ``failed``, ``stopped`` (the unit remains for another process or a
        later run), or ``note`` (a message for the user).
    unit
        The unit; ``None`` for a note about the whole run.
    details
        For ``progress``: the fields of :class:`gahbench.training.trainer.Progress`; for ``finished``: ``seconds``; for
        ``failed``: ``error`` and ``traceback``; for ``note``: ``text``.

    Examples
    --------
    >>> import gahbench
    >>> gahbench.Event("note", None, {"text": "submitted 4 jobs"}).details["text"]
    'submitted 4 jobs'
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
        The units to run, sorted so that each unit follows the units whose keys it ``needs``, unless these are
        finished. Other processes may work on the same units; the process that has claimed a unit runs it.
    store
        The store of finished units.
    registry
        The registry of plugins that run in this process.
    report
        Function to call with every event, from one thread.
    stop
        Event that ends the run when it is set: running units write a checkpoint and stop.
    threads
        Number of threads of each worker. The plan fixes it, because rounding depends on it.
    workers
        Number of workers; ``None`` for the engine's default.
    device
        Device of networks: ``cpu``, ``cuda``, or ``auto`` to use GPUs if available.
    planned_here
        Whether the units were planned with the code of this process; if not, units of different code are skipped.
    files
        Plugin files that worker processes load.
    limits
        Time limits in worker processes.

    Raises
    ------
    ParameterError
        If the device is unknown.

    Examples
    --------
    >>> import gahbench
    >>> class Listing(gahbench.Engine):
    ...     # Lists the units, and runs none.
    ...     def run(self, job):
    ...         print(", ".join(unit.label for unit in job.units))
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
        """The sorted names of the external plugin files and packages that the units use."""
        return tuple(sorted({origin_name(origin) for unit in self.units for origin in unit.origins}))

    def __post_init__(self) -> None:
        check_device(self.device)


def check_device(name: str) -> str:
    """Return ``name``; raise ``ParameterError`` if it is not the name of a device."""
    if name not in (accepted := ("auto", *sorted(KINDS))):
        raise ParameterError(f"device '{name}' is not accepted; accepted: {listing(accepted)}")
    return name


class Engine(ABC):
    """A way to run units of work.

    Examples
    --------
    >>> import gahbench
    >>> class Sequential(gahbench.Engine):
    ...     # Runs units in this process, until none can be claimed.
    ...     def run(self, job):
    ...         runner = gahbench.UnitRunner(job)
    ...         while not job.stop.is_set() and (unit := runner.next()) is not None:
    ...             runner.run(unit)
    """

    #: Parameters that labels always show, default or not.
    label_parameters: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def run(self, job: Job) -> None:
        """Run the units of a job, each after the units that it needs, and report events as they happen.

        The outcome does not rely on these events: afterwards, the state of every unit is read from the store.
        """
