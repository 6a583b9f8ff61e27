"""Dry runs of architectures before a run, for shapes, numbers of parameters and multiply-adds.

An architecture is built and called on torch's meta device. This runs the code of plugins, which may crash, so
architectures that are not built in, or whose parameters name code, are run in a separate process. A dry run reports
refused image sizes. Other errors in the separate process are reported when the unit runs.
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

from gahbench._util.error_text import error_with_location
from gahbench._util.resources import kill_group
from gahbench._util.shapes import Shape
from gahbench.registry.configured import Configured
from gahbench.registry.registry import Registry
from gahbench.registry.spec import Spec

#: Image sides to try, to distinguish networks that refuse a size from networks that always fail.
OTHER_SIDES = (64, 96, 128, 256)
#: Seconds after which dry runs, which usually take milliseconds, are abandoned.
TIMEOUT_SECONDS = 60.0


@dataclass(frozen=True)
class DryRun:
    """Number of parameters, multiply-adds per image, and the reason for a refusal or failure."""

    parameters: int = 0
    work: float = 0.0
    refusal: str | None = None
    error: str | None = None


def dry_runs(cases: Sequence[tuple[Configured, Shape]], registry: Registry) -> list[DryRun]:
    """Run architectures on the meta device, on images of shapes (C, H, W)."""
    external = [case for case in cases if case[0].origins]
    external_runs = iter(_run_separately(external, registry)) if external else iter(())
    return [
        next(external_runs) if configured.origins else _run_on_meta(configured, shape) for configured, shape in cases
    ]


def _run_on_meta(configured: Configured, shape: Shape) -> DryRun:
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
        return DryRun(error=error_with_location(error))
    count = sum(parameter.numel() for parameter in network.parameters())
    try:
        return DryRun(count, multiply_adds(network, shape))
    except ValueError as error:
        refusal = str(error)
    except Exception:
        # Some operations do not support the meta device.
        return DryRun(count, error=_forward_error(configured, shape))
    for side in OTHER_SIDES:
        other = (shape[0], side, side)
        try:
            multiply_adds(build(other), other)
        except Exception:
            continue
        return DryRun(count, refusal=refusal)
    return DryRun(count)


def _forward_error(configured: Configured, shape: Shape) -> str | None:
    """Return the error of a real forward pass on one image; ``None`` if there is none, or the image is too large."""
    import torch

    if math.prod(shape) > MAX_VALUES:
        return None
    try:
        with torch.no_grad():
            configured.build(shape).eval()(torch.zeros(1, *shape), torch.ones(1))
    except Exception as error:
        return error_with_location(error)
    return None


def _run_separately(cases: Sequence[tuple[Configured, Shape]], registry: Registry) -> list[DryRun]:
    """Run cases in a separate process, and restart after each case that ends the process."""
    runs: list[DryRun] = []
    while len(runs) < len(cases):
        completed = _run_process(cases[len(runs) :], registry)
        has_crashed = len(completed) < len(cases) - len(runs)
        runs += [*completed, DryRun()] if has_crashed else completed
    return runs


def _run_process(cases: Sequence[tuple[Configured, Shape]], registry: Registry) -> list[DryRun]:
    """Return the dry runs of cases, up to a case that ends the process."""
    from gahbench._util.resources import python_environment

    message = {
        "sources": [str(source) for source in registry.sources],
        "cases": [[case.plugin.name, case.parameters, shape] for case, shape in cases],
    }
    # Use a file, since processes that a plugin starts would keep a pipe open.
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
            pass  # Abandon the remaining cases.
        finally:
            kill_group(process.pid)
            process.wait()
        output.seek(0)
        text = output.read().decode(errors="replace")
    lines = [line.removeprefix(_PREFIX) for line in text.splitlines() if line.startswith(_PREFIX)]
    return [DryRun(**json.loads(line)) for line in lines]


#: Maximum number of values of an image for a real forward pass.
MAX_VALUES = 3 * 256 * 256
#: Prefix of gahbench's lines in the output, to which plugins may print too.
_PREFIX = "gahbench-dry-run "


def _main() -> None:
    message = json.load(sys.stdin)
    registry = Registry(tuple(Path(source) for source in message["sources"]))
    for name, parameters, shape in message["cases"]:
        dry_run = _run_on_meta(registry.configure("architecture", Spec(name, (), parameters)), tuple(shape))
        print(_PREFIX + json.dumps(asdict(dry_run)), flush=True)


if __name__ == "__main__":
    _main()
