"""Slurm's commands ``sbatch``, ``squeue`` and ``scancel``; accounting is not needed."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from gahbench import GahbenchError

#: States of jobs that have ended for good. Any other, of later versions say, means that a job is alive.
ENDED = (
    *("BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED"),
    *("NODE_FAIL", "OUT_OF_MEMORY", "PREEMPTED", "REVOKED", "TIMEOUT"),
)
#: Seconds that a command may take: a busy controller may leave it waiting for minutes.
PATIENCE = 60.0


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


class Slurm:
    """The jobs of one name that belong to this user.

    Parameters
    ----------
    name
        Name of the jobs.

    Raises
    ------
    GahbenchError
        If Slurm's commands are not here.
    """

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
            timeout=PATIENCE,
        )
    except subprocess.TimeoutExpired as error:
        raise SlurmError(f"{command[0]} did not answer within {PATIENCE:.0f} s") from error
    except OSError as error:
        raise SlurmError(f"{command[0]} could not be started: {error}") from error
    if done.returncode:
        raise SlurmError(f"{command[0]}: {(done.stderr or done.stdout).strip() or f'status {done.returncode}'}")
    return done.stdout
