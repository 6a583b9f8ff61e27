"""The engine for clusters that Slurm schedules."""

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

#: Seconds between two looks at the queue and the results folder.
POLL_SECONDS = 5.0
#: Seconds before the time limit at which tasks are asked to write checkpoints and end.
NOTICE_SECONDS = 120
#: Seconds that cancelled tasks may take to write checkpoints.
GRACE_SECONDS = 60.0
#: An array that ended sooner than this, without a unit done, has died rather than worked.
SHORT_SECONDS = 300.0
#: So many such arrays in a row are enough; the wait before the next one begins here and grows fourfold.
SHORT_ARRAYS, FIRST_WAIT_SECONDS = 3, 15.0
#: Tasks of an array, unless they are given.
MAX_TASKS = 16
#: States of jobs that have ended for good. Any other, of later versions say, means that a job is alive.
ENDED = (
    *("BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED"),
    *("NODE_FAIL", "OUT_OF_MEMORY", "PREEMPTED", "REVOKED", "TIMEOUT"),
)
#: Seconds that a command of Slurm may take: a busy controller may leave it waiting for minutes.
PATIENCE_SECONDS = 60.0

#: The job script, and the part of it for a line of setup.
_SCRIPT = """\
#!/usr/bin/env bash
# Written by gahbench's engine "slurm". Finishes what is planned in the results folder
#   {folder}
# Each task of the array takes units until none is left, and any number of tasks may run at once:
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
echo "gahbench: task $task starts on $(hostname), restarts before: $SLURM_RESTART_COUNT"
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

# Units are left where the status is 130, or above if a signal came before it could be handled. When time was up,
# the task goes on in a job of the same number; a cancelled one does not.
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
    """Runs units in jobs of Slurm: an array of tasks, each of which runs ``gahbench work`` on the results folder.

    The nodes must see the folder under the same path. The job script is in it, and can be submitted by hand. More
    arrays are submitted while units are left and no task is alive. Accounting is not needed.

    Parameters
    ----------
    partition
        Partition to submit to; null for the cluster's default.
    gpus
        GPUs of each task: a number, or a type and a number such as ``a100:2``.
    time
        Time limit of each task as ``sbatch`` takes it: minutes, ``hours:minutes:seconds``, ``days-hours``. Two minutes
        before it a task has its units write checkpoints, and queues again. Null for the partition's default.
    cpus
        Processors of each task; null for the threads of one worker, or of one to a GPU.
    memory
        Memory of each task, with its unit: ``8G``. Null for the cluster's default.
    workers
        Number of tasks; null for one to a fit that is to do, and at most 16.
    setup
        A line of shell to run before, such as ``module load cuda``.
    options
        Further options of ``sbatch``: ``--account=vision --qos=long``.
    detach
        Submit one array, and do not wait for it.
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
                    f"{NOTICE_SECONDS // 60} are for writing checkpoints"
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
        """Submit arrays until no unit is left, all that is left has failed, or the job is stopped."""
        if job.stop.is_set():
            return
        folder = Path(job.store.folder).resolve()
        following = _Following(job, Commands(_job_name(folder)), self._write(job, folder), self._tasks(job))
        if self.detach:
            following.detach()
        else:
            following.run()

    def _tasks(self, job: Job) -> int:
        fits = sum(unit.kind == "fit" for unit in job.units)
        return job.workers or self.workers or max(1, min(fits, MAX_TASKS))

    def _write(self, job: Job, folder: Path) -> Path:
        """Write the job script into the results folder."""
        script, logs = folder / "slurm" / "job.sh", folder / "logs"
        for home in (script.parent, logs):
            home.mkdir(parents=True, exist_ok=True)
        tasks = self._tasks(job)
        gpus = int(str(self._gpus or 1).rpartition(":")[2])
        options = [
            f"--job-name={_job_name(folder)}",
            f"--array=0-{tasks - 1}",
            "--ntasks=1",
            f"--cpus-per-task={self._cpus or job.threads * gpus}",
            *self._options,
            # A task that loses its node, or makes way for another job, comes back, and its log goes on.
            "--requeue",
            f"--output={_log_pattern(logs)}",
            "--open-mode=append",
            f"--signal=B:USR2@{NOTICE_SECONDS}",
        ]
        script.write_text(_job_script(script, folder, tasks, options, work_command(job), self.setup), encoding="utf-8")
        script.chmod(0o755)
        return script


