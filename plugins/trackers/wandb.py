"""The tracker for Weights & Biases."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from gahbench import Results, hookimpl

from .._extras import require

if TYPE_CHECKING:
    import wandb


class WandB:
    """Logs to Weights & Biases: a run for each row, and a run for the suite; needs the extra ``wandb``.

    The project has the name of the suite, and the group has the name of the results folder. Scores are in the summary
    of a run. Nothing is uploaded unless ``mode`` is ``online``; ``wandb sync`` uploads a folder later.

    Parameters
    ----------
    folder
        Parent of the folder ``wandb``; ``null`` for the results folder.
    project
        Name of the project; ``null`` for the name of the suite.
    mode
        ``offline``, or ``online`` to upload to the server of the current wandb login.
    """

    def __init__(
        self, folder: str | None = None, project: str | None = None, mode: Literal["offline", "online"] = "offline"
    ) -> None:
        require("tracker 'wandb'", "wandb", "wandb")
        self.folder, self.project, self.mode = folder, project, mode
        self._row_runs: dict[str, wandb.Run] = {}

    @hookimpl
    def run_started(self, folder: Path, suite: Mapping[str, Any]) -> None:
        """Open the run of the suite."""
        # Disable error reports of wandb to its developers.
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        self._results, self._suite = folder, suite
        self._suite_run = self._open_run(folder.name, "suite", suite)

    @hookimpl
    def log_training(self, row: str, step: int, values: Mapping[str, float]) -> None:
        """Log values of a row at a training step."""
        self._row_run(row).log({**values, "step": step})

    @hookimpl
    def log_scores(self, row: str, values: Mapping[str, float]) -> None:
        """Write scores of a row to the summary of its run."""
        self._row_run(row).summary.update(dict(values))

    @hookimpl
    def run_finished(self, results: Results | None) -> None:
        """Log the board as a table, and end all runs."""
        import wandb

        if results is not None:
            board = results.leaderboard().astype(object)
            # wandb does not accept missing values of pandas.
            self._suite_run.log({"leaderboard": wandb.Table(dataframe=board.where(board.notna(), None))})
        for run in (self._suite_run, *self._row_runs.values()):
            run.finish(exit_code=1 if results is None else 0)

    def _row_run(self, row: str) -> wandb.Run:
        if row not in self._row_runs:
            run = self._open_run(row, "row", {"training": self._suite["training"].get(row)})
            run.define_metric("*", step_metric="step")
            self._row_runs[row] = run
        return self._row_runs[row]

    def _open_run(self, name: str, job_type: str, config: Mapping[str, Any]) -> wandb.Run:
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
            # Several runs are open at a time.
            reinit="create_new",
            settings=wandb.Settings(silent=True, console="off", save_code=False, disable_git=True),
        )
