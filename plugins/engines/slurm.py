"""The engine for Slurm clusters."""

from __future__ import annotations

import collections
import hashlib
import os
import re
import shlex
import shutil
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Annotated

from pydantic import Field

from gahbench import Engine, Event, GahbenchError, Job, Watch, work_command

#: Seconds between polls of the queue and the results folder.
POLL_SECONDS = 5.0
#: Seconds before the time limit at which tasks are signalled to write checkpoints and end.
NOTICE_SECONDS = 120
#: Timeout in seconds for writing checkpoints after cancellation.
GRACE_SECONDS = 60.0
#: An array that ends within this many seconds without a finished unit counts as dead.
DEAD_ARRAY_SECONDS = 300.0
#: Number of successive dead arrays after which the run fails, and seconds before a new array after the first dead
#: array; the wait then grows fourfold each time.
MAX_DEAD_ARRAYS, FIRST_WAIT_SECONDS = 3, 15.0
#: Largest default number of tasks of an array.
MAX_TASKS = 16
#: States of jobs that have ended permanently. Unknown states count as alive.
ENDED_STATES = (
    *("BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED"),
    *("NODE_FAIL", "OUT_OF_MEMORY", "PREEMPTED", "REVOKED", "TIMEOUT"),
)
#: Timeout of Slurm commands in seconds; a busy controller may take minutes to answer.
COMMAND_TIMEOUT_SECONDS = 60.0

#: Templates of the job script, and of the part of the script for a line of setup.
_SCRIPT = """\
#!/usr/bin/env bash
# Job script of gahbench's engine "slurm". It finishes the run planned in the results folder
#   {folder}
# Each task of the array runs units until none is left. Any number of tasks may run at a time:
#   sbatch {script}
# submits {tasks} more.
#
{directives}

# Slurm signals this shell. A trap passes the signal on, so that the units in flight write checkpoints.
# USR2: the time limit is near. TERM: the job is cancelled or preempted.
reason= work=
trap 'signalled=1 reason=time; [ -z "$work" ] || kill -USR2 "$work" 2>/dev/null' USR2
trap 'signalled=1 reason=cancelled; [ -z "$work" ] || kill -TERM "$work" 2>/dev/null' TERM

task="$SLURM_ARRAY_JOB_ID"_"$SLURM_ARRAY_TASK_ID"
echo "gahbench: task $task starts on $(hostname), earlier restarts: $SLURM_RESTART_COUNT"
{setup}
status=130
if [ -z "$reason" ]; then
    {command} &
    work=$!
    while :; do
        signalled=
        wait "$work"
        status=$?
        # A signal ends the wait, but not yet the work.
        [ -n "$signalled" ] || break
    done
fi
echo "gahbench: task $task ends with status $status $reason"

# A status of 130 means that units are left; higher values, that a signal arrived before it could be handled. A task
# that reached its time limit is requeued under the same number; a cancelled task is not.
if [ "$reason" = time ] && [ "$status" -gt 128 ]; then
    scontrol requeue "$task"
fi
exit "$status"
"""

_SETUP = """\
{line}
if [ $? != 0 ]; then
    echo "gahbench: the setup of the engine failed" >&2
    exit 1
fi"""


