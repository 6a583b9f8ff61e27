"""The job script of the engine ``slurm``."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from pathlib import Path

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


def job_script(
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


def log_pattern(folder: Path) -> str:
    """Return the log files in a folder, quoted, as ``sbatch --output`` takes them: a percent sign has a meaning."""
    quoted = re.sub(r'(["\\])', r"\\\1", str(folder).replace("%", "%%"))
    return f'"{quoted}/slurm-%A_%a.log"'


def time_seconds(limit: str) -> int | None:
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
