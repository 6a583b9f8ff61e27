"""The tracker for TensorBoard."""

from __future__ import annotations

import hashlib
import json
import re
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gahbench import Results, hookimpl

from .._extras import require

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

#: Largest number of open event files, each of which needs a file descriptor and a thread.
MAX_OPEN = 64


class TensorBoard:
    """Writes event files for TensorBoard, with a run for each row; needs the extra ``tensorboard``.

    View the files with ``tensorboard --logdir FOLDER``. The suite and the board are written as text summaries of the
    run ``.``. Scores are logged at step 0.

    Parameters
    ----------
    folder
        Folder of the event files; ``null`` for ``tensorboard`` in the results folder.
    """

    def __init__(self, folder: str | None = None) -> None:
        require("tracker 'tensorboard'", "tensorboard", "tensorboard")
        self.folder = None if folder is None else Path(folder)
        self._writers: OrderedDict[str, SummaryWriter] = OrderedDict()

    @hookimpl
    def run_started(self, folder: Path, suite: Mapping[str, Any]) -> None:
        """Write the suite as text."""
        self._root = self.folder or folder / "tensorboard"
        text = json.dumps(suite, indent=2)
        # An indentation of four spaces is a code block in Markdown.
        self._writer("").add_text("suite", text.replace("\n", "\n    ").join(("    ", "")), 0)

    @hookimpl
    def log_training(self, row: str, step: int, values: Mapping[str, float]) -> None:
        """Write scalars at a step."""
        for name, value in values.items():
            self._writer(row).add_scalar(name, value, step)

    @hookimpl
    def log_scores(self, row: str, values: Mapping[str, float]) -> None:
        """Write scalars at step 0."""
        self.log_training(row, 0, values)

    @hookimpl
    def run_finished(self, results: Results | None) -> None:
        """Write the board as text, and close the files."""
        if results is not None:
            self._writer("").add_text("leaderboard", _markdown(results), 0)
        for writer in self._writers.values():
            writer.close()

    def _writer(self, row: str) -> SummaryWriter:
        if row not in self._writers:
            from torch.utils.tensorboard import SummaryWriter

            # A reopened run writes a new file, which TensorBoard joins with the previous files.
            while len(self._writers) >= MAX_OPEN:
                self._writers.popitem(last=False)[1].close()
            self._writers[row] = SummaryWriter(str(self._root / folder_name(row)))
        self._writers.move_to_end(row)
        return self._writers[row]


def folder_name(row: str) -> str:
    """Return a valid folder name for a row, with a digest if characters had to be replaced or removed."""
    plain = re.sub(r"[^\w\-.,=\[\]() ]", "_", row, flags=re.ASCII)[:150]
    return plain if plain == row else f"{plain}-{hashlib.sha256(row.encode()).hexdigest()[:8]}"


def _markdown(results: Results) -> str:
    """Format the board as a Markdown table."""
    table = results.leaderboard()
    names = list(table.columns)
    lines = [names, ["---"] * len(names), *table.to_numpy().tolist()]
    return "\n".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in lines)
