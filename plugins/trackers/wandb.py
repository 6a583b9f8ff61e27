"""The tracker for Weights & Biases."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from gahbench import Results, Tracker

from .._extras import require

if TYPE_CHECKING:
    import wandb


class WandB(Tracker):
    """Weights & Biases: a run for each row, and one for the suite; needs the extra ``wandb``.

    The project has the name of the suite, the group that of the results folder. Nothing is sent unless ``mode`` is
    ``online``: ``wandb sync`` sends a folder later. Scores are in the summary of a run.

    Parameters
    ----------
    folder
        Where its folder ``wandb`` is; ``null`` for the results folder.
    project
        Name of the project; ``null`` for that of the suite.
    mode
        ``offline``, or ``online`` to send what is logged to the server that wandb is logged in to.
    """

    def __init__(
        self, folder: str | None = None, project: str | None = None, mode: Literal["offline", "online"] = "offline"
    ) -> None:
        require("tracker 'wandb'", "wandb", "wandb")
        self.folder, self.project, self.mode = folder, project, mode
        self._runs: dict[str, wandb.Run] = {}

    def start(self, folder: Path, suite: Mapping[str, Any]) -> None:
        """Open the run of the suite."""
        # It would report its own errors to its makers.
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        self._results, self._suite = folder, suite
        self._top = self._run(folder.name, "suite", suite)

    def log_training(self, row: str, step: int, values: Mapping[str, float]) -> None:
        """Log values at a step of the row's run."""
        self._row(row).log({**values, "step": step})

    def log_scores(self, row: str, values: Mapping[str, float]) -> None:
        """Write values into the summary of the row's run."""
        self._row(row).summary.update(dict(values))

    def finish(self, results: Results | None) -> None:
        """Log the board, as a table, and end all runs."""
        import wandb

        if results is not None:
            board = results.leaderboard().astype(object)
            # Missing values of pandas are a type of their own there.
            self._top.log({"leaderboard": wandb.Table(dataframe=board.where(board.notna(), None))})
        for run in (self._top, *self._runs.values()):
            run.finish(exit_code=1 if results is None else 0)

    def _row(self, row: str) -> wandb.Run:
        if row not in self._runs:
            run = self._run(row, "row", {"training": self._suite["training"].get(row)})
            run.define_metric("*", step_metric="step")
            self._runs[row] = run
        return self._runs[row]

    def _run(self, name: str, job_type: str, config: Mapping[str, Any]) -> wandb.Run:
        import wandb

        folder = Path(self.folder) if self.folder is not None else self._results
        folder.mkdir(parents=True, exist_ok=True)
        return wandb.init(
            project=self.project or self._suite["suite"],
            name=name[:128],
            group=self._results.name[:128],
            job_type=job_type,
            config=dict(config),
            dir=str(folder),
            mode=self.mode,
            # Several are open at a time.
            reinit="create_new",
            settings=wandb.Settings(silent=True, console="off", save_code=False, disable_git=True),
        )