def _job_name(folder: Path) -> str:
    """Return a name for the jobs of a folder, by which a later run finds those that are still alive."""
    readable = re.sub(r"[^\w.-]", "-", folder.name, flags=re.ASCII)[:40]
    return f"gahbench-{readable}-{hashlib.sha256(str(folder).encode()).hexdigest()[:8]}"


class _Following:
    """Arrays for one results folder, submitted and followed."""

    def __init__(self, job: Job, slurm: Commands, script: Path, count: int) -> None:
        self.job, self.slurm, self.script, self.count = job, slurm, script, count
        self.watch = Watch(job)
        self.left = self.watch.update()
        #: The number of the last array, how much was left when it was submitted, and when it was first seen to run.
        self.array: str | None = None
        self.left_before = self.left
        self.running_since: float | None = None
        self.dead_arrays = 0
        self.not_before = 0.0
        self.looks_without_tasks = 0
        self.noted = ""
        #: Whether tasks may be alive that end with this run.
        self.have_tasks = False

    def run(self) -> None:
        """Submit and follow until nothing is left, or the job is stopped."""
        try:
            while self.left and not self.job.stop.is_set():
                self._turn()
                self.job.stop.wait(POLL_SECONDS)
                self.left = self.watch.update()
        except KeyboardInterrupt:
            self.job.stop.set()
        finally:
            if self.have_tasks:
                # What has not begun would find nothing to do, or is not to begin.
                self._cancel("--state=PENDING")
                if self.left:
                    self._stop()

    def detach(self) -> None:
        """Submit an array, unless tasks are alive already, and say how to follow it."""
        tasks = [task for task in self.slurm.tasks() if task.alive]
        if not self.left:
            return
        if tasks:
            self._note(f"{len(tasks)} tasks are in the queue already ({_counts(tasks)}): none were added")
        else:
            self._submit()
        folder = shlex.quote(str(self.job.store.folder))
        self._note(
            f"they go on without this command: `squeue --me --name={self.slurm.name}` lists them, "
            f"`gahbench status {folder}` shows what is done, and `gahbench collect {folder}` writes the board"
        )

    def _turn(self) -> None:
        """Look at the queue once, and submit an array if one is due."""
        try:
            tasks = self.slurm.tasks()
        except SlurmError as error:
            if not self.have_tasks:
                raise
            # It says nothing about the tasks, which may go on for hours without a controller.
            self._note_change(f"{error}; following the results folder until it answers")
            return
        alive = [task for task in tasks if task.alive]
        if alive:
            self.looks_without_tasks, self.have_tasks = 0, True
            if self.running_since is None and any(task.state == "RUNNING" for task in alive):
                self.running_since = time.monotonic()
            self._note_change(_counts(alive))
            return
        self.looks_without_tasks += 1
        if self.array is None:
            self._submit()
            return
        if self.looks_without_tasks == 2:
            # By now the last results of the tasks are in the folder.
            self._assess(tasks)
        if self.looks_without_tasks >= 2 and time.monotonic() >= self.not_before:
            self._resubmit()

    def _submit(self) -> None:
        self.array = self.slurm.submit(self.script, self.count)
        self.left_before, self.running_since, self.looks_without_tasks = self.left, None, 0
        self.have_tasks = True
        self._note(f"submitted {self.count} {'task' if self.count == 1 else 'tasks'} as job {self.array}")

    def _resubmit(self) -> None:
        """Submit another array; what kept the last one from being refused may be out of order for a while."""
        try:
            # Those that were held would be there for ever.
            self.slurm.cancel()
            self._submit()
        except SlurmError as error:
            self._note_change(f"{error}; trying again")
            self.not_before = time.monotonic() + 4 * FIRST_WAIT_SECONDS

    def _assess(self, tasks: list[Task]) -> None:
        """Decide when the next array is due, now that the last one has ended with units left."""
        since = self.running_since
        worked = since is not None and time.monotonic() - since > SHORT_SECONDS
        if self.left < self.left_before or worked:
            self.dead_arrays = 0
            return
        self.dead_arrays += 1
        if self.dead_arrays >= SHORT_ARRAYS:
            ended = _counts([task for task in tasks if task.name.split("_")[0] == self.array])
            raise GahbenchError(
                f"{self.dead_arrays} jobs in a row ended without any unit done"
                f"{f' (the last one: {ended})' if ended else ''}, with {self.left} left; "
                f"the script is {self.script}; {self._logs()}"
            )
        wait = FIRST_WAIT_SECONDS * 4 ** (self.dead_arrays - 1)
        self.not_before = time.monotonic() + wait
        self._note(
            f"job {self.array} ended without any unit done; the next one is submitted in {timedelta(seconds=wait)}"
        )

    def _logs(self) -> str:
        """Return the ends of the newest logs of the last array."""
        logs = Path(self.job.store.folder) / "logs"
        newest = sorted(logs.glob(f"slurm-{self.array}_*.log"), key=lambda log: log.stat().st_mtime)[-2:]
        if not newest:
            return f"they wrote no logs: do the nodes see {logs}?"
        return "\n".join(f"the end of {log}:\n{log.read_text(errors='replace')[-2000:].strip()}" for log in newest)

    def _stop(self) -> None:
        """Have the tasks write checkpoints and end."""
        # The shell of a task alone, which leaves it as long as it needs; it does not queue again after this signal.
        self._cancel("--batch", "--signal=TERM", "--state=RUNNING")
        deadline = time.monotonic() + GRACE_SECONDS
        try:
            while time.monotonic() < deadline:
                tasks = self.slurm.tasks()
                if not any(task.alive for task in tasks):
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
            self._note_change(f"{error}; tasks may be left: `scancel --me --name={self.slurm.name}` ends them")

    def _note_change(self, text: str) -> None:
        if text != self.noted:
            self.noted = text
            self._note(text)

    def _note(self, text: str) -> None:
        self.job.report(Event("note", None, {"text": f"slurm: {text}"}))