class Slurm(Engine):
    """Runs units in Slurm jobs: an array of tasks, each of which runs ``gahbench work`` on the results folder.

    All nodes must see the folder under the same path. The job script is saved in the folder, and can also be submitted
    by hand. Further arrays are submitted while units are left and no task is alive. Slurm accounting is not needed.

    Parameters
    ----------
    partition
        Partition for the tasks; ``null`` for the default of the cluster.
    gpus
        GPUs per task: a number, or a type and a number such as ``a100:2``; ``null`` for no GPU.
    time
        Time limit per task, in a format of ``sbatch``: minutes, ``hours:minutes:seconds``, ``days-hours``. Two minutes
        before the limit a task writes checkpoints and is requeued. ``null`` for the default of the partition.
    cpus
        Processors per task; ``null`` for the threads of a worker, times the number of GPUs.
    memory
        Memory per task with a unit K, M, G or T, such as ``8G``; ``null`` for the default of the cluster.
    workers
        Number of tasks; ``null`` for the number of remaining fits, at most 16.
    setup
        A line of shell that runs before each task, such as ``module load cuda``.
    options
        Further options of ``sbatch``, such as ``--account=vision --qos=long``.
    detach
        Whether to submit an array and return without waiting for it.
    """

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
        if isinstance(gpus, str) and not re.fullmatch(r"[\w.-]+:[1-9]\d*", gpus):
            raise ValueError(f"gpus={gpus!r} must be a number, or a type and a number, such as 'a100:2'")
        if memory is not None and not re.fullmatch(r"[1-9]\d*[KMGT]", memory):
            raise ValueError(f"memory={memory!r} must be a whole number with its unit K, M, G or T, such as '8G'")
        if time is not None:
            seconds = _time_seconds(str(time))
            if seconds is None:
                raise ValueError(
                    f"time={time!r} must be minutes, minutes:seconds, hours:minutes:seconds, days-hours, "
                    "days-hours:minutes or days-hours:minutes:seconds, such as '12:00:00'"
                )
            if seconds < 2 * NOTICE_SECONDS:
                raise ValueError(
                    f"time={time!r} must be {2 * NOTICE_SECONDS // 60} minutes or more: the last "
                    f"{NOTICE_SECONDS // 60} are reserved for writing checkpoints"
                )
        for name, text in (("setup", setup), ("options", options)):
            if text is not None and "\n" in text:
                raise ValueError(f"{name}={text!r} must be one line")
        self.workers, self.setup, self.detach = workers, setup, detach
        self._gpus, self._cpus = gpus, cpus
        self._options = [
            *([f"--partition={partition}"] if partition else []),
            *([f"--gres=gpu:{gpus}"] if gpus else []),
            *([f"--time={time}"] if time else []),
            *([f"--mem={memory}"] if memory else []),
            *([options] if options else []),
        ]

    def run(self, job: Job) -> None:
        """Submit arrays until all units are done or failed, or the job is stopped."""
        if job.stop.is_set():
            return
        folder = Path(job.store.folder).resolve()
        cluster_run = _ClusterRun(
            job, Commands(_job_name(folder)), self._write_script(job, folder), self._task_count(job)
        )
        if self.detach:
            cluster_run.detach()
        else:
            cluster_run.run()

    def _task_count(self, job: Job) -> int:
        fits = sum(unit.kind == "fit" for unit in job.units)
        return job.workers or self.workers or max(1, min(fits, MAX_TASKS))

    def _write_script(self, job: Job, folder: Path) -> Path:
        """Write the job script into the results folder."""
        script, logs = folder / "slurm" / "job.sh", folder / "logs"
        for parent in (script.parent, logs):
            parent.mkdir(parents=True, exist_ok=True)
        tasks = self._task_count(job)
        gpus = int(str(self._gpus or 1).rpartition(":")[2])
        options = [
            f"--job-name={_job_name(folder)}",
            f"--array=0-{tasks - 1}",
            "--ntasks=1",
            f"--cpus-per-task={self._cpus or job.threads * gpus}",
            *self._options,
            # A task that loses its node or is preempted is requeued, and appends to its log.
            "--requeue",
            f"--output={_log_pattern(logs)}",
            "--open-mode=append",
            f"--signal=B:USR2@{NOTICE_SECONDS}",
        ]
        script.write_text(_job_script(script, folder, tasks, options, work_command(job), self.setup), encoding="utf-8")
        script.chmod(0o755)
        return script


def _job_name(folder: Path) -> str:
    """Return a job name for a folder, by which a later run finds tasks that are still alive."""
    readable = re.sub(r"[^\w.-]", "-", folder.name, flags=re.ASCII)[:40]
    return f"gahbench-{readable}-{hashlib.sha256(str(folder).encode()).hexdigest()[:8]}"


