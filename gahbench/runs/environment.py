"""The environment of results."""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from packaging.requirements import Requirement

from gahbench._util.files import write_json
from gahbench._util.resources import cpu_count, processor_name
from gahbench.devices.hardware import KINDS, hardware
from gahbench.registry.registry import Problem

if TYPE_CHECKING:
    import torch


def write_environment(folder: Path, problems: Sequence[Problem] = ()) -> None:
    """Write ``environment.json``: day, versions, processor, GPUs, plugin errors; no names of machines or persons."""
    names = ["gahbench"]
    try:
        required = importlib.metadata.requires("gahbench") or []
        names += [Requirement(text).name for text in required if "extra ==" not in text]
    except importlib.metadata.PackageNotFoundError:
        pass
    versions = {}
    for name in names:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = "not installed"
    content = {
        "date": datetime.now(UTC).date().isoformat(),
        "python": platform.python_version(),
        "system": platform.system(),
        "processor": processor_name(),
        "processors": cpu_count(),
        "gpus": [
            device.name for kind in KINDS.values() if kind.is_accelerator and kind.is_real for device in kind.devices()
        ],
        "packages": versions,
        "plugin_problems": [problem.error for problem in problems],
    }
    write_json(folder / "environment.json", content)


def unit_environment(device: torch.device) -> dict[str, Any]:
    """Return what the rounding of a unit may depend on beside its key: threads, device, versions, processor."""
    import torch

    versions = {name: importlib.metadata.version(name) for name in ("torch", "numpy", "scipy")}
    return {
        "threads": torch.get_num_threads(),
        "device": hardware(device).name,
        "processor": processor_name(),
        "python": platform.python_version(),
        "versions": versions,
    }
