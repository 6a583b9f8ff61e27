"""The tracker for Trackio."""

from __future__ import annotations

import contextlib
import contextvars
import io
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gahbench import Results, Tracker

from .._extras import require

if TYPE_CHECKING:
    import trackio


class Trackio(Tracker):
    """Logs to Trackio on this machine: a run for each row, and a run for the suite; needs the extra ``trackio``.

    The project is named after the suite, and the group after the results folder. View the project with ``trackio show
    --project SUITE``. Trackio stores its database in ``$TRACKIO_DIR``, or in the cache folder of Hugging Face.

    Parameters
    ----------
    project
        Name of the project; ``null`` for the name of the suite.
    """

    def __init__(self, project: str | None = None) -> None:
        require("tracker 'trackio'", "trackio", "trackio")
        self.project = project
        self._row_runs: dict[str, trackio.Run] = {}

    def start(self, folder: Path, suite: Mapping[str, Any]) -> None:
        """Open the run of the suite."""
        self._group, self._suite = folder.name, suite
        self._suite_run = self._open_run(folder.name, suite)

    def log_training(self, row: str, step: int, values: Mapping[str, float]) -> None:
        """Log values of a row at a training step."""
        self._row_run(row).log(dict(values), step=step)

    def log_scores(self, row: str, values: Mapping[str, float]) -> None:
        """Log scores of a row after its last training step."""
        self._row_run(row).log(dict(values))

    def finish(self, results: Results | None) -> None:
        """Log the board as a table, and end all runs."""
        import trackio

        with _quiet():
            if results is not None:
                self._suite_run.log({"leaderboard": trackio.Table(dataframe=results.leaderboard())})
            for run in (self._suite_run, *self._row_runs.values()):
                run.finish()

    def _row_run(self, row: str) -> trackio.Run:
        if row not in self._row_runs:
            self._row_runs[row] = self._open_run(row, {"training": self._suite["training"].get(row)})
        return self._row_runs[row]

    def _open_run(self, name: str, config: Mapping[str, Any]) -> trackio.Run:
        import trackio

        project = self.project or self._suite["suite"]
        with _quiet():
            # Opening a run would end the current run of this context, so open the new run in a copy of the context.
            return contextvars.copy_context().run(
                trackio.init, project, name, group=self._group, config=dict(config), embed=False
            )


def _quiet() -> contextlib.redirect_stdout[Any]:
    """Suppress the messages of Trackio on standard output, which is reserved for the board."""
    return contextlib.redirect_stdout(io.StringIO())
