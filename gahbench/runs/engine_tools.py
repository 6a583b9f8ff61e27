"""Running units for engines: in this process, or in worker processes."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Literal

from gahbench._util.resources import python_environment
from gahbench.contracts.jobs import Event, Job
from gahbench.contracts.unit import Unit
from gahbench.runs.worker import Worker, do_and_record, progress_message
from gahbench.training.trainer import Progress


class UnitRunner:
    """Runs units of a job in this process, one after the other.

    Objects that the next unit may need, such as the dataset, are kept.

    Parameters
    ----------
    job
        The job: plugins are looked up in its registry, and finished units go to its store.
    """

    def __init__(self, job: Job) -> None:
        self._job = job
        self._unit: Unit | None = None
        self._worker = Worker(
            job.registry, job.store, progress=self._progress, note=self._note, should_stop=job.stop.is_set
        )

    def run(self, unit: Unit) -> Literal["finished", "failed", "stopped"]:
        """Run a unit whose ``needs`` are done, and report its events to the job.

        Returns
        -------
        str
            How it ended. A failure is recorded in the store; ``stopped`` means that the job was to end meanwhile, so
            that the unit has written a checkpoint and is still to be done.

        Raises
        ------
        KeyboardInterrupt
            If Ctrl-C was pressed a second time.
        """
        self._unit = unit
        self._job.report(Event("started", unit))
        message = do_and_record(self._worker, unit)
        ended: Literal["finished", "failed", "stopped"] = message.pop("event")
        if ended != "stopped":
            self._job.report(Event(ended, unit, message))
        return ended

    def _progress(self, progress: Progress) -> None:
        assert self._unit is not None
        self._job.report(Event("progress", self._unit, progress_message(progress)))

    def _note(self, text: str) -> None:
        assert self._unit is not None
        self._job.report(Event("note", self._unit, {"text": text}))


def worker_command(job: Job, threads: int) -> list[str]:
    """Return the command line of a worker process, which runs units of a job as they are sent.

    It reads JSON lines from its standard input: ``{"unit": unit.record()}``, or ``{"stop": true}`` to write a
    checkpoint of the unit in flight and end. On its standard output it writes JSON lines with an ``event``: ``ready``
    once, then of each unit ``progress`` and ``note``, and at its end ``finished``, ``failed`` or ``stopped``; the other
    fields are the ``details`` of :class:`gahbench.Event`. It ends when its standard input is closed.

    Parameters
    ----------
    job
        The job.
    threads
        How many threads the worker may compute with.
    """
    command = [sys.executable, "-P", "-m", "gahbench.runs.worker_process"]
    command += ["--folder", str(job.store.folder), "--threads", str(threads)]
    for source in job.registry.sources:
        command += ["--source", str(source)]
    return command


def worker_environment(threads: int, gpu: str | None = None) -> dict[str, str]:
    """Return the environment variables of a worker process: those of this process, and how it shares the machine.

    Parameters
    ----------
    threads
        As of :func:`worker_command`.
    gpu
        The one GPU that it may use, of :func:`gahbench.gpu_names`; ``None`` leaves that open.
    """
    environment = python_environment()
    environment["OMP_NUM_THREADS"] = environment["MKL_NUM_THREADS"] = str(threads)
    cache = Path(environment.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "gahbench" / "compiled"
    environment.setdefault("TORCHINDUCTOR_CACHE_DIR", str(cache))
    environment.setdefault("TORCHINDUCTOR_FX_GRAPH_CACHE", "1")
    if gpu is not None:
        environment["CUDA_VISIBLE_DEVICES"] = gpu
    return environment
