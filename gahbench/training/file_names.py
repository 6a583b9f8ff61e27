"""Names of the files of a fit."""

from __future__ import annotations

WEIGHTS = "weights.safetensors"
HISTORY = "history.csv"
CHECKPOINT = "checkpoint.pt"


def snapshot_file(step: int | str) -> str:
    """Return the name of the file of the weights after a number of steps."""
    return f"snapshot-{step}.safetensors"
