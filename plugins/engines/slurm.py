"""The engine for Slurm clusters, by submitit."""

from __future__ import annotations

import collections
import hashlib
import importlib.util
import os
import re
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

from gahbench import Engine, Execution, GahbenchError, Job, Row, run_in_processes

#: Seconds between two looks at the queue.
POLL_SECONDS = 5.0
#: Seconds before the time limit at which jobs are signalled to write checkpoints and end.
NOTICE_SECONDS = 120
#: Largest default number of jobs.
MAX_JOBS = 16
#: States of jobs that have ended permanently. Unknown states count as alive.
ENDED_STATES = (
    *("BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED"),
    *("NODE_FAIL", "OUT_OF_MEMORY", "PREEMPTED", "REVOKED", "TIMEOUT"),
)
#: States of jobs that Slurm holds until an administrator releases them.
HELD_STATES = ("REQUEUE_HOLD", "SPECIAL_EXIT")
#: Timeout of Slurm commands in seconds; a busy controller may take minutes to answer.
COMMAND_TIMEOUT_SECONDS = 60.0


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
        Time limit per job, in a format of ``sbatch``: minutes, ``hours:minutes:seconds``, ``days-hours``. Two minutes
        before the limit a job writes checkpoints and is requeued. ``null`` for the default of the partition.
    cpus
        Processors per job; ``null`` for the threads of a row, times the number of GPUs.
    memory
        Memory per job with a unit K, M, G or T, such as ``8G``; ``null`` for the default of the cluster.
    workers
        Number of jobs, into which rows are packed; ``null`` for the number of remaining fits, at most 16.
    setup
        A line of shell that runs before each job, such as ``module load cuda``.
    options
        Further options of ``sbatch``, such as ``--account=vision --qos=long``.
    detach
        Whether to submit jobs and return without waiting for them.
    """

    remote = True

    def __init__(
        self,
        partition: Annotated[str, Field(min_length=1)] | None = None,
        gpus: Annotated[int, Field(ge=1)] | str | None = None,
        time: Annotated[int, Field(ge=1)] | str | None = None,
        cpus: Annotated[int, Field(ge=1)] | None = None,
        memory: str | None = None,
        workers: Annotated[int, Field(ge=1)] | None = None,
        setup: str | None = None,
        options: str | None = None,
        detach: bool = False,
    ) -> None:
        if importlib.util.find_spec("submitit") is None:
            raise GahbenchError("the engine 'slurm' needs the package submitit: pip install 'gahbench[slurm]'")
        if isinstance(gpus, str) and not re.fullmatch(r"[\w.-]+:[1-9]\d*", gpus):
            raise ValueError(f"gpus={gpus!r} must be a number, or a type and a number, such as 'a100:2'")
        if memory is not None and not re.fullmatch(r"[1-9]\d*[KMGT]", memory):
            raise ValueError(f"memory={memory!r} must be a whole number with its unit K, M, G or T, such as '8G'")
        if time is not None and not re.fullmatch(r"\d+|\d+(:\d+){1,2}|\d+-\d+(:\d+){0,2}", str(time)):
            raise ValueError(
                f"time={time!r} must be minutes, minutes:seconds, hours:minutes:seconds, days-hours, "
                "days-hours:minutes or days-hours:minutes:seconds, such as '12:00:00'"
            )
        for name, text in (("setup", setup), ("options", options)):
            if text is not None and "\n" in text:
                raise ValueError(f"{name}={text!r} must be one line")
        if other := [word for word in shlex.split(options or "") if not word.startswith("--")]:
            raise ValueError(f"options: {other[0]!r} is not an option of sbatch in its long form, such as --qos=long")
        self.workers, self.detach, self._gpus, self._cpus, self._setup = workers, detach, gpus, cpus, setup
        given = {"partition": partition, "gres": gpus and f"gpu:{gpus}", "time": time, "mem": memory}
        words = [word[2:].partition("=") for word in shlex.split(options or "")]
        self._options = {name: value for name, value in given.items() if value is not None}
        self._options |= {name: value if equals else True for name, equals, value in words}

    def start(self, run: Execution) -> None:
        """Prepare the submission of jobs."""
        import submitit

        if missing := [command for command in ("sbatch", "squeue", "scancel", "srun") if shutil.which(command) is None]:
            raise GahbenchError(
                f"the engine 'slurm' needs the commands of Slurm; missing from the PATH: {', '.join(missing)}. Run "
                "gahbench where jobs are submitted, such as a login node"
            )
        fits = sum(unit.kind == "fit" for unit in run.units)
        self.jobs = run.workers or self.workers or max(1, min(fits, MAX_JOBS))
        self.folder = run.folder / "slurm"
        # Runs of this folder find each other's jobs by this name.
        digest = hashlib.sha256(str(run.folder).encode()).hexdigest()[:8]
        self.name = f"gahbench-{re.sub(r'[^A-Za-z0-9_.-]', '-', run.folder.name)[:40]}-{digest}"
        gpus = int(str(self._gpus or 1).rpartition(":")[2])
        setup = (
            [f'{self._setup}\nif [ $? != 0 ]; then echo "the setup failed" >&2; exit 1; fi'] if self._setup else None
        )
        self._executor = submitit.SlurmExecutor(self.folder)
        self._executor.update_parameters(
            job_name=self.name,
            time=None,
            wckey=None,
            cpus_per_task=self._cpus or run.threads * gpus,
            signal_delay_s=NOTICE_SECONDS,
            setup=setup,
            stderr_to_stdout=True,
            # A job that loses its node or is preempted is requeued, and appends to its log.
            additional_parameters={"requeue": True, **self._options},
        )
        self._states: dict[str, str] = {}
        self._listed_at = float("-inf")

    def earlier(self) -> Sequence[tuple[Row, Job]]:
        """Return the jobs of an earlier run of the folder that are alive."""
        from submitit.core.utils import DelayedSubmission

        self.list_states()
        jobs: list[tuple[Row, Job]] = []
        for number in [number for number, state in self._states.items() if _is_alive(state)]:
            job = _SlurmJob(self, self._executor.job_class(self.folder, number))
            if job.job.paths.submitted_pickle.exists():
                jobs.append((DelayedSubmission.load(job.job.paths.submitted_pickle).args[0], job))
        return jobs

    def submit(self, function: Callable[..., None], row: Row) -> Job:
        """Submit a job, which runs its rows in processes of their own."""
        try:
            return _SlurmJob(self, self._executor.submit(_run, row))
        except Exception as error:
            raise GahbenchError(f"sbatch refused a job: {error}") from error

    def close(self) -> None:
        """Cancel all jobs, unless the run is detached."""
        if not self.detach and hasattr(self, "name"):
            _call("scancel", "--me", f"--name={self.name}")

    def list_states(self) -> None:
        """List the jobs of this folder in Slurm's queue, if the last listing is old."""
        if clock.monotonic() - self._listed_at > POLL_SECONDS:
            listed = _call("squeue", "--me", f"--name={self.name}", "--states=all", "--noheader", "--format=%i|%T")
            # While Slurm does not answer, jobs may continue for hours.
            if listed is not None:
                self._states = dict(line.strip().split("|", 1) for line in listed.splitlines() if "|" in line)
            self._listed_at = clock.monotonic()

    def state(self, number: str) -> str:
        """Return the state of a job, or an empty string if Slurm does not list it."""
        self.list_states()
        return self._states.get(number, "")