def _counts(tasks: list[Task]) -> str:
    """Return how many tasks are in which state: ``3 running, 1 pending (Resources)``."""
    names = [
        task.state.lower() + (f" ({task.reason})" if task.state == "PENDING" and task.reason != "None" else "")
        for task in tasks
    ]
    return ", ".join(f"{count} {name}" for name, count in sorted(collections.Counter(names).items()))


class SlurmError(GahbenchError):
    """A command of Slurm failed."""


@dataclass(frozen=True)
class Task:
    """One task of an array, as ``squeue`` shows it."""

    name: str
    state: str
    reason: str

    @property
    def alive(self) -> bool:
        """Whether it runs or may yet run without anybody's help."""
        # A task whose job could not be started on its node is requeued and held, and waits for an administrator.
        held = self.state in ("REQUEUE_HOLD", "SPECIAL_EXIT") or self.reason.startswith("launch")
        return self.state not in ENDED and not held


class Commands:
    """Slurm's commands ``sbatch``, ``squeue`` and ``scancel`` for the jobs of one name that belong to this user."""

    def __init__(self, name: str) -> None:
        missing = [command for command in ("sbatch", "squeue", "scancel") if shutil.which(command) is None]
        if missing:
            raise GahbenchError(
                f"the engine 'slurm' needs the commands sbatch, squeue and scancel of Slurm, and found no "
                f"{', '.join(missing)} on the PATH: run it where jobs are submitted, such as a login node"
            )
        self.name = name

    def submit(self, script: Path, tasks: int) -> str:
        """Submit an array of tasks, and return its number."""
        # What is given here goes before variables such as SBATCH_JOB_NAME, which go before lines of the script.
        options = ["--parsable", f"--job-name={self.name}", f"--array=0-{tasks - 1}"]
        return _run("sbatch", *options, str(script)).strip().partition(";")[0]

    def tasks(self) -> list[Task]:
        """Return the tasks of this name: all that are alive, and those that ended a short while ago."""
        lines = _run(
            "squeue", "--me", f"--name={self.name}", "--array", "--states=all", "--noheader", "--format=%i|%T|%r"
        )
        return [Task(*fields) for line in lines.splitlines() if len(fields := line.strip().split("|", 2)) == 3]

    def cancel(self, *options: str) -> None:
        """Cancel the tasks, or those of them that options of ``scancel`` select."""
        _run("scancel", "--me", f"--name={self.name}", *options)