class _ClusterRun:
    """Submission and monitoring of arrays for a results folder."""

    def __init__(self, job: Job, slurm: Commands, script: Path, count: int) -> None:
        self.job, self.slurm, self.script, self.count = job, slurm, script, count
        self.watch = Watch(job)
        self.left = self.watch.update()
        #: Number of the last array, number of units left at its submission, and time at which it was first seen
        #: running.
        self.array: str | None = None
        self.left_before = self.left
        self.running_since: float | None = None
        self.dead_arrays = 0
        self.not_before = 0.0
        self.polls_without_tasks = 0
        self.last_note = ""
        #: Whether tasks that this run must end may be alive.
        self.has_tasks = False

    def run(self) -> None:
        """Submit and monitor arrays until no unit is left, or the job is stopped."""
        try:
            while self.left and not self.job.stop.is_set():
                self._poll()
                self.job.stop.wait(POLL_SECONDS)
                self.left = self.watch.update()
        except KeyboardInterrupt:
            self.job.stop.set()
        finally:
            if self.has_tasks:
                # Pending tasks would find no units, or must not start.
                self._cancel("--state=PENDING")
                if self.left:
                    self._stop()

    def detach(self) -> None:
        """Submit an array unless tasks are alive, and report how to monitor it."""
        tasks = [task for task in self.slurm.tasks() if task.is_alive]
        if not self.left:
            return
        if tasks:
            self._note(f"{len(tasks)} tasks are in the queue already ({_counts(tasks)}): none were added")
        else:
            self._submit()
        folder = shlex.quote(str(self.job.store.folder))
        self._note(
            f"the tasks continue without this command: `squeue --me --name={self.slurm.name}` lists them, "
            f"`gahbench status {folder}` shows what is done, and `gahbench collect {folder}` writes the board"
        )

    def _poll(self) -> None:
        """Poll the queue, and submit an array if it is due."""
        try:
            tasks = self.slurm.tasks()
        except SlurmError as error:
            if not self.has_tasks:
                raise
            # Tasks may continue for hours without a controller.
            self._note_change(f"{error}; following the results folder until Slurm answers")
            return
        alive = [task for task in tasks if task.is_alive]
        if alive:
            self.polls_without_tasks, self.has_tasks = 0, True
            if self.running_since is None and any(task.state == "RUNNING" for task in alive):
                self.running_since = time.monotonic()
            self._note_change(_counts(alive))
            return
        self.polls_without_tasks += 1
        if self.array is None:
            self._submit()
            return
        if self.polls_without_tasks == 2:
            # The last results of the tasks have reached the folder by now.
            self._assess(tasks)
        if self.polls_without_tasks >= 2 and time.monotonic() >= self.not_before:
            self._resubmit()

    def _submit(self) -> None:
        self.array = self.slurm.submit(self.script, self.count)
        self.left_before, self.running_since, self.polls_without_tasks = self.left, None, 0
        self.has_tasks = True
        self._note(f"submitted {self.count} {'task' if self.count == 1 else 'tasks'} as job {self.array}")

    def _resubmit(self) -> None:
        """Submit another array; errors are reported and retried, since Slurm may be unavailable for a while."""
        try:
            # Tasks that Slurm holds would otherwise stay in the queue forever.
            self.slurm.cancel()
            self._submit()
        except SlurmError as error:
            self._note_change(f"{error}; trying again")
            self.not_before = time.monotonic() + 4 * FIRST_WAIT_SECONDS

    def _assess(self, tasks: list[Task]) -> None:
        """Decide when the next array is due, after an array ended with units left."""
        since = self.running_since
        ran_long = since is not None and time.monotonic() - since > DEAD_ARRAY_SECONDS
        if self.left < self.left_before or ran_long:
            self.dead_arrays = 0
            return
        self.dead_arrays += 1
        if self.dead_arrays >= MAX_DEAD_ARRAYS:
            ended = _counts([task for task in tasks if task.name.split("_")[0] == self.array])
            raise GahbenchError(
                f"{self.dead_arrays} jobs in a row ended without finishing a unit"
                f"{f' (the last job: {ended})' if ended else ''}, with {self.left} left; "
                f"the script is {self.script}; {self._logs()}"
            )
        wait = FIRST_WAIT_SECONDS * 4 ** (self.dead_arrays - 1)
        self.not_before = time.monotonic() + wait
        self._note(
            f"job {self.array} ended without finishing a unit; the next job is submitted in {timedelta(seconds=wait)}"
        )

    def _logs(self) -> str:
        """Return the ends of the newest two logs of the last array."""
        logs = Path(self.job.store.folder) / "logs"
        newest = sorted(logs.glob(f"slurm-{self.array}_*.log"), key=lambda log: log.stat().st_mtime)[-2:]
        if not newest:
            return f"there are no logs; check that the nodes see {logs}"
        return "\n".join(f"the end of {log}:\n{log.read_text(errors='replace')[-2000:].strip()}" for log in newest)

    def _stop(self) -> None:
        """Ask the tasks to write checkpoints and end."""
        # Signal only the shell of a task, which then waits for checkpoints and does not requeue the task.
        self._cancel("--batch", "--signal=TERM", "--state=RUNNING")
        deadline = time.monotonic() + GRACE_SECONDS
        try:
            while time.monotonic() < deadline:
                tasks = self.slurm.tasks()
                if not any(task.is_alive for task in tasks):
                    break
                time.sleep(1.0)
        except (SlurmError, KeyboardInterrupt):
            pass
        self._cancel()
        self.left = self.watch.update()

    def _cancel(self, *options: str) -> None:
        try:
            self.slurm.cancel(*options)
        except SlurmError as error:
            self._note_change(f"{error}; some tasks may be alive: `scancel --me --name={self.slurm.name}` ends them")

    def _note_change(self, text: str) -> None:
        if text != self.last_note:
            self.last_note = text
            self._note(text)

    def _note(self, text: str) -> None:
        self.job.report(Event("note", None, {"text": f"slurm: {text}"}))


def _counts(tasks: list[Task]) -> str:
    """Return the numbers of tasks by state, such as ``3 running, 1 pending (Resources)``."""
    names = [
        task.state.lower() + (f" ({task.reason})" if task.state == "PENDING" and task.reason != "None" else "")
        for task in tasks
    ]
    return ", ".join(f"{count} {name}" for name, count in sorted(collections.Counter(names).items()))


class SlurmError(GahbenchError):
    """Failure of a Slurm command."""