def _is_alive(state: str) -> bool:
    return state not in (*ENDED_STATES, *HELD_STATES, "")


class _SlurmJob:
    """A job of Slurm."""

    def __init__(self, engine: Slurm, job: Any) -> None:
        self.engine, self.job = engine, job
        self._missed = collections.Counter[float]()

    def done(self) -> bool:
        """Return whether the job has written its result, or Slurm says twice that it is not alive."""
        if self.job.paths.result_pickle.exists():
            return True
        # submitit asks sacct, which is absent from many clusters, and then waits for ever.
        if _is_alive(self.engine.state(self.job.job_id)):
            self._missed.clear()
        else:
            self._missed[self.engine._listed_at] += 1
        return len(self._missed) > 1

    def exception(self) -> BaseException | None:
        """Return the error of the job, with the end of its log."""
        if self.job.paths.result_pickle.exists():
            error: BaseException | None = self.job.exception()
            return error
        state = self.engine.state(self.job.job_id).lower().replace("_", " ") or "no longer listed"
        try:
            log = self.job.paths.stdout.read_text(errors="replace")[-2000:].strip()
        except OSError:
            log = f"no log; check that the nodes see {self.engine.folder}"
        return RuntimeError(f"job {self.job.job_id} is {state}\n{log}")

    def cancel(self) -> None:
        """Drop the job if it is pending, and else ask it to write checkpoints and end."""
        _call("scancel", "--state=PENDING", self.job.job_id)
        _call("scancel", "--state=RUNNING", "--signal=TERM", self.job.job_id)


def _run(row: Row) -> None:
    """Run rows in this job, which is requeued if it is stopped near its time limit."""
    stop, signals = threading.Event(), list[int]()

    def handle(number: int, frame: object) -> None:
        signals.append(number)
        stop.set()

    for number in (signal.SIGUSR2, signal.SIGTERM):
        signal.signal(number, handle)
    run_in_processes(row, stop)
    if signals[:1] == [signal.SIGUSR2]:
        subprocess.run(["scontrol", "requeue", os.environ["SLURM_JOB_ID"]], check=True)
        # The job has no result yet.
        sys.exit(1)


def _call(*command: str) -> str | None:
    """Run a Slurm command and return its output; ``None`` if Slurm does not answer."""
    # Environment variables may change the output of squeue and the selection of scancel.
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("SQUEUE_", "SCANCEL_"))}
    options: dict[str, Any] = {"capture_output": True, "text": True, "errors": "replace", "env": environment}
    try:
        completed = subprocess.run(command, stdin=subprocess.DEVNULL, timeout=COMMAND_TIMEOUT_SECONDS, **options)
    except (subprocess.TimeoutExpired, OSError):
        return None
    return None if completed.returncode else str(completed.stdout)
