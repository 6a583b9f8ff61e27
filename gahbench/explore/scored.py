"""Score a model in memory, together with the references of a suite, without a results folder."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pandas as pd
import torch
from torch import nn

from gahbench._util.errors import ParameterError, SuiteError, listing, suggestion
from gahbench.board.results import Results
from gahbench.board.tables import SCHEMAS
from gahbench.contracts.datasets import MEASURED
from gahbench.contracts.references import Reference
from gahbench.contracts.truth import SEES_DATASET
from gahbench.devices.hardware import hardware
from gahbench.evaluation.measurement import Measurement, Subject
from gahbench.networks.conversions import Converted
from gahbench.planning.plan import dataset_row, metric_ratios, metric_titles
from gahbench.planning.suite import load_suite
from gahbench.planning.suite_fields import Scoring, noise_levels, refusal_without_clean, scored_images
from gahbench.planning.suite_files import suite_files
from gahbench.planning.units import PlannedDataset
from gahbench.registry.configured import Configured, citation_rows
from gahbench.registry.registry import Registry, open_registry
from gahbench.sampling.settings import Sampling

if TYPE_CHECKING:
    from gahbench.contracts.datasets import Dataset

#: Note on the row of the model.
NOTE = "a model in memory: not reproducible from a file"
#: Needs of metrics that a model in memory cannot meet, since its training data are unknown.
UNAVAILABLE = frozenset({"training", "partner", "snapshots"})
#: Default noise levels, number of images, and metrics for a single dataset.
SIGMAS, IMAGES, METRICS = (0.05, 0.1, 0.2, 0.4), 24, ("psnr", "ssim")
#: Default metrics on noisy images without clean references, as far as their noise allows.
METRICS_ALONE = ("sure", "masked-error")
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
        Metrics, including psnr. By default the metrics of the suite, or psnr and ssim for a dataset; for noisy images
        without clean references, sure and masked-error, as far as their noise allows. Metrics that need the training
        data of the model are left out.
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
    datasets, references, chosen_metrics, baseline, scoring = _resolve(on, registry, sigmas, images, metrics)
    if name in (reference.label for reference in references):
        raise ParameterError(f"name='{name}': a reference has this name; accepted: any other name")
    module = model if isinstance(model, nn.Module) else Converted(model)
    # Modules of a model may be in different modes.
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    tables: dict[str, list[dict[str, Any]]] = {name: [] for name in ("scores", "fits", "failures", "datasets", "notes")}
    try:
        for configured in datasets:
            dataset: Dataset = configured.build()
            count = scored_images(scoring, dataset, "test")
            chosen_metrics = _metrics_on(configured, dataset, chosen_metrics, metrics is None, registry)
            planned = PlannedDataset(configured, dataset, noise_levels(scoring, dataset), {"test": count})
            tables["datasets"].append(dataset_row(planned, scoring))
            request = {
                "split": "test",
                "images": count,
                "sigmas": planned.levels,
                "noise_seed": scoring.noise_seed,
                "captured": not scoring.sigmas,
                "sampling": Sampling().model_dump(mode="json"),
            }
            tables["notes"].append({"dataset": configured.label, "entrant": name, "note": NOTE})
            for label, subject in _subjects(module, name, references, dataset):
                labels = {"dataset": configured.label, "entrant": label}
                for row in _rows(dataset, subject, request, chosen_metrics, hardware(device).device):
                    tables["failures" if "error" in row else "scores"].append(labels | row)
    finally:
        for part, was_training in modes:
            part.training = was_training
    _warn_if_unscored(name, tables["scores"], tables["failures"])
    suite = Path(on).stem if Path(on).suffix in (".yaml", ".yml") else str(on)
    tables["scores"] = [{"suite": suite, "seed": None, "split": "test", **row} for row in tables["scores"]]
    tables["metrics"], tables["ratios"] = metric_titles(chosen_metrics), metric_ratios(chosen_metrics)
    tables["citations"] = citation_rows([*references, *datasets, *chosen_metrics])
    frames: dict[str, Any] = {
        name: pd.DataFrame(rows, columns=pd.Index(list(SCHEMAS[name]))) for name, rows in tables.items()
    }
    return Results(
        suite=suite, entrants=[name, *(reference.label for reference in references)], baseline=baseline, **frames
    )


def _warn_if_unscored(name: str, scores: Sequence[Mapping[str, Any]], failures: Sequence[Mapping[str, Any]]) -> None:
    """Warn if a model has no scores, since an empty row is easily overlooked."""
    errors = [row["error"] for row in failures if row["entrant"] == name]
    if errors and not any(row["entrant"] == name for row in scores):
        warnings.warn(
            f"{name} has no scores: {errors[0]}; a model is called with noisy images and noise levels; "
            'gahbench.as_denoiser converts other models, such as as_denoiser(model, "none")',
            stacklevel=3,
        )


def _resolve(
    on: str | Path,
    registry: Registry,
    sigmas: Sequence[float] | Literal["measured"] | None,
    images: int | None,
    metrics: Sequence[str] | None,
) -> tuple[list[Configured], list[Configured], list[Configured], str | None, Scoring]:
    """Return datasets, references, metrics, baseline and scoring of a suite or dataset."""
    plugin_name = str(on).partition("[")[0]
    if plugin_name in registry.names("dataset"):
        datasets = [registry.configure("dataset", str(on))]
        references = [registry.configure("reference", spec) for spec in REFERENCES]
        chosen = [registry.configure("metric", spec) for spec in metrics or METRICS]
        return datasets, references, _measurable(chosen), BASELINE, _scoring(sigmas or SIGMAS, images or IMAGES)
    try:
        suite = load_suite(on, registry)
    except SuiteError as error:
        if Path(on).suffix in (".yaml", ".yml"):
            raise
        hint = suggestion(plugin_name, [*registry.names("dataset"), *suite_files()])
        raise SuiteError(
            f"'{on}' is neither a suite nor a dataset{hint or ';'} suites: {listing(suite_files())}, or a file; "
            f"datasets: {listing(registry.names('dataset'))}"
        ) from error
    references = [entrant for entrant in suite.entrants if entrant.kind == "reference"]
    chosen = list(suite.metrics) if metrics is None else [registry.configure("metric", spec) for spec in metrics]
    scoring = suite.scoring
    baseline = suite.baseline if suite.baseline in [reference.label for reference in references] else None
    return (
        list(suite.datasets),
        references,
        _measurable(chosen),
        baseline,
        _scoring(sigmas or scoring.sigmas, images or scoring.images, scoring.noise_seed),
    )


def _scoring(sigmas: Sequence[float] | str, images: int | Literal["all"], noise_seed: int = 0) -> Scoring:
    # `score` accepts values that a suite would refuse, so validation is skipped.
    levels = () if sigmas == MEASURED else tuple(sigmas)
    return Scoring.model_construct(sigmas=levels, images=images, noise_seed=noise_seed)


def _measurable(metrics: Sequence[Configured]) -> list[Configured]:
    """Return the metrics that a model in memory can be scored by."""
    return [metric for metric in metrics if not frozenset(metric.plugin.factory.needs) & UNAVAILABLE]


def _metrics_on(
    configured: Configured, dataset: Dataset, metrics: list[Configured], is_default: bool, registry: Registry
) -> list[Configured]:
    """Return the metrics of a dataset; raise if psnr is missing, or the dataset lacks the clean images of a metric."""
    if (kind := dataset.noise_kind) is None:
        if "psnr" not in [metric.plugin.name for metric in metrics]:
            raise ParameterError("metrics must include psnr, by which boards rank")
        return metrics
    reasons = {metric.label: refusal_without_clean(metric.plugin.factory, kind) for metric in metrics}
    if is_default:
        alone = [registry.configure("metric", name) for name in METRICS_ALONE]
        if accepted := [metric for metric in alone if refusal_without_clean(metric.plugin.factory, kind) is None]:
            return accepted
    for label, reason in reasons.items():
        if reason is not None:
            raise ParameterError(f"{label} on {configured.label}: {reason}")
    return metrics


def _subjects(
    model: nn.Module, name: str, references: Sequence[Configured], dataset: Dataset
) -> Iterator[tuple[str, Subject]]:
    yield name, Subject(lambda: model)
    for configured in references:
        reference: Reference = configured.build()
        if dataset.noise_kind is not None and reference.kind in SEES_DATASET:
            continue
        if reference.supports(dataset):
            yield configured.label, Subject(configured.build)


def _rows(
    dataset: Dataset, subject: Subject, request: Mapping[str, Any], metrics: Sequence[Configured], device: torch.device
) -> Iterator[dict[str, Any]]:
    """Yield the scores and failures of a denoiser."""
    try:
        measurement = Measurement(dataset, subject, request, device)
    except Exception as error:
        yield _failure("", error)
        return
    kind = measurement.evaluation.denoiser.kind
    for metric in metrics:
        try:
            scores = measurement.score(metric.build())
        except Exception as error:
            yield _failure(metric.label, error)
            continue
        missing = [None] * len(scores.value)
        columns = (
            scores.value,
            scores.sigma or missing,
            scores.image or missing,
            scores.part or [""] * len(scores.value),
        )
        for value, sigma, image, part in zip(*columns, strict=True):
            label = f"{metric.label}.{part}" if part else metric.label
            yield {"kind": kind, "sigma": sigma, "image": image, "metric": label, "value": value}


def _failure(metric: str, error: Exception) -> dict[str, Any]:
    text = f"{type(error).__name__}: {error}".splitlines()[0]
    return {"seed": None, "stage": "score", "metric": metric, "error": text}