@dataclass(frozen=True)
class Task:
    """A task of an array, as listed by ``squeue``."""

    name: str
    state: str
    reason: str

    @property
    def is_alive(self) -> bool:
        """Whether the task runs, or may still run without intervention."""
        # Slurm holds tasks that could not be launched on their node, until an administrator releases them.
        held = self.state in ("REQUEUE_HOLD", "SPECIAL_EXIT") or self.reason.startswith("launch")
        return self.state not in ENDED_STATES and not held


class Commands:
    """The Slurm commands ``sbatch``, ``squeue`` and ``scancel`` for the jobs of this user with a given name."""

    def __init__(self, name: str) -> None:
        missing = [command for command in ("sbatch", "squeue", "scancel") if shutil.which(command) is None]
        if missing:
            raise GahbenchError(
                "the engine 'slurm' needs the commands sbatch, squeue and scancel of Slurm; missing from the PATH: "
                f"{', '.join(missing)}. Run gahbench where jobs are submitted, such as a login node"
            )
        self.name = name

    def submit(self, script: Path, tasks: int) -> str:
        """Submit an array of tasks, and return its job number."""
        # Command-line options override variables such as SBATCH_JOB_NAME, which override lines of the script.
        options = ["--parsable", f"--job-name={self.name}", f"--array=0-{tasks - 1}"]
        return _run("sbatch", *options, str(script)).strip().partition(";")[0]

    def tasks(self) -> list[Task]:
        """Return the tasks with this name that are alive or ended recently."""
        lines = _run(
            "squeue", "--me", f"--name={self.name}", "--array", "--states=all", "--noheader", "--format=%i|%T|%r"
        )
        return [Task(*fields) for line in lines.splitlines() if len(fields := line.strip().split("|", 2)) == 3]

    def cancel(self, *options: str) -> None:
        """Cancel all tasks with this name, or only the tasks selected by options of ``scancel``."""
        _run("scancel", "--me", f"--name={self.name}", *options)


def _run(*command: str) -> str:
    """Run a Slurm command and return its output."""
    # Environment variables may change the output of squeue and the selection of scancel, or make sbatch wait for the
    # end of the job. Inside a job, variables of that job must not affect other jobs.
    dropped_prefixes = ["SQUEUE_", "SCANCEL_", "SBATCH_WAIT", *(["SLURM_"] if "SLURM_JOB_ID" in os.environ else [])]
    environment = {
        name: value
        for name, value in os.environ.items()
        if name in ("SLURM_CONF", "SLURM_CLUSTERS") or not name.startswith(tuple(dropped_prefixes))
    }
    try:
        completed = subprocess.run(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=COMMAND_TIMEOUT_SECONDS,
        )
    except subprocess.TimeoutExpired as error:
        raise SlurmError(f"{command[0]} did not answer within {COMMAND_TIMEOUT_SECONDS:.0f} s") from error
    except OSError as error:
        raise SlurmError(f"{command[0]} could not be started: {error}") from error
    if completed.returncode:
        raise SlurmError(
            f"{command[0]}: {(completed.stderr or completed.stdout).strip() or f'status {completed.returncode}'}"
        )
    return completed.stdout


def _job_script(
    script: Path, folder: Path, tasks: int, options: Sequence[str], command: Sequence[str], setup: str | None
) -> str:
    """Format the job script."""
    return _SCRIPT.format(
        folder=folder,
        script=shlex.quote(str(script)),
        tasks="one task" if tasks == 1 else f"{tasks} tasks",
        directives="\n".join(f"#SBATCH {option}" for option in options),
        setup=_SETUP.format(line=setup) if setup else "",
        command=shlex.join(command),
    )


def _log_pattern(folder: Path) -> str:
    """Return the pattern of log files for ``sbatch --output``, quoted and with percent signs escaped."""
    quoted = re.sub(r'(["\\])', r"\\\1", str(folder).replace("%", "%%"))
    return f'"{quoted}/slurm-%A_%a.log"'


def _time_seconds(limit: str) -> int | None:
    """Return a time limit of ``sbatch`` in seconds, or ``None`` if it is invalid."""
    days, dash, clock = limit.rpartition("-")
    pattern = r"(\d+)(?::(\d+))?(?::(\d+))?"
    match = re.fullmatch(pattern, clock)
    if match is None or (dash and not days.isdecimal()):
        return None
    numbers = [int(number) for number in match.groups() if number is not None]
    if dash:
        # After days the first number is hours; without days, a single number is minutes, and two are minutes and
        # seconds.
        hours, minutes, seconds = [*numbers, 0, 0][:3]
    else:
        hours, minutes, seconds = {1: [0, *numbers, 0], 2: [0, *numbers], 3: numbers}[len(numbers)]
    return ((int(days or 0) * 24 + hours) * 60 + minutes) * 60 + seconds
