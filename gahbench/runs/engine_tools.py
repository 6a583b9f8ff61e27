"""Tools for engine plugins: running units in this process, and the command that runs units on any machine."""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import Any, Literal

from gahbench._util.errors import GahbenchError
from gahbench.contracts.engines import Event, Job
from gahbench.contracts.unit import Unit
from gahbench.devices.hardware import hardware
from gahbench.registry.registry import Registry
from gahbench.runs.protocol import NOT_STORED
from gahbench.runs.queue import Queue
from gahbench.runs.worker import Worker


class UnitRunner:
    """Runs units of a job in this process, one after the other.

    Objects that the next unit may need, such as the dataset, are kept in memory.

    Parameters
    ----------
    job
        The job. Its plugin files are loaded into this process if its units use any, and finished units are written to
        its store.

    Examples
    --------
    >>> import gahbench
    >>> class Sequential(gahbench.Engine):
    ...     def run(self, job):
    ...         runner = gahbench.UnitRunner(job)
    ...         while not job.stop.is_set() and (unit := runner.next()) is not None:
    ...             runner.run(unit)
    """

    def __init__(self, job: Job) -> None:
        self._job = job
        self._unit: Unit | None = None
        self._queue = Queue(job.units, job.store)
        self._worker = Worker(
            # The registry of the job has only the plugins that the main process of the run needs.
            lambda: Registry(tuple(job.files)) if job.outside and job.files else job.registry,
            job.store,
            hardware(job.device),
            progress=lambda progress: self._report("progress", asdict(progress)),
            note=lambda text: self._report("note", {"text": text}),
            should_stop=job.stop.is_set,
        )

    def next(self) -> Unit | None:
        """Claim a unit whose ``needs`` are done, to be passed to :meth:`run`.

        Returns
        -------
        Unit or None
            ``None`` if no unit can be claimed now: all units are done or failed, or other processes are running the
            remaining units.
        """
        return self._queue.take(self._unit)

    @property
    def left(self) -> int:
        """The number of units of the job that are neither done nor failed."""
        self._queue.refresh()
        return self._queue.left

    def run(self, unit: Unit) -> Literal["finished", "failed", "stopped", "elsewhere"]:
        """Run a unit whose ``needs`` are done, and report its events to the job.

        Returns
        -------
        str
            How the unit ended: ``finished``; ``failed``, with the error recorded in the store; ``stopped``, if the job
            was stopped, so that the unit wrote a checkpoint and is still to be done; or ``elsewhere``, if another
            process is running the unit or has finished it, so that nothing was run.

        Raises
        ------
        GahbenchError
            If the device was lost, and this process cannot use it again; the unit is still to be done.
        KeyboardInterrupt
            If the user pressed Ctrl-C a second time.
        OSError
            If the results folder cannot be read or written; the unit is still to be done.
        """
        if not self._queue.claim(unit):
            return "elsewhere"
        self._unit = unit
        try:
            return self._run_claimed(unit)
        finally:
            # After any error, other processes must be able to claim the unit.
            self._queue.release(unit)

    def _run_claimed(self, unit: Unit) -> Literal["finished", "failed", "stopped"]:
        self._job.report(Event("started", unit))
        message = self._worker.run(unit)
        if message["event"] == "finished" and not self._job.store.is_done(unit):
            message = {"event": "failed", "error": NOT_STORED, "traceback": ""}
        if message["event"] == "lost":
            self._queue.lose(unit, message["error"], message["traceback"])
            raise GahbenchError(f"{unit.label}: {message['error']}; run again, in another process")
        ended: Literal["finished", "failed", "stopped"] = message.pop("event")
        message.pop("code_changed", None)
        if ended == "failed" and self._queue.is_own(unit):
            self._job.store.fail(unit, message["error"], message["traceback"])
        if ended != "stopped":
            self._queue.finish(unit)
        self._job.report(Event(ended, unit, message))
        return ended

    def _report(self, kind: Literal["progress", "note"], details: dict[str, Any]) -> None:
        self._job.report(Event(kind, self._unit, details))


def work_command(job: Job) -> list[str]:
    """Return the command that runs the units of a job, on any machine that sees its folder at the same path.

    The command is ``gahbench work FOLDER``. Any number of such processes share the units among themselves, and end when
    no unit is left. On SIGTERM, SIGINT and SIGUSR2 they write checkpoints and end.

    Parameters
    ----------
    job
        The job whose units the command runs.

    Returns
    -------
    list of str
        The command and its arguments.

    Examples
    --------
    >>> import subprocess
    >>> import gahbench
    >>> class Background(gahbench.Engine):
    ...     def run(self, job):
    ...         subprocess.run(gahbench.work_command(job), check=True)
    """
    folder = str(job.store.folder.resolve())
    return [sys.executable, "-P", "-m", "gahbench", "work", folder, "--device", job.device]
