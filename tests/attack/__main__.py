"""Run attacks: ``python -m tests.attack [NAMES] --count N``.

Without ``--count``, each campaign runs the number of cases that a release requires, which takes hours.
"""

from __future__ import annotations

import argparse
import importlib
import multiprocessing
import os
import sys
from collections import Counter
from collections.abc import Sequence
from typing import Any

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    # Cases run in forked processes, and threads do not survive a fork.
    os.environ[_name] = "1"

#: Modules with a function ``main`` that returns an exit status.
PROGRAMS = ("plugins", "honest")
#: Number of cases of each campaign that a release requires.
COUNTS = {"suites": 10_000, "specs": 20_000, "images": 3_000, "checkpoints": 1_500, "folders": 300}


def _run_share(name: str, count: int, seed: str, seconds: float, gibibytes: float) -> Any:
    """Run some cases of a campaign in this process."""
    from .harness import GIB, run

    module = importlib.import_module(f"{__package__}.{name}")
    return run(module.CAMPAIGN, count, seed, seconds, round(gibibytes * GIB))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run attacks; return 1 if an attack succeeds."""
    kinds = (*COUNTS, *PROGRAMS)
    parser = argparse.ArgumentParser(prog="python -m tests.attack", description=str(__doc__).splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"attacks: {', '.join(kinds)}; all by default")
    parser.add_argument("--count", type=int, help=f"number of cases of each campaign; by default {COUNTS}")
    parser.add_argument("--seed", type=int, default=0, help="seed of the cases")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1, help="number of processes")
    parser.add_argument("--time", type=float, default=10.0, metavar="SECONDS", help="time limit of a case")
    parser.add_argument("--memory", type=float, default=1.0, metavar="GIB", help="memory limit of a case")
    options = parser.parse_args(arguments)
    if unknown := sorted({*options.names} - {*kinds}):
        parser.error(f"unknown attacks: {', '.join(unknown)}; accepted: {', '.join(kinds)}")
    import torch

    torch.set_num_threads(1)
    status = 0
    for name in options.names or kinds:
        module = importlib.import_module(f"{__package__}.{name}")
        if name in PROGRAMS:
            status |= module.main()
            continue
        share = -(-(options.count or COUNTS[name]) // options.processes)
        tasks = [
            (name, share, f"{options.seed}-{index}", options.time, options.memory) for index in range(options.processes)
        ]
        with multiprocessing.get_context("fork").Pool(options.processes) as pool:
            outcomes = pool.starmap(_run_share, tasks)
        counts = sum((outcome.counts for outcome in outcomes), Counter[str]())
        print(f"{name}: {sum(outcome.cases for outcome in outcomes)} cases, {counts.total()} findings", flush=True)
        for location, number in counts.items():
            print(f"{name}: {number} times {location}", flush=True)
        status |= bool(counts)
    return status


if __name__ == "__main__":
    sys.exit(main())
