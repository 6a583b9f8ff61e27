"""Engines, which run rows of units, and their jobs."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar, Protocol

from pydantic import BaseModel, ConfigDict, Field

from gahbench._util.errors import ParameterError, listing
from gahbench.contracts.unit import Unit


class Limits(BaseModel):
    """Time limits in seconds. Keys do not depend on the limits.

    Parameters
    ----------
    unit
        The limit for a unit, which then fails; ``None`` for no limit.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    unit: Annotated[float, Field(gt=0)] | None = None


@dataclass(frozen=True)
class Row:
    """Units that run one after the other in one process: those of a dataset, an entrant and a seed.

    Up to six built-in references of a dataset share a row, so that its images are made once.

    Parameters
    ----------
    folder
        Path of the results folder, into which finished units and failures are written.
    units
        The units; each follows the fits that it needs, unless these are finished.
    plugins
        Plugin files that the units need.
    threads
        Number of threads, on which rounding depends.
    device
        Device of networks: ``cpu``, ``cuda``, or ``auto`` to use a GPU if available.
    limits
        Time limits of the suite.
    """

    folder: Path
    units: tuple[Unit, ...]
    plugins: tuple[Path, ...] = ()
    threads: int = 1
    device: str = "auto"
    limits: Limits = field(default_factory=Limits)

    def __post_init__(self) -> None:
        check_device(self.device)

    def __str__(self) -> str:
        return self.units[0].row


def check_device(name: str) -> str:
    """Return ``name``; raise ``ParameterError`` if it is not the name of a device."""
    from gahbench.devices.hardware import KINDS  # This imports torch, which takes seconds.

    if name not in (accepted := ("auto", *sorted(KINDS))):
        raise ParameterError(f"device '{name}' is not accepted; accepted: {listing(accepted)}")
    return name


class Job(Protocol):
    """A row that an engine runs; futures of ``concurrent.futures`` and of Dask, and jobs of submitit, are jobs."""

    def done(self) -> bool:
        """Return whether the job has ended, in any way."""

    def exception(self) -> BaseException | None:
        """Return the error that ended the job, or ``None``; called once the job is done."""

    def cancel(self) -> Any:
        """Ask the job to end: a row that has not started is dropped, and a running fit writes a checkpoint."""


class Engine(ABC):
    """A way to run rows of units.

    Which units are done is read from the results folder, so an engine need not return results. A row whose job ends
    early is submitted again.

    Examples
    --------
    >>> from concurrent.futures import ThreadPoolExecutor
    >>> import gahbench
    >>> class Thread(gahbench.Engine):
    ...     # Runs rows one after the other in a thread of this process.
    ...     def start(self, row, workers, stop):
    ...         super().start(row, workers, stop)
    ...         self.pool = ThreadPoolExecutor(1)
    ...     def submit(self, function, row):
    ...         return self.pool.submit(function, row, self.stop)
    ...     def close(self):
    ...         self.pool.shutdown(cancel_futures=True)
    """

    #: Parameters that labels always show, default or not.
    label_parameters: ClassVar[tuple[str, ...]] = ()
    #: Whether rows run on other machines, which load plugin files from the results folder.
    remote: ClassVar[bool] = False
    #: Whether the run ends once its rows are submitted, and leaves them to a scheduler.
    detach: bool = False
    #: Maximum number of jobs, into which rows are packed after ``start``; ``None`` for one job per row.
    jobs: int | None = None

    def start(self, row: Row, workers: int | None, stop: threading.Event) -> None:
        """Prepare for a run; raise :class:`gahbench.GahbenchError` if the engine cannot run here.

        Parameters
        ----------
        row
            All units that will be submitted, with the settings of their rows.
        workers
            Number of rows that run at the same time, at least 1; ``None`` for the engine's default.
        stop
            Event that is set when the run is to end, kept as the attribute ``stop``. A row in this process may be
            passed it, as ``function(row, self.stop)``.
        """
        self.stop = stop

    def earlier(self) -> Sequence[tuple[Row, Job]]:
        """Return jobs of an earlier run of this folder that are still alive; by default there are none."""
        return ()

    @abstractmethod
    def submit(self, function: Callable[..., None], row: Row) -> Job:
        """Start ``function(row)`` in a process that may use the results folder, now or when resources are free."""

    def close(self) -> None:
        """End all jobs at once, and release resources; called at the end of a run that has started."""
