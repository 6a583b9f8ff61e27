"""Run every code path on the CPU and on the stand-in GPU, and count waits: ``python -m tests.devices [GROUP ...]``.

Prints a row for each path with the number of waits for a GPU. Exits with status 1 if devices were mixed, results
differ, or the number of waits differs from the guide; fewer waits may mean that work never reached the device.
"""

from __future__ import annotations

import argparse
import sys
import traceback
import warnings
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from torch.utils import _pytree as tree

from gahbench.devices import stand_in
from tests.devices import paths
from tests.devices.budgets import BUDGETS

WIDTHS = (36, 52)


def main(arguments=None):
    """Run paths, and return 1 if there is a problem."""
    parser = argparse.ArgumentParser(prog="python -m tests.devices", description=str(__doc__).splitlines()[0])
    groups = ", ".join(map(repr, BUDGETS))
    parser.add_argument("groups", nargs="*", metavar="GROUP", help=f"groups to run, of {groups}; all by default")
    parser.add_argument("--locations", action="store_true", help="print where each path waits")
    parser.add_argument("--few", action="store_true", help="run only a few paths of each group")
    options = parser.parse_args(arguments)
    if unknown := sorted({*options.groups} - {*BUDGETS}):
        parser.error(f"unknown groups: {', '.join(unknown)}")
    warnings.simplefilter("ignore")
    stand_in.install()
    problems, tested = [], set()
    for path in paths.all_paths():
        if (not options.groups or path.group in options.groups) and (not options.few or path.name in paths.FEW):
            tested |= {path.group, path.name}
            waits, problem = run(path)
            problems.append(problem)
            mixed = "refused" if "DeviceMixError" in problem else "none"
            reads, uploads = (sum(wait.kind == kind for wait in waits) for kind in ("read", "upload"))
            title = f"{path.group:<{WIDTHS[0]}} {path.name:<{WIDTHS[1]}}"
            print(f"{title} {mixed:>8} {reads:>5} {uploads:>7}  {problem or 'ok'}", flush=True)
            for wait, count in Counter(map(str, waits)).most_common() if options.locations else ():
                print(f"{'':>{WIDTHS[0]}} {count:>4} {wait}")
    expected = {*(options.groups or BUDGETS), *(paths.FEW if options.few and not options.groups else ())}
    for name in sorted(expected - tested):
        problems.append("no path")
        print(f"{name}: no path has this group or name")
    failed = sum(map(bool, problems))
    print(f"{len(problems)} paths, {failed} with a problem", file=sys.stderr)
    return 1 if failed or not problems else 0


def run(path):
    """Run a path on both devices; return the waits for a GPU, and a description of the problem or an empty string."""
    with stand_in.record_waits() as waits:
        try:
            expected = numbers(path.prepare(torch.device("cpu"))())
            prepared = path.prepare(torch.device(stand_in.NAME, 0))
            waits.clear()
            # Copy the results before the next run, which may change them in place.
            results = numbers(prepared())
            if not path.runs_once:
                waits.clear()
                prepared()
            counted = list(waits)
        except Exception as error:
            lines = [f"{frame.filename}:{frame.lineno}" for frame in traceback.extract_tb(error.__traceback__)]
            return list(waits), f"{type(error).__name__}: {error}\n  {' '.join(lines[-8:])}"
    group = BUDGETS.get(path.group, {"": (0, 0)})
    budget = group.get(path.name, group[""])
    count = tuple(sum(wait.kind == kind for wait in counted) for kind in ("read", "upload"))
    exceeded = "" if count == budget else f"the table has {budget[0]} reads and {budget[1]} uploads"
    return counted, describe_difference(results, expected, path.tolerance) or exceeded


def numbers(results):
    """Return all numbers in nested results as CPU tensors."""
    return [torch.as_tensor(leaf).cpu().double() for leaf in tree.tree_leaves(results) if leaf is not None]


def describe_difference(results, expected, tolerance):
    """Describe a difference beyond the tolerance; return an empty string if there is none."""
    if not expected:
        return "no results"
    for result, reference in zip(results, expected, strict=True):
        if result.shape != reference.shape or not torch.equal(result.isnan(), reference.isnan()):
            return f"shape {tuple(result.shape)} instead of {tuple(reference.shape)}, or different values are NaN"
        scale = float(reference.abs().nan_to_num().max()) if reference.numel() else 1.0
        error = float((result - reference).abs().nan_to_num().max()) / max(scale, 1e-30) if reference.numel() else 0.0
        if error > tolerance:
            return f"error of {error:.1e} relative to the largest value; accepted: {tolerance:g}"
    return ""


if __name__ == "__main__":
    sys.exit(main())
