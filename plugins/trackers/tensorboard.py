"""The tracker for TensorBoard."""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gahbench

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
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise gahbench.GahbenchError(f"{error}: pip install 'gahbench[tensorboard]'") from error
        self.folder, self._open = folder, SummaryWriter
        self._writers: dict[str, SummaryWriter] = {}

    @gahbench.hookimpl
    def run_started(self, folder: Path, suite: Mapping[str, Any]) -> None:
        """Write the suite as text."""
        self._results, self._root = folder, Path(self.folder or folder / "tensorboard")
        # An indentation of four spaces is a code block in Markdown.
        lines = json.dumps(suite, indent=2).splitlines()
        self._writer("").add_text("suite", "\n".join(f"    {line}" for line in lines), 0)

    @gahbench.hookimpl
    def log_training(self, row: str, step: int, values: Mapping[str, float]) -> None:
        """Write scalars at a step."""
        for name, value in values.items():
            self._writer(row).add_scalar(name, value, step)

    @gahbench.hookimpl
    def log_scores(self, row: str, values: Mapping[str, float]) -> None:
        """Write scalars at step 0."""
        self.log_training(row, 0, values)

    @gahbench.hookimpl
    def run_finished(self, results: gahbench.Results | None) -> None:
        """Write the board as text, and close the files."""
        if results is not None:
            board = (self._results / "leaderboard.md").read_text(encoding="utf-8")
            self._writer("").add_text("leaderboard", board, 0)
        self._close()

    def _writer(self, row: str) -> Any:
        if row not in self._writers:
            if len(self._writers) >= MAX_OPEN:
                # A reopened run writes a new file, which TensorBoard joins with the previous files.
                self._close()
            name = re.sub(r"[^\w\-.,=\[\]() ]", "_", row, flags=re.ASCII)[:150]
            # A checksum distinguishes names in which characters were replaced or removed.
            name = name if name == row else f"{name}-{zlib.crc32(row.encode()):08x}"
            self._writers[row] = self._open(str(self._root / name))
        return self._writers[row]

    def _close(self) -> None:
        for writer in self._writers.values():
            writer.close()
        self._writers.clear()
