"""The tracker for MLflow."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gahbench import Results, Tracker

from .._extras import require

if TYPE_CHECKING:
    from mlflow import MlflowClient


class MLflow(Tracker):
    """MLflow: a run for the suite, and below it one for each row; needs the extra ``mlflow``.

    The experiment has the name of the suite. ``mlflow ui --backend-store-uri sqlite:///FOLDER/mlflow/mlflow.db`` shows
    it. The suite and the board are files of its run. What MLflow does not take in names of metrics, such as brackets,
    is written as underscores. The same results folder goes on in the same run.

    Parameters
    ----------
    folder
        Where the database and the files go; ``null`` for ``mlflow`` in the results folder.
    uri
        A tracking server instead, ``http://host:5000``, or any other store that MLflow takes.
    """

    def __init__(self, folder: str | None = None, uri: str | None = None) -> None:
        require("tracker 'mlflow'", "mlflow", "mlflow")
        if folder is not None and uri is not None:
            raise ValueError("folder and uri are two places; accepted is one of them")
        self.folder, self.uri = folder, uri
        self._runs: dict[str, str] = {}

    def start(self, folder: Path, suite: Mapping[str, Any]) -> None:
        """Open the run of the suite."""
        # It would report its own use to its makers.
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        from mlflow import MlflowClient

        self._source, self._suite = str(folder.resolve()), suite
        uri, artifacts = self.uri, None
        if uri is None:
            home = Path(self.folder or folder / "mlflow").resolve()
            home.mkdir(parents=True, exist_ok=True)
            uri, artifacts = f"sqlite:///{home / 'mlflow.db'}", (home / "artifacts").as_uri()
        self._client: MlflowClient = MlflowClient(uri)
        name: str = suite["suite"]
        found = self._client.get_experiment_by_name(name)
        self._experiment = found.experiment_id if found else self._client.create_experiment(name, artifacts)
        self._top = self._run(folder.name, {})
        for field in ("datasets", "entrants", "metrics", "splits", "sigmas", "seeds"):
            self._client.set_tag(self._top, f"gahbench.{field}", ", ".join(map(str, suite[field]))[:5000])
        self._client.log_dict(self._top, dict(suite), "suite.json")

    def log_training(self, row: str, step: int, values: Mapping[str, float]) -> None:
        """Log metrics at a step of the row's run."""
        for name, value in values.items():
            self._client.log_metric(self._row(row), metric_name(name), value, step=step)

    def log_scores(self, row: str, values: Mapping[str, float]) -> None:
        """Log metrics of the row's run."""
        self.log_training(row, 0, values)

    def finish(self, results: Results | None) -> None:
        """Log the board, and end all runs."""
        if results is not None:
            self._client.log_text(self._top, results.leaderboard().to_csv(index=False), "leaderboard.csv")
        for run in (self._top, *self._runs.values()):
            self._client.set_terminated(run, "FAILED" if results is None else "FINISHED")

    def _row(self, row: str) -> str:
        """Return the run of a row, with its recipe as parameters."""
        if row not in self._runs:
            run = self._runs[row] = self._run(row, {"mlflow.parentRunId": self._top})
            for name, value in self._suite["training"].get(row, {}).items():
                self._client.log_param(run, name, value)
        return self._runs[row]

    def _run(self, name: str, tags: dict[str, str]) -> str:
        """Return the run of that name of this results folder, a new one if there is none."""
        tags = {**tags, "gahbench.folder": self._source}
        quoted = self._source.replace("'", "''")
        found = self._client.search_runs([self._experiment], f"tags.`gahbench.folder` = '{quoted}'", max_results=50000)
        for run in found:
            if run.info.run_name == name and run.data.tags.get("mlflow.parentRunId") == tags.get("mlflow.parentRunId"):
                self._client.update_run(run.info.run_id, status="RUNNING")
                return str(run.info.run_id)
        return str(self._client.create_run(self._experiment, tags=tags, run_name=name).info.run_id)


def metric_name(name: str) -> str:
    """Return a name of a metric that MLflow takes."""
    return re.sub(r"[^\w\-. /]", "_", name)
