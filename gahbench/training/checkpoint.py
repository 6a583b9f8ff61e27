"""Checkpoints within a fit, written so that a cut leaves the last whole one."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch


def write(path: Path, state: dict[str, Any]) -> None:
    """Write a checkpoint: to a temporary name, flushed to disk, then renamed."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    with temporary.open("wb") as file:
        torch.save(state, file)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def read(path: Path) -> dict[str, Any] | None:
    """Read a checkpoint; ``None`` if there is none, or it cannot be read (the fit then starts afresh)."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        return None
    except Exception:
        # A damaged checkpoint costs time, never the run.
        path.unlink(missing_ok=True)
        return None
    return state if isinstance(state, dict) else None
