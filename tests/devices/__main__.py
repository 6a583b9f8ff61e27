"""``python -m tests.devices [GROUP ...]``: run every path on the CPU and on the stand-in device, and count waits.

Prints a row for each path, with what a GPU would wait for. Ends with status 1 if tensors of two devices met, results
differ, or a path does not wait exactly as often as ``BUDGETS`` says: what never got to the device waits less.
"""

from __future__ import annotations

import argparse
import sys
import traceback
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from torch.utils import _pytree as tree

from gahbench.devices import stand_in
from tests.devices import paths
from tests.devices.budgets import BUDGETS

WIDTHS = (36, 52)


@dataclass
class Outcome:
    """What a path did on the stand-in.

    Parameters
    ----------
    path
        The path.
    waits
        What a GPU would have waited for.
    error
        What was raised, or how results differ; empty if all is well.
    """

    path: paths.DevicePath
    waits: list[stand_in.Wait]
    error: str = ""

    def count(self, kind: str) -> int:
        """Return the number of waits of a kind."""
        return sum(wait.kind == kind for wait in self.waits)

    @property
    def problem(self) -> str:
        """What is wrong; empty if nothing is."""
        if self.error:
            return self.error
        group = BUDGETS.get(self.path.group, {"": (0, 0)})
        reads, uploads = group.get(self.path.name, group[""])
        counts = self.count("read"), self.count("upload")
        return "" if counts == (reads, uploads) else f"the table has {reads} reads and {uploads} uploads"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run paths, and return 1 if there is a problem."""
    parser = argparse.ArgumentParser(prog="python -m tests.devices", description=str(__doc__).splitlines()[0])
    parser.add_argument(
        "groups", nargs="*", metavar="GROUP", help=f"of {', '.join(map(repr, BUDGETS))}; by default all"
    )
    parser.add_argument("--places", action="store_true", help="print where each path waits")
    options = parser.parse_args(arguments)
    if unknown := sorted({*options.groups} - {*BUDGETS}):
        parser.error(f"no group {unknown}")
    warnings.simplefilter("ignore")
    stand_in.install()
    outcomes = []
    for path in paths.all_paths():
        if not options.groups or path.group in options.groups:
            outcomes.append(run(path))
            _print(outcomes[-1], options.places)
    failed = sum(bool(outcome.problem) for outcome in outcomes)
    print(f"{len(outcomes)} paths, {failed} with a problem", file=sys.stderr)
    return 1 if failed or not outcomes else 0


def run(path: paths.DevicePath) -> Outcome:
    """Run a path on both devices."""
    with stand_in.waits_recorded() as waits:
        try:
            expected = _numbers(path.prepare(torch.device("cpu"))())
            prepared = path.prepare(torch.device(stand_in.NAME, 0))
            waits.clear()
            # Before it runs again, which may change results in place.
            results = _numbers(prepared())
            if not path.runs_once:
                waits.clear()
                prepared()
            counted = list(waits)
            return Outcome(path, counted, _difference(results, expected, path.tolerance))
        except Exception as error:
            lines = [f"{frame.filename}:{frame.lineno}" for frame in traceback.extract_tb(error.__traceback__)]
            return Outcome(path, list(waits), f"{type(error).__name__}: {error}\n  {' '.join(lines[-8:])}")


def _numbers(results: Any) -> list[torch.Tensor]:
    return [torch.as_tensor(leaf).cpu().double() for leaf in tree.tree_leaves(results) if leaf is not None]


def _difference(found: list[torch.Tensor], expected: list[torch.Tensor], tolerance: float) -> str:
    """Return how results differ by more than is accepted; empty if they do not."""
    if not expected:
        return "no results"
    for one, other in zip(found, expected, strict=True):
        if one.shape != other.shape or not torch.equal(one.isnan(), other.isnan()):
            return f"shape {tuple(one.shape)} against {tuple(other.shape)}, or other values are NaN"
        scale = float(other.abs().nan_to_num().max()) if other.numel() else 1.0
        off = float((one - other).abs().nan_to_num().max()) / max(scale, 1e-30) if other.numel() else 0.0
        if off > tolerance:
            return f"off by {off:.1e} of the largest value; accepted {tolerance:g}"
    return ""


def _print(outcome: Outcome, places: bool) -> None:
    path = outcome.path
    mixed = "refused" if "MixtureError" in outcome.error else "none"
    counts = f"{outcome.count('read'):>5} {outcome.count('upload'):>7}"
    print(
        f"{path.group:<{WIDTHS[0]}} {path.name:<{WIDTHS[1]}} {mixed:>8} {counts}  {outcome.problem or 'ok'}", flush=True
    )
    if places:
        for wait, count in Counter(map(str, outcome.waits)).most_common():
            print(f"{'':>{WIDTHS[0]}} {count:>4} {wait}")


if __name__ == "__main__":
    sys.exit(main())
