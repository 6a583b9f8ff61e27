"""Run attacks: ``python -m tests.attack [NAMES] --count N``.

Without ``--count``, each campaign runs the number of cases that a release requires, which takes hours.
"""

from __future__ import annotations

import argparse
import importlib
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    # Cases run in forked processes, and threads do not survive a fork.
    os.environ[_name] = "1"

#: Number of cases of each campaign that a release requires.
COUNTS = {"suites": 10_000, "specs": 20_000, "images": 3_000, "checkpoints": 1_500, "folders": 300}
#: Modules with a function ``main(arguments)`` that returns an exit status.
PROGRAMS = ("plugins", "cheats", "honest")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run attacks; return 1 if an attack succeeds."""
    kinds = (*COUNTS, *PROGRAMS)
    parser = argparse.ArgumentParser(prog="python -m tests.attack", description=str(__doc__).splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"attacks: {', '.join(kinds)}; all by default")
    parser.add_argument("--count", type=int, help=f"number of cases of each campaign; by default {COUNTS}")
    parser.add_argument("--seed", type=int, default=0, help="seed of the cases")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1, help="number of processes that run cases")
    parser.add_argument("--time", type=float, default=10.0, metavar="SECONDS", help="time limit of a case")
    parser.add_argument("--memory", type=float, default=1.0, metavar="GIB", help="memory limit of a case")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="folder in which to write findings and their cases")
    options = parser.parse_args(arguments)
    if unknown := sorted({*options.names} - {*kinds}):
        parser.error(f"unknown attacks: {', '.join(unknown)}; accepted: {', '.join(kinds)}")
    import torch

    # SIGTERM ends the campaign and prints its findings, like Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    torch.set_num_threads(1)
    names = options.names or kinds
    has_findings = campaigns([name for name in names if name in COUNTS], options)
    statuses = [importlib.import_module(f"{__package__}.{name}").main([]) for name in names if name in PROGRAMS]
    return int(has_findings or any(statuses))


def campaigns(names: Sequence[str], options: argparse.Namespace) -> bool:
    """Run campaigns and print a table; return whether there are findings."""
    from .harness import GIB, print_table, run, write_findings

    outcomes = []
    for name in names:
        campaign = importlib.import_module(f"{__package__}.{name}").CAMPAIGN
        count = options.count or COUNTS[name]
        processes, memory = min(options.processes, count), round(options.memory * GIB)
        outcomes.append(run(campaign, count, options.seed, processes, options.time, memory))
        if options.keep is not None:
            write_findings(outcomes[-1], options.keep)
        if not outcomes[-1].is_complete:
            break
    if outcomes:
        print_table(outcomes)
    return any(outcome.findings or not outcome.is_complete for outcome in outcomes)


if __name__ == "__main__":
    sys.exit(main())
