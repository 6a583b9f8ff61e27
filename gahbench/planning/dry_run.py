"""Dry runs of architectures before a run, for shapes, numbers of parameters and multiply-adds."""

from __future__ import annotations

import math
import multiprocessing
import os
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from gahbench._util.error_text import error_with_location
from gahbench._util.errors import ParameterError
from gahbench._util.processes import detach, start_process
from gahbench._util.resources import kill_group
from gahbench._util.shapes import Shape
from gahbench.registry.configured import Configured
from gahbench.registry.registry import Registry
from gahbench.registry.spec import Spec

#: Image sides to try, to distinguish networks that refuse a size from networks that always fail.
OTHER_SIDES = (64, 96, 128, 256)
#: Seconds after which a dry run of external code, which usually takes milliseconds, is abandoned.
TIMEOUT_SECONDS = 60.0
#: Maximum number of values of an image for a real forward pass.
MAX_VALUES = 3 * 256 * 256


@dataclass(frozen=True)
class DryRun:
    """Number of parameters, multiply-adds per image, and the reason for a refusal or failure."""

    parameters: int = 0
    work: float = 0.0
    refusal: str | None = None
    error: str | None = None


def dry_run(configured: Configured, shape: Shape) -> DryRun:
    """Build an architecture on torch's meta device, and call it on an image of shape (C, H, W).

    External code runs in a process of its own, which it may end; the unit then fails when it is run.
    """
    if not configured.origins:
        return _run(configured, shape)
    receiver, sender = multiprocessing.Pipe(duplex=False)
    sources = tuple(configured.registry.sources)
    process = start_process(_send_run, (sender, sources, configured.plugin.name, configured.parameters, shape))
    sender.close()
    try:
        if receiver.poll(TIMEOUT_SECONDS):
            return receiver.recv()  # type: ignore[no-any-return]
    except EOFError:
        pass  # The process has ended.
    finally:
        kill_group(process.pid)
        process.join()
        receiver.close()
    return DryRun()


def _send_run(
    sender: Connection, sources: tuple[Path, ...], name: str, parameters: dict[str, Any], shape: Shape
) -> None:
    """Send the dry run of an architecture from this new process, without the output of plugins."""
    detach(os.devnull)
    configured = Registry(sources).configure("architecture", Spec(name, (), parameters))
    sender.send(_run(configured, shape))
    os._exit(0)


def _run(configured: Configured, shape: Shape) -> DryRun:
    import torch

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
