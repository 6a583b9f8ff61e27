"""The engine for Slurm clusters, by submitit."""

from __future__ import annotations

import hashlib
import os
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time as clock
from collections.abc import Callable, Sequence
from typing import Annotated, Any

from pydantic import Field

from gahbench import Engine, GahbenchError, Job, Row, run_in_processes

#: Seconds between two looks at the queue, and largest default number of jobs.
POLL_SECONDS, MAX_JOBS = 5.0, 16


class Slurm(Engine):
    """Runs rows in Slurm jobs; needs the extra ``slurm``. Accounting (``sacct``) is not needed.

    All nodes must see the results folder under the same path. Job scripts and logs are in its folder ``slurm``. A later
    run of the folder follows the jobs that are still alive before it submits others.

    Parameters
    ----------
    partition
        Partition for the jobs; ``null`` for the default of the cluster.
    gpus
        GPUs per job: a number, or a type and a number such as ``a100:2``; ``null`` for no GPU.
    time
        Time limit per job as ``sbatch`` takes it: minutes, at least 4, ``hours:minutes:seconds`` or ``days-hours``. Two
        minutes before the limit a job writes checkpoints and is requeued. ``null`` for the default of the partition.
    workers
        Number of jobs, into which rows are packed; ``null`` for the number of remaining fits, at most 16.
    setup
        A line of shell that runs before each job, such as ``module load cuda``.
    options
        Further options of ``sbatch``, such as ``--account=vision --mem=8G``. By default a job has as many processors
        as a row has threads, times the number of GPUs (``--cpus-per-task``).
    detach
        Whether to submit jobs and return without waiting for them.
    """

    remote = True

    def __init__(
        self,
        partition: str | None = None,
        gpus: Annotated[int, Field(ge=1)] | str | None = None,
        time: Annotated[int, Field(ge=4)] | str | None = None,
        workers: Annotated[int, Field(ge=1)] | None = None,
        setup: str | None = None,
        options: str = "",
        detach: bool = False,
    ) -> None:
        try:
            import submitit
        except ImportError as error:
            raise GahbenchError(f"{error}: pip install 'gahbench[slurm]'") from error
        self._submitit = submitit
        words = [word.partition("=") for word in shlex.split(options)]
        if wrong := [name for name, _, _ in words if not name.startswith("--")]:
            raise ValueError(f"options: {wrong[0]!r} is not an option of sbatch in its long form, such as --qos=long")
        given = {"partition": partition, "gres": gpus and f"gpu:{gpus}", "time": time}
        self._options: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
        self._options |= {name[2:]: value if equals else True for name, equals, value in words}
        self.workers, self.detach, self._setup, self._name = workers, detach, setup, ""
        count = str(gpus).rpartition(":")[2]
        self._gpus = int(count) if count.isdecimal() else 1

    def start(self, row: Row, workers: int | None, stop: threading.Event) -> None:
        """Prepare the submission of jobs."""
        if missing := [name for name in ("sbatch", "squeue", "scancel", "srun") if shutil.which(name) is None]:
            text = f"needs {', '.join(missing)} in the PATH: run gahbench where jobs are submitted, as on a login node"
            raise GahbenchError(f"the engine 'slurm' {text}")
        self.jobs = workers or self.workers or max(1, min(sum(unit.kind == "fit" for unit in row.units), MAX_JOBS))
        # Runs of a folder find each other's jobs by this name.
        self._name = f"gahbench-{hashlib.sha256(str(row.folder).encode()).hexdigest()[:12]}"
        self._numbers, self._listed_at = set[str](), float("-inf")
        # The shell of a job becomes Python, so that signals reach it alone.
        python = f"exec {shlex.quote(sys.executable)}"
        self._executor = self._submitit.SlurmExecutor(row.folder / "slurm", python=python)
        self._executor.update_parameters(
            job_name=self._name,
            cpus_per_task=row.threads * self._gpus,
            setup=[self._setup or ":", '[ $? = 0 ] || { echo "the setup failed"; exit 1; }'],
            # A job that loses its node or is preempted is requeued, and appends to its log.
            additional_parameters={"requeue": True, "signal": "B:USR2@120", **self._options},
            **{"use_srun": False, "stderr_to_stdout": True, "time": None, "wckey": None},
        )

    def earlier(self) -> Sequence[tuple[Row, Job]]:
        """Return the jobs of an earlier run of the folder that are alive."""
        jobs = [self._executor.job_class(self._executor.folder, number) for number in self.numbers()]
        return [(job.submission().args[0], _SlurmJob(self, job)) for job in jobs if job.paths.submitted_pickle.exists()]

    def submit(self, function: Callable[..., None], row: Row) -> Job:
        """Submit a job, which runs its rows in processes of their own."""
        try:
            return _SlurmJob(self, self._executor.submit(_run, row))
        except Exception as error:
            raise GahbenchError(f"sbatch refused a job: {error}") from error

    def close(self) -> None:
        """Cancel all jobs, unless the run is detached."""
        if self._name and not self.detach:
            _call("scancel", "--me", f"--name={self._name}")

    def numbers(self) -> set[str]:
        """Return the numbers of the jobs of this folder in Slurm's queue, as listed some seconds ago."""
        if clock.monotonic() - self._listed_at > POLL_SECONDS:
            text = _call("squeue", "--me", f"--name={self._name}", "--noheader", "--format=%i|%r")
            if text is None and self._listed_at < 0:
                raise GahbenchError("squeue does not answer; run again once Slurm works")
            # Jobs continue while Slurm does not answer, but nobody starts a job that is held since its launch failed.
            if text is not None:
                self._numbers = {line.partition("|")[0] for line in text.splitlines() if "requeued held" not in line}
            self._listed_at = clock.monotonic()
        return self._numbers


class _SlurmJob:
    """A job of Slurm; submitit would ask ``sacct``, which many clusters lack, for its state."""

    def __init__(self, engine: Slurm, job: Any) -> None:
        self._engine, self._job = engine, job
        engine.numbers().add(job.job_id)

    def done(self) -> bool:
        return self._job.job_id not in self._engine.numbers()

    def exception(self) -> BaseException | None:
        file = self._job.paths.stdout
        log = file.read_text(errors="replace")[-2000:].strip() if file.exists() else f"{file} is missing"
        return RuntimeError(f"job {self._job.job_id} of Slurm ended early\n{log}")

    def cancel(self) -> None:
        _call("scancel", "--state=PENDING", self._job.job_id)
        _call("scancel", "--batch", "--signal=TERM", self._job.job_id)


def _run(row: Row) -> None:
    """Run rows in this job, which is requeued if it is stopped near its time limit."""
    stop, signals = threading.Event(), set[int]()

    def handle(number: int, frame: object) -> None:
        signals.add(number)
        stop.set()

    for number in (signal.SIGTERM, signal.SIGUSR2):
        signal.signal(number, handle)
    run_in_processes(row, stop)
    if signal.SIGUSR2 in signals:
        subprocess.run(["scontrol", "requeue", os.environ["SLURM_JOB_ID"]], check=True)


def _call(*command: str) -> str | None:
    """Run a command of Slurm and return its output; ``None`` if Slurm does not answer."""
    done = subprocess.run(["timeout", "60", *command], capture_output=True, text=True)
    return None if done.returncode else done.stdout
