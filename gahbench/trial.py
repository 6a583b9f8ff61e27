"""A trial of architectures before a run: shapes, sizes and work, without numbers.

An architecture is built and called on torch's meta device. That runs a plugin's code, which may be a stranger's and may
crash, so those that are not built in are tried in a process of their own; what goes wrong there, but for a size that is
refused, is left to the unit itself to tell.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from gahbench.contracts import Shape
from gahbench.registry import Configured, Registry
from gahbench.spec import Spec

#: Sides that are tried to tell a network that refuses a size from one that refuses everything.
OTHER_SIDES = (64, 96, 128, 256)
#: A trial takes milliseconds; one that takes so long is given up.
TIMEOUT_SECONDS = 60.0


@dataclass(frozen=True)
class Trial:
    """What a trial found.

    Parameters
    ----------
    parameters
        Number of trainable numbers; 0 if unknown.
    work
        Multiply-adds of one image's forward pass; 0 if unknown.
    refusal
        Why the network cannot take images of this shape, in its own words; ``None`` if it can, or if it is not known.
    """

    parameters: int = 0
    work: float = 0.0
    refusal: str | None = None


def try_out(cases: Sequence[tuple[Configured, Shape]], registry: Registry) -> list[Trial]:
    """Try architectures on shapes (C, H, W)."""
    foreign = [case for case in cases if not case[0].plugin.is_built_in]
    found = iter(_in_another_process(foreign, registry)) if foreign else iter(())
    return [_try(configured, shape) if configured.plugin.is_built_in else next(found) for configured, shape in cases]


def _try(configured: Configured, shape: Shape) -> Trial:
    import torch

    from gahbench.errors import ParameterError
    from gahbench.training.hardware import multiply_adds

    def build(shape: Shape) -> Any:
        with torch.device("meta"):
            return configured.build(shape).eval()

    try:
        network = build(shape)
    except ParameterError as error:
        return Trial(refusal=str(error))
    except Exception:
        return Trial()
    count = sum(parameter.numel() for parameter in network.parameters())
    try:
        return Trial(count, multiply_adds(network, shape))
    except ValueError as error:
        refusal = str(error)
    except Exception:
        # Not every operation knows the meta device; the unit itself will tell what is wrong, if anything is.
        return Trial(count)
    for side in OTHER_SIDES:
        other = (shape[0], side, side)
        try:
            multiply_adds(build(other), other)
        except Exception:
            continue
        return Trial(count, refusal=refusal)
    return Trial(count)


def _in_another_process(cases: Sequence[tuple[Configured, Shape]], registry: Registry) -> list[Trial]:
    """Try cases in another process, and the rest in a new one whenever a case takes the process along."""
    trials: list[Trial] = []
    while len(trials) < len(cases):
        found = _one_process(cases[len(trials) :], registry)
        left = len(cases) - len(trials) - len(found)
        trials += [*found, Trial()] if left else found
    return trials


def _one_process(cases: Sequence[tuple[Configured, Shape]], registry: Registry) -> list[Trial]:
    """Return the trials of the first cases, up to one at which the process ended."""
    from gahbench.resources import python_environment

    message = {
        "sources": [str(source) for source in registry.sources],
        "cases": [[case.plugin.name, case.parameters, shape] for case, shape in cases],
    }
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-m", "gahbench.trial"],
            input=json.dumps(message, default=str),
            capture_output=True,
            text=True,
            timeout=TIMEOUT_SECONDS,
            env=python_environment(),
        )
        written = done.stdout
    except subprocess.TimeoutExpired as error:
        written = error.stdout.decode() if isinstance(error.stdout, bytes) else error.stdout or ""
    marked = [line.removeprefix(_MARK) for line in written.splitlines() if line.startswith(_MARK)]
    return [Trial(**json.loads(line)) for line in marked]


#: Marks our lines among what plugins may print.
_MARK = "gahbench-trial "


def _main() -> None:
    message = json.load(sys.stdin)
    registry = Registry(tuple(Path(source) for source in message["sources"]))
    for name, parameters, shape in message["cases"]:
        trial = _try(registry.configure("architecture", Spec(name, (), parameters)), tuple(shape))
        print(_MARK + json.dumps(asdict(trial)), flush=True)


if __name__ == "__main__":
    _main()
