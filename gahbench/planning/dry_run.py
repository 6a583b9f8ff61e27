"""A dry run of architectures before a run: shapes, sizes and work, without numbers.

An architecture is built and called on torch's meta device. This runs a plugin's code, which may crash, so
architectures that are not built in, or run code that they name, run in a process of their own. Errors there, except
for a refused size, are left to the unit itself to report.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from gahbench._util.error_text import error_with_place
from gahbench._util.resources import kill_group
from gahbench._util.shapes import Shape
from gahbench.registry.configured import Configured
from gahbench.registry.registry import Registry
from gahbench.registry.spec import Spec

#: Sides that are tried to distinguish a network that refuses a size from one that refuses everything.
OTHER_SIDES = (64, 96, 128, 256)
#: A dry run takes milliseconds; one that takes so long is given up.
TIMEOUT_SECONDS = 60.0


@dataclass(frozen=True)
class DryRun:
    """The result of a dry run."""

    parameters: int = 0
    work: float = 0.0
    refusal: str | None = None
    error: str | None = None


def dry_runs(cases: Sequence[tuple[Configured, Shape]], registry: Registry) -> list[DryRun]:
    """Try architectures on shapes (C, H, W)."""
    foreign = [case for case in cases if case[0].origins]
    found = iter(_in_another_process(foreign, registry)) if foreign else iter(())
    return [next(found) if configured.origins else _try(configured, shape) for configured, shape in cases]


def _try(configured: Configured, shape: Shape) -> DryRun:
    import torch

    from gahbench._util.errors import ParameterError
    from gahbench.training.hardware import multiply_adds

    def build(shape: Shape) -> Any:
        with torch.device("meta"):
            return configured.build(shape).eval()

    try:
        network = build(shape)
    except ParameterError as error:
        return DryRun(refusal=str(error))
    except Exception as error:
        return DryRun(error=error_with_place(error))
    count = sum(parameter.numel() for parameter in network.parameters())
    try:
        return DryRun(count, multiply_adds(network, shape))
    except ValueError as error:
        refusal = str(error)
    except Exception:
        # Not every operation supports the meta device.
        return DryRun(count, error=_raised_by(configured, shape))
    for side in OTHER_SIDES:
        other = (shape[0], side, side)
        try:
            multiply_adds(build(other), other)
        except Exception:
            continue
        return DryRun(count, refusal=refusal)
    return DryRun(count)


def _raised_by(configured: Configured, shape: Shape) -> str | None:
    """Return what a network raises for one image that is computed on, where that is quick; ``None`` for nothing."""
    import torch

    if math.prod(shape) > MAX_NUMBERS:
        return None
    try:
        with torch.no_grad():
            configured.build(shape).eval()(torch.zeros(1, *shape), torch.ones(1))
    except Exception as error:
        return error_with_place(error)
    return None


def _in_another_process(cases: Sequence[tuple[Configured, Shape]], registry: Registry) -> list[DryRun]:
    """Try cases in another process, and the rest in a new one whenever a case takes the process along."""
    runs: list[DryRun] = []
    while len(runs) < len(cases):
        found = _one_process(cases[len(runs) :], registry)
        left = len(cases) - len(runs) - len(found)
        runs += [*found, DryRun()] if left else found
    return runs


def _one_process(cases: Sequence[tuple[Configured, Shape]], registry: Registry) -> list[DryRun]:
    """Return the runs of the first cases, up to one at which the process ended."""
    from gahbench._util.resources import python_environment

    message = {
        "sources": [str(source) for source in registry.sources],
        "cases": [[case.plugin.name, case.parameters, shape] for case, shape in cases],
    }
    # A file, not a pipe: what a plugin has started would keep a pipe open.
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "gahbench.planning.dry_run"],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.DEVNULL,
            env=python_environment(),
            start_new_session=True,
        )
        try:
            process.communicate(json.dumps(message, default=str).encode(), timeout=TIMEOUT_SECONDS)
        except subprocess.TimeoutExpired:
            pass  # It is given up.
        finally:
            kill_group(process.pid)
            process.wait()
        output.seek(0)
        written = output.read().decode(errors="replace")
    marked = [line.removeprefix(_MARK) for line in written.splitlines() if line.startswith(_MARK)]
    return [DryRun(**json.loads(line)) for line in marked]


#: Images of so many numbers are computed on.
MAX_NUMBERS = 3 * 256 * 256
#: Marks gahbench's lines in the output, to which plugins may print.
_MARK = "gahbench-dry-run "


def _main() -> None:
    message = json.load(sys.stdin)
    registry = Registry(tuple(Path(source) for source in message["sources"]))
    for name, parameters, shape in message["cases"]:
        dry_run = _try(registry.configure("architecture", Spec(name, (), parameters)), tuple(shape))
        print(_MARK + json.dumps(asdict(dry_run)), flush=True)


if __name__ == "__main__":
    _main()
