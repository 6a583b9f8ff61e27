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
    """Logs to MLflow: a parent run for the suite, and a child run for each row; needs the extra ``mlflow``.

    The experiment has the name of the suite. View it with
    ``mlflow ui --backend-store-uri sqlite:///FOLDER/mlflow/mlflow.db``. The suite and the board are artifacts of the
    parent run. Characters that MLflow does not accept in names of metrics, such as brackets, become underscores. A
    resumed results folder continues its run.

    Parameters
    ----------
    folder
        Folder of the database and the artifacts; ``null`` for ``mlflow`` in the results folder.
    uri
        URI of a tracking server, such as ``http://host:5000``, or of another MLflow store, instead of ``folder``.
    """

    def __init__(self, folder: str | None = None, uri: str | None = None) -> None:
        require("tracker 'mlflow'", "mlflow", "mlflow")
        if folder is not None and uri is not None:
            raise ValueError("folder and uri are both given; accepted: at most one of the two")
        self.folder, self.uri = folder, uri
        self._row_runs: dict[str, str] = {}

    def start(self, folder: Path, suite: Mapping[str, Any]) -> None:
        """Open the run of the suite."""
        # Disable usage statistics of MLflow.
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        from mlflow import MlflowClient

        self._source, self._suite = str(folder.resolve()), suite
        uri, artifacts = self.uri, None
        if uri is None:
            root = Path(self.folder or folder / "mlflow").resolve()
            root.mkdir(parents=True, exist_ok=True)
            uri, artifacts = f"sqlite:///{root / 'mlflow.db'}", (root / "artifacts").as_uri()
        self._client: MlflowClient = MlflowClient(uri)
        name: str = suite["suite"]
        experiment = self._client.get_experiment_by_name(name)
        self._experiment = experiment.experiment_id if experiment else self._client.create_experiment(name, artifacts)
        self._suite_run = self._open_run(folder.name, {})
        for field in ("datasets", "entrants", "metrics", "splits", "sigmas", "seeds"):
            self._client.set_tag(self._suite_run, f"gahbench.{field}", ", ".join(map(str, suite[field]))[:5000])
        self._client.log_dict(self._suite_run, dict(suite), "suite.json")

    def log_training(self, row: str, step: int, values: Mapping[str, float]) -> None:
        """Log metrics of a row at a training step."""
        for name, value in values.items():
            self._client.log_metric(self._row_run(row), metric_name(name), value, step=step)

    def log_scores(self, row: str, values: Mapping[str, float]) -> None:
        """Log scores of a row as metrics."""
        self.log_training(row, 0, values)

    def finish(self, results: Results | None) -> None:
        """Log the board, and end all runs."""
        if results is not None:
            self._client.log_text(self._suite_run, results.leaderboard().to_csv(index=False), "leaderboard.csv")
        for run in (self._suite_run, *self._row_runs.values()):
            self._client.set_terminated(run, "FAILED" if results is None else "FINISHED")

    def _row_run(self, row: str) -> str:
        """Return the run of a row; a new run gets the training recipe as parameters."""
        if row not in self._row_runs:
            run = self._row_runs[row] = self._open_run(row, {"mlflow.parentRunId": self._suite_run})
            for name, value in self._suite["training"].get(row, {}).items():
                self._client.log_param(run, name, value)
        return self._row_runs[row]

    def _open_run(self, name: str, tags: dict[str, str]) -> str:
        """Return the existing run with this name and results folder, or create a run."""
        tags = {**tags, "gahbench.folder": self._source}
        quoted = self._source.replace("'", "''")
        runs = self._client.search_runs([self._experiment], f"tags.`gahbench.folder` = '{quoted}'", max_results=50000)
        for run in runs:
            if run.info.run_name == name and run.data.tags.get("mlflow.parentRunId") == tags.get("mlflow.parentRunId"):
                self._client.update_run(run.info.run_id, status="RUNNING")
                return str(run.info.run_id)
        return str(self._client.create_run(self._experiment, tags=tags, run_name=name).info.run_id)


def metric_name(name: str) -> str:
    """Replace characters that MLflow does not accept in names of metrics."""
    return re.sub(r"[^\w\-. /]", "_", name)
