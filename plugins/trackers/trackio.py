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
    """Trackio: a run for each row, and one for the suite, on this machine; needs the extra ``trackio``.

    The project has the name of the suite, the group that of the results folder: ``trackio show --project SUITE``. The
    database is where Trackio has all of them, in ``$TRACKIO_DIR`` or the folder of the Hugging Face hub.

    Parameters
    ----------
    project
        Name of the project; ``null`` for that of the suite.
    """

    def __init__(self, project: str | None = None) -> None:
        require("tracker 'trackio'", "trackio", "trackio")
        self.project = project
        self._runs: dict[str, trackio.Run] = {}

    def start(self, folder: Path, suite: Mapping[str, Any]) -> None:
        """Open the run of the suite."""
        self._group, self._suite = folder.name, suite
        self._top = self._run(folder.name, suite)

    def log_training(self, row: str, step: int, values: Mapping[str, float]) -> None:
        """Log values at a step of the row's run."""
        self._row(row).log(dict(values), step=step)

    def log_scores(self, row: str, values: Mapping[str, float]) -> None:
        """Log values after the last step of the row's run."""
        self._row(row).log(dict(values))

    def finish(self, results: Results | None) -> None:
        """Log the board, as a table, and end all runs."""
        import trackio

        with _quiet():
            if results is not None:
                self._top.log({"leaderboard": trackio.Table(dataframe=results.leaderboard())})
            for run in (self._top, *self._runs.values()):
                run.finish()

    def _row(self, row: str) -> trackio.Run:
        if row not in self._runs:
            self._runs[row] = self._run(row, {"training": self._suite["training"].get(row)})
        return self._runs[row]

    def _run(self, name: str, config: Mapping[str, Any]) -> trackio.Run:
        import trackio

        project = self.project or self._suite["suite"]
        with _quiet():
            # In a context of its own: a run that begins would end the current one.
            return contextvars.copy_context().run(
                trackio.init, project, name, group=self._group, config=dict(config), embed=False
            )


def _quiet() -> contextlib.redirect_stdout[Any]:
    """Drop what Trackio says of every run: lines on standard output, which is for the board."""
    return contextlib.redirect_stdout(io.StringIO())
