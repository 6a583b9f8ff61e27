"""The tracker for TensorBoard."""

from __future__ import annotations

import hashlib
import json
import re
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gahbench import Results, Tracker

from .._extras import require

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

#: Rows whose files are open: each takes a descriptor and a thread.
MAX_OPEN = 64


class TensorBoard(Tracker):
    """Event files for TensorBoard, a run of it for each row; needs the extra ``tensorboard``.

    ``tensorboard --logdir FOLDER`` shows the rows' curves in one chart. The suite and the board are texts of its run
    ``.``. A score has no step of its own, and is at step 0.

    Parameters
    ----------
    folder
        Where event files go; ``null`` for ``tensorboard`` in the results folder.
    """

    def __init__(self, folder: str | None = None) -> None:
        require("tracker 'tensorboard'", "tensorboard", "tensorboard")
        self.folder = None if folder is None else Path(folder)
        self._writers: OrderedDict[str, SummaryWriter] = OrderedDict()

    def start(self, folder: Path, suite: Mapping[str, Any]) -> None:
        """Write the suite, as text."""
        self._home = self.folder or folder / "tensorboard"
        text = json.dumps(suite, indent=2)
        # Indented by four, which is code in Markdown.
        self._writer("").add_text("suite", text.replace("\n", "\n    ").join(("    ", "")), 0)

    def log_training(self, row: str, step: int, values: Mapping[str, float]) -> None:
        """Write scalars at a step."""
        for name, value in values.items():
            self._writer(row).add_scalar(name, value, step)

    def log_scores(self, row: str, values: Mapping[str, float]) -> None:
        """Write scalars at step 0."""
        self.log_training(row, 0, values)

    def finish(self, results: Results | None) -> None:
        """Write the board, as text, and close the files."""
        if results is not None:
            self._writer("").add_text("leaderboard", _markdown(results), 0)
        for writer in self._writers.values():
            writer.close()

    def _writer(self, row: str) -> SummaryWriter:
        if row not in self._writers:
            from torch.utils.tensorboard import SummaryWriter

            # One that is written to again gets another file, which TensorBoard reads as one with the first.
            while len(self._writers) >= MAX_OPEN:
                self._writers.popitem(last=False)[1].close()
            self._writers[row] = SummaryWriter(str(self._home / folder_name(row)))
        self._writers.move_to_end(row)
        return self._writers[row]


def folder_name(row: str) -> str:
    """Return a name of a folder for a row: its own where any file system takes it, else a digest behind what it can."""
    plain = re.sub(r"[^\w\-.,=\[\]() ]", "_", row, flags=re.ASCII)[:150]
    return plain if plain == row else f"{plain}-{hashlib.sha256(row.encode()).hexdigest()[:8]}"


def _markdown(results: Results) -> str:
    """Return the board as a table in Markdown."""
    table = results.leaderboard()
    names = list(table.columns)
    lines = [names, ["---"] * len(names), *table.to_numpy().tolist()]
    return "\n".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in lines)
