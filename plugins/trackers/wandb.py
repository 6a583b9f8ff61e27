"""The tracker for Weights & Biases."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import gahbench


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
        # Disable error reports of wandb to its developers.
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        try:
            from wandb import Settings, Table, init
        except ImportError as error:
            raise gahbench.GahbenchError(f"{error}: pip install 'gahbench[wandb]'") from error
        self.folder, self._init, self._table = folder, init, Table
        # Several runs are open at a time.
        quiet = Settings(silent=True, console="off", save_code=False, disable_git=True)
        self._common = {"mode": mode, "reinit": "create_new", "settings": quiet, "project": project}
        self._runs: dict[str, Any] = {}

    @gahbench.hookimpl
    def run_started(self, folder: Path, suite: Mapping[str, Any]) -> None:
        """Open the run of the suite."""
        parent = Path(self.folder or folder)
        parent.mkdir(parents=True, exist_ok=True)
        self._common |= {"dir": str(parent), "group": folder.name[:128]}
        self._common["project"] = self._common["project"] or suite["suite"]
        self._training = suite["training"]
        self._suite_run = self._init(name=folder.name[:128], job_type="suite", config=dict(suite), **self._common)

    @gahbench.hookimpl
    def log_training(self, row: str, step: int, values: Mapping[str, float]) -> None:
        """Log values of a row at a training step."""
        self._run(row).log({**values, "step": step})

    @gahbench.hookimpl
    def log_scores(self, row: str, values: Mapping[str, float]) -> None:
        """Write scores of a row to the summary of its run."""
        self._run(row).summary.update(dict(values))

    @gahbench.hookimpl
    def run_finished(self, results: gahbench.Results | None) -> None:
        """Log the board as a table, and end all runs."""
        if results is not None:
            board = results.leaderboard().astype(object)
            # wandb does not accept missing values of pandas.
            self._suite_run.log({"leaderboard": self._table(dataframe=board.where(board.notna(), None))})
        for run in (self._suite_run, *self._runs.values()):
            run.finish(exit_code=1 if results is None else 0)

    def _run(self, row: str) -> Any:
        if row not in self._runs:
            config = {"training": self._training.get(row)}
            self._runs[row] = self._init(name=row[:128], job_type="row", config=config, **self._common)
            self._runs[row].define_metric("*", step_metric="step")
        return self._runs[row]