def _run(*command: str) -> str:
    """Run a command and return its output."""
    # Options in the environment would change what squeue lists and what scancel selects, or let sbatch wait for the
    # end; inside a job, those of that job are not meant for others.
    dropped = ["SQUEUE_", "SCANCEL_", "SBATCH_WAIT", *(["SLURM_"] if "SLURM_JOB_ID" in os.environ else [])]
    environment = {
        name: value
        for name, value in os.environ.items()
        if name in ("SLURM_CONF", "SLURM_CLUSTERS") or not name.startswith(tuple(dropped))
    }
    try:
        done = subprocess.run(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=PATIENCE_SECONDS,
        )
    except subprocess.TimeoutExpired as error:
        raise SlurmError(f"{command[0]} did not answer within {PATIENCE_SECONDS:.0f} s") from error
    except OSError as error:
        raise SlurmError(f"{command[0]} could not be started: {error}") from error
    if done.returncode:
        raise SlurmError(f"{command[0]}: {(done.stderr or done.stdout).strip() or f'status {done.returncode}'}")
    return done.stdout


def _job_script(
    script: Path, folder: Path, tasks: int, options: Sequence[str], command: Sequence[str], setup: str | None
) -> str:
    """Return the text of a job script."""
    return _SCRIPT.format(
        folder=folder,
        script=shlex.quote(str(script)),
        tasks="one task" if tasks == 1 else f"{tasks} tasks",
        directives="\n".join(f"#SBATCH {option}" for option in options),
        setup=_SETUP.format(line=setup) if setup else "",
        command=shlex.join(command),
    )


def _log_pattern(folder: Path) -> str:
    """Return the log files in a folder, quoted, as ``sbatch --output`` takes them: a percent sign has a meaning."""
    quoted = re.sub(r'(["\\])', r"\\\1", str(folder).replace("%", "%%"))
    return f'"{quoted}/slurm-%A_%a.log"'


def _time_seconds(limit: str) -> int | None:
    """Return a time limit of ``sbatch`` in seconds, or ``None`` if it is none."""
    days, dash, clock = limit.rpartition("-")
    pattern = r"(\d+)(?::(\d+))?(?::(\d+))?"
    found = re.fullmatch(pattern, clock)
    if found is None or (dash and not days.isdecimal()):
        return None
    numbers = [int(number) for number in found.groups() if number is not None]
    if dash:
        # Days come with hours first; without days, one number is minutes, and two are minutes and seconds.
        hours, minutes, seconds = [*numbers, 0, 0][:3]
    else:
        hours, minutes, seconds = {1: [0, *numbers, 0], 2: [0, *numbers], 3: numbers}[len(numbers)]
    return ((int(days or 0) * 24 + hours) * 60 + minutes) * 60 + seconds
