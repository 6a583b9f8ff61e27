"""Names of the files that a fit writes."""

from __future__ import annotations

import re
from pathlib import Path

WEIGHTS = "weights.safetensors"
HISTORY = "history.csv"
_CHECKPOINT = re.compile(r"checkpoint-(0|[1-9][0-9]{0,18})\.pt")


def snapshot_file(step: int | str) -> str:
    """Return the name of the file that holds the weights after ``step`` steps."""
    return f"snapshot-{step}.safetensors"


def checkpoint_file(step: int) -> str:
    """Return the name of the file that holds the checkpoint after ``step`` steps."""
    return f"checkpoint-{step}.pt"


def checkpoints_in(folder: Path) -> list[tuple[int, Path]]:
    """Return the (step, path) of each checkpoint in a folder, latest first."""
    matches = [(_CHECKPOINT.fullmatch(path.name), path) for path in folder.glob("checkpoint-*.pt")]
    return sorted(((int(match[1]), path) for match, path in matches if match), reverse=True)
