"""Score a model in memory, together with the references of a suite, without a results folder."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import pandas as pd
import torch
from torch import nn

from gahbench._util.errors import ParameterError, SuiteError, error_text, listing, suggestion
from gahbench.board.results import Results
from gahbench.board.tables import SCHEMAS
from gahbench.contracts.datasets import MEASURED, Dataset
from gahbench.contracts.references import Reference
from gahbench.contracts.truth import SEES_DATASET
from gahbench.devices.hardware import hardware
from gahbench.evaluation.measurement import Measurement, Subject
from gahbench.networks.conversions import Converted
from gahbench.planning.plan import dataset_row, metric_ratios, metric_titles
from gahbench.planning.suite import load_suite
from gahbench.planning.suite_fields import Scoring, make_scoring, noise_levels, refusal_without_clean, scored_images
from gahbench.planning.suite_files import suite_files
from gahbench.planning.units import PlannedDataset
from gahbench.registry.configured import Configured, citation_rows
from gahbench.registry.registry import Registry, open_registry

#: Note on the row of the model.
NOTE = "a model in memory: not reproducible from a file"
#: Needs of metrics that a model in memory cannot meet, since its training data are unknown.
UNAVAILABLE = frozenset({"training", "partner", "snapshots"})
#: Default noise levels, number of images, and metrics for a single dataset.
SIGMAS, IMAGES, METRICS = (0.05, 0.1, 0.2, 0.4), 24, ("psnr", "ssim")
BASELINE = "oracle-threshold[sym4]"
REFERENCES = ("identity", "bayes-shrink[sym4]", BASELINE)


def score(
    model: Callable[..., Any],
    on: str | Path,
    *,
    sigmas: Sequence[float] | Literal["measured"] | None = None,
    images: int | None = None,
    metrics: Sequence[str] | None = None,
    name: str = "model",
    device: str = "cpu",
    plugins: Sequence[str | Path] = (),
) -> Results:
    """Score a model in memory together with references, on the datasets of a suite or on a single dataset.

    Parameters
    ----------
    model : callable
        A module or function ``model(noisy, sigma)`` that returns denoised images, given noisy images (N, C, H, W) with
        grey values in [0, 1], and noise levels (N,). :func:`gahbench.as_denoiser` converts other models. A module is
        switched to evaluation mode during scoring, and moved to the device.
    on : str or Path
        Name or path of a suite, whose references are scored on the same images and noise, and whose architectures are
        left out; or a dataset such as ``faces[size=24]``, which is scored with three references.
    sigmas : sequence of float or "measured", optional
        Noise levels greater than 0, in units where images lie in [0, 1], or ``measured`` for the recorded noisy images
        of a dataset such as ``captures``. By default the levels of the suite, or (0.05, 0.1, 0.2, 0.4) for a dataset.
    images : int, optional
        Number of test images, 1 or more. By default the number that the suite sets, or 24 for a dataset.
    metrics : sequence of str, optional
        Metrics, including psnr unless images have no clean references. By default the metrics of the suite, or psnr
        and ssim for a dataset. Metrics that need the training data of the model are left out.
    name : str, default "model"
        Name of the model's row, different from the labels of the references.
    device : str, default "cpu"
        Device of networks: ``cpu``, ``cuda``, or ``auto`` for a GPU if available.
    plugins : sequence of str or Path, default ()
        Plugin files, or folders of plugin files.

    Returns
    -------
    Results
        ``results.leaderboard()`` is the board. It notes that the model's row is not reproducible from a file.

    Raises
    ------
    GahbenchError
        If an argument is invalid.

    Examples
    --------
    >>> import gahbench
    >>> results = gahbench.score(lambda noisy, sigma: noisy, "discs[size=16]", sigmas=[0.1], images=4)
    >>> board = results.leaderboard().set_index("entrant")
    >>> round(float(board.loc["model", "psnr"]))
    20
    """
    registry = open_registry(plugins)
    datasets, references, chosen, baseline, scoring = _resolve(on, registry)
    scoring = make_scoring(
        sigmas=(scoring.sigmas or MEASURED) if sigmas is None else sigmas,
        images=scoring.images if images is None else images,
        noise_seed=scoring.noise_seed,
    )
    if metrics is not None:
        chosen = [registry.configure("metric", spec) for spec in metrics]
    chosen = [metric for metric in chosen if not frozenset(metric.plugin.factory.needs) & UNAVAILABLE]
    if name in (reference.label for reference in references):
        raise ParameterError(f"name='{name}': a reference has this name; accepted: any other name")
    module = model if isinstance(model, nn.Module) else Converted(model)
    tables: dict[str, list[Any]] = {table: [] for table in ("scores", "fits", "failures", "datasets", "notes")}
    modes = [(part, part.training) for part in module.modules()]
    try:
        for configured in datasets:
            dataset: Dataset = configured.build()
            _check_metrics(configured, dataset, chosen)
            count = scored_images(scoring, dataset, "test")
            planned = PlannedDataset(configured, dataset, noise_levels(scoring, dataset), {"test": count})
            tables["datasets"].append(dataset_row(planned, scoring))
            tables["notes"].append({"dataset": configured.label, "entrant": name, "note": NOTE})
            subjects = {name: Subject(lambda: module)}
            subjects |= {one.label: Subject(one.build) for one in references if _is_defined(one.build(), dataset)}
            for label, subject in subjects.items():
                for row in _rows(planned, scoring, subject, chosen, hardware(device).device):
                    row |= {"dataset": configured.label, "entrant": label, "seed": None}
                    tables["failures" if "error" in row else "scores"].append(row)
    finally:
        for part, was_training in modes:
            part.training = was_training
    errors = [row["error"] for row in tables["failures"] if row["entrant"] == name]
    if errors and all(row["entrant"] != name for row in tables["scores"]):
        # An empty row is easily overlooked.
        warnings.warn(
            f"{name} has no scores: {errors[0]}; a model is called with noisy images and noise levels; "
            'gahbench.as_denoiser converts other models, such as as_denoiser(model, "none")',
            stacklevel=2,
        )
    suite = Path(on).stem if Path(on).suffix in (".yaml", ".yml") else str(on)
    tables["metrics"], tables["ratios"] = metric_titles(chosen), metric_ratios(chosen)
    tables["citations"] = citation_rows([*references, *datasets, *chosen])
    frames: dict[str, Any] = {
        table: pd.DataFrame(rows, columns=pd.Index(list(SCHEMAS[table]))) for table, rows in tables.items()
    }
    frames["scores"] = frames["scores"].assign(suite=suite, split="test")
    entrants = [name, *(reference.label for reference in references)]
    return Results(suite=suite, entrants=entrants, baseline=baseline, **frames)


def _resolve(
    on: str | Path, registry: Registry
) -> tuple[list[Configured], list[Configured], list[Configured], str | None, Scoring]:
    """Return the datasets, references, metrics, baseline and scoring of a suite, or of a dataset."""
    name, known = str(on).partition("[")[0], [*registry.names("dataset"), *suite_files()]
    if name in registry.names("dataset"):
        references = [registry.configure("reference", spec) for spec in REFERENCES]
        metrics = [registry.configure("metric", spec) for spec in METRICS]
        scoring = make_scoring(sigmas=SIGMAS, images=IMAGES)
        return [registry.configure("dataset", str(on))], references, metrics, BASELINE, scoring
    if name not in known and Path(on).suffix not in (".yaml", ".yml"):
        hint = suggestion(name, known) or ";"
        raise SuiteError(f"'{on}' is neither a suite nor a dataset{hint} accepted: {listing(known)}, or a file")
    suite = load_suite(on, registry)
    references = [entrant for entrant in suite.entrants if entrant.kind == "reference"]
    baseline = suite.baseline if suite.baseline in [reference.label for reference in references] else None
    return list(suite.datasets), references, list(suite.metrics), baseline, suite.scoring


def _check_metrics(configured: Configured, dataset: Dataset, metrics: Sequence[Configured]) -> None:
    """Raise ``ParameterError`` if psnr is missing, or the dataset lacks the clean images of a metric."""
    if (kind := dataset.noise_kind) is None and "psnr" not in [metric.plugin.name for metric in metrics]:
        raise ParameterError("metrics must include psnr, by which boards rank")
    for metric in metrics:
        if kind is not None and (reason := refusal_without_clean(metric.plugin.factory, kind)):
            raise ParameterError(f"{metric.label} on {configured.label}: {reason}")


def _is_defined(reference: Reference, dataset: Dataset) -> bool:
    needs_clean = dataset.noise_kind is not None and reference.kind in SEES_DATASET
    return not needs_clean and reference.supports(dataset)


def _rows(
    planned: PlannedDataset, scoring: Scoring, subject: Subject, metrics: Sequence[Configured], device: torch.device
) -> Iterator[dict[str, Any]]:
    """Yield the scores and failures of a denoiser."""
    request = {
        "split": "test",
        "images": planned.images["test"],
        "sigmas": planned.levels,
        "noise_seed": scoring.noise_seed,
        "captured": not scoring.sigmas,
        "sampling": scoring.sampling.model_dump(mode="json"),
    }
    measurement = None
    for metric in metrics:
        try:
            measurement = measurement or Measurement(planned.dataset, subject, request, device)
            scores = measurement.score(metric.build())
        except Exception as error:
            yield {"stage": "score", "metric": metric.label, "error": error_text(error)}
            continue
        absent = [None] * len(scores.value)
        columns = (scores.value, scores.sigma or absent, scores.image or absent, scores.part or absent)
        for value, sigma, image, part in zip(*columns, strict=True):
            label = f"{metric.label}.{part}" if part else metric.label
            kind = measurement.evaluation.denoiser.kind
            yield {"kind": kind, "sigma": sigma, "image": image, "metric": label, "value": value}
