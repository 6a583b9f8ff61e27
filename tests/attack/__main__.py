"""``python -m tests.attack [NAMES] --count N``: attacks of all kinds, or of some.

Without ``--count`` as many as a release is tried with, which takes hours.
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
    # Threads do not survive a fork.
    os.environ[_name] = "1"

#: How many cases a release is tried with.
COUNTS = {"suites": 10_000, "specs": 20_000, "images": 3_000, "checkpoints": 1_500, "folders": 300}
#: Modules with a ``main(arguments)``, which returns an exit status.
OTHERS = ("plugins", "cheats", "honest")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run attacks; return 1 if one found anything."""
    kinds = (*COUNTS, *OTHERS)
    parser = argparse.ArgumentParser(prog="python -m tests.attack", description=str(__doc__).splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(kinds)}; all by default")
    parser.add_argument("--count", type=int, help=f"cases of each campaign; by default {COUNTS}")
    parser.add_argument("--seed", type=int, default=0, help="others are other cases")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1, help="that try cases side by side")
    parser.add_argument("--time", type=float, default=10.0, metavar="SECONDS", help="after which a case hangs")
    parser.add_argument("--memory", type=float, default=1.0, metavar="GIB", help="that a case may take")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="where findings and their cases are written")
    options = parser.parse_args(arguments)
    if unknown := sorted({*options.names} - {*kinds}):
        parser.error(f"no attack {', '.join(unknown)}; accepted: {', '.join(kinds)}")
    import torch

    # A request to end is one to show what was found.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    torch.set_num_threads(1)
    wanted = options.names or kinds
    found = campaigns([name for name in wanted if name in COUNTS], options)
    others = [importlib.import_module(f"{__package__}.{name}").main([]) for name in wanted if name in OTHERS]
    return int(found or any(others))


def campaigns(names: Sequence[str], options: argparse.Namespace) -> bool:
    """Run campaigns and print a table; return whether they found anything."""
    from .harness import GIB, keep, print_table, run

    outcomes = []
    for name in names:
        campaign = importlib.import_module(f"{__package__}.{name}").CAMPAIGN
        count = options.count or COUNTS[name]
        processes, memory = min(options.processes, count), round(options.memory * GIB)
        outcomes.append(run(campaign, count, options.seed, processes, options.time, memory))
        if options.keep is not None:
            keep(outcomes[-1], options.keep)
        if not outcomes[-1].is_complete:
            break
    if outcomes:
        print_table(outcomes)
    return any(outcome.findings or not outcome.is_complete for outcome in outcomes)


if __name__ == "__main__":
    sys.exit(main())
