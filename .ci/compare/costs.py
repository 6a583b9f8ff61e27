"""Measure commands in two checkouts in turn: wall time, processor time, and the memory of all their processes.

The fastest of ``--repeat`` is shown; memory is the largest sum of proportional set sizes, sampled four times a second.
"""

import ctypes
import os
import resource
import shutil
import subprocess
import time
from contextlib import ExitStack, suppress
from pathlib import Path

import pandas as pd
from checkouts import Checkout, open_checkouts, show

#: Commands, by the name of the measurement. ``{out}`` is absent before each command.
COMMANDS = {
    "list": "list",
    "plan standard-1": "plan standard-1",
    "quick": "run quick --out {out} --threads 1",
    "oracles": "run oracles --out {out} --threads 1 --set scoring.images=4 --set scoring.sigmas=[0.02,0.08,0.3]",
    "report": "report {folder}/results/standard-1 --out {out}",
    "site": "site {folder}/results --out {out}",
    "training": "run quick --out {out} --threads 1 --workers 1 --only unet* --dataset faces* --seed 0"
    " --metric psnr --set scoring.images=2",
    "Jacobian": "inspect local-blur --out {out} --dataset c-alpha[size=16]",
    "sampling": "sample optimal --out {out} --dataset gaussian-field[size=32]",
}
SMOKE = {"list": "list", "sampling": "sample optimal --out {out} --dataset gaussian-field[size=8]"}


def memory(process: int) -> int:
    """Return the sum of the proportional set sizes of a process and its descendants, in kB."""
    total = 0
    with suppress(OSError):  # a process may end while its files are read
        folder = Path("/proc") / str(process)
        for task in (folder / "task").iterdir():
            total += sum(memory(int(child)) for child in (task / "children").read_text().split())
        total += int((folder / "smaps_rollup").read_text().split("Pss:")[1].split()[0])
    return total


def measure(checkout: Checkout, command: str) -> dict[str, float]:
    """Run a command, and return its seconds, seconds of processor time and memory in MB."""
    out = checkout.scratch / "out"
    shutil.rmtree(out) if out.is_dir() else out.unlink(missing_ok=True)
    before, start, peak = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter(), 0
    process = checkout.start("gahbench", *command.format(out=out, folder=checkout.folder).split())
    while process.poll() is None:
        peak = max(peak, memory(process.pid))
        with suppress(subprocess.TimeoutExpired):
            process.wait(0.25)
    seconds = time.perf_counter() - start
    checkout.finish(process)
    with suppress(ChildProcessError):
        while os.wait():
            pass  # the fork server of rows
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    processor = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"s": seconds, "processor s": processor, "MB": peak / 1024}


def main() -> None:
    with ExitStack() as stack:
        ctypes.CDLL(None).prctl(36, 1)  # PR_SET_CHILD_SUBREAPER
        arguments, pair = open_checkouts(stack, __doc__, repeat=1, only="")
        commands = SMOKE if arguments.smoke else COMMANDS
        rows = list[dict[str, object]]()
        for name in arguments.only.split(",") if arguments.only else commands:
            turns = [[measure(checkout, commands[name]) for checkout in pair] for _ in range(arguments.repeat)]
            base, head = (min((turn[side] for turn in turns), key=lambda cost: cost["s"]) for side in (0, 1))
            rows.append({"command": name})
            for unit, old in base.items():
                rows[-1] |= {f"{unit} base": old, f"{unit} head": head[unit], f"{unit} ratio": head[unit] / old}
            show(pd.DataFrame(rows[-1:]))


if __name__ == "__main__":
    main()
