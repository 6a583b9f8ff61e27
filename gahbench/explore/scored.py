"""A model in memory, scored beside the references of a suite, without a results folder."""

from __future__ import annotations

import contextlib
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
from gahbench.contracts.references import Reference
from gahbench.devices.hardware import hardware
from gahbench.evaluation.measurement import Measurement, Subject
from gahbench.networks.conversions import Converted
from gahbench.planning.board_facts import dataset_row, metric_ratios, metric_titles
from gahbench.planning.suite import load_suite
from gahbench.planning.suite_fields import Scoring, scored_images
from gahbench.planning.suite_files import plugin_sources, suite_files
from gahbench.registry.configured import Configured, citation_rows
from gahbench.registry.registry import Registry, open_registry
from gahbench.sampling.settings import Sampling

if TYPE_CHECKING:
    from gahbench.contracts.datasets import Dataset

#: The note on the row of the model.
NOTE = "a model in memory: not reproducible from a file"
#: Needs that a model in memory cannot meet: nothing says what it learned from.
UNMET = frozenset({"training", "partner", "snapshots"})
#: The scoring of a dataset that is given without a suite.
SIGMAS, IMAGES, METRICS = (0.05, 0.1, 0.2, 0.4), 24, ("psnr", "ssim")
BASELINE = "oracle-threshold[sym4]"
REFERENCES = ("identity", "bayes-shrink[sym4]", BASELINE)


def score(
    model: Callable[..., Any],
    on: str | Path,
    *,
    sigmas: Sequence[float] | None = None,
    images: int | None = None,
    metrics: Sequence[str] | None = None,
    name: str = "model",
    device: str = "cpu",
    plugins: Sequence[str | Path] = (),
) -> Results:
    """Score a model that is in memory beside the references of a suite, or on a dataset.

    Parameters
    ----------
    model
        A module or a function ``model(noisy, sigma)`` of images in [0, 1], shape (N, C, H, W), and noise levels (N,),
        that returns the denoised images: others become one by :func:`gahbench.as_denoiser`. A module is put into
        evaluation meanwhile, and moved to the device.
    on
        A suite, by name or path, whose references are scored on the same images under the same noise, and whose
        architectures are left out; or a dataset, such as ``faces[size=24]``, with three references.
    sigmas, images, metrics
        Instead of those of the suite. Metrics that need to know what the model learned from are left out.
    name
        Of its row.
    device
        Where networks compute.
    plugins
        Plugin files, or folders of them.

    Returns
    -------
    Results
        ``results.leaderboard()`` is its board, in which the row is noted as not reproducible from a file.

    Raises
    ------
    GahbenchError
        If an argument is not accepted.

    Examples
    --------
    >>> import gahbench
    >>> results = gahbench.score(lambda noisy, sigma: noisy, "discs[size=16]", sigmas=[0.1], images=4)
    >>> board = results.leaderboard().set_index("entrant")
    >>> round(float(board.loc["model", "psnr"]))
    20
    """
    sources: Sequence[str | Path] = plugins
    with contextlib.suppress(SuiteError):
        # It may be a dataset.
        sources = plugin_sources(plugins, on)
    return _score(model, on, open_registry(sources), sigmas, images, metrics, name, device)


def _score(
    model: Callable[..., Any],
    on: str | Path,
    registry: Registry,
    sigmas: Sequence[float] | None,
    images: int | None,
    metrics: Sequence[str] | None,
    name: str,
    device: str,
) -> Results:
    datasets, references, asked, baseline, scoring = _asked(on, registry, sigmas, images, metrics)
    chosen, seed = scoring.sigmas, scoring.noise_seed
    if name in (one.label for one in references):
        raise ParameterError(f"name='{name}': a reference of that name is scored beside it; accepted: another name")
    given = model if isinstance(model, nn.Module) else Converted(model)
    # Parts of a model may be in another mode than the whole.
    modes = [(module, module.training) for module in given.modules()]
    given.eval()
    tables: dict[str, list[dict[str, Any]]] = {name: [] for name in ("scores", "fits", "failures", "datasets", "notes")}
    try:
        for configured in datasets:
            dataset: Dataset = configured.build()
            count = scored_images(scoring, dataset, "test")
            tables["datasets"].append(dataset_row(configured, dataset, count, seed))
            request = {
                "split": "test",
                "images": count,
                "sigmas": list(chosen),
                "noise_seed": seed,
                "sampling": Sampling().model_dump(mode="json"),
            }
            tables["notes"].append({"dataset": configured.label, "entrant": name, "note": NOTE})
            for label, subject in _subjects(given, name, references, dataset):
                place = {"dataset": configured.label, "entrant": label}
                for row in _rows(dataset, subject, request, asked, hardware(device).device):
                    tables["failures" if "error" in row else "scores"].append(place | row)
    finally:
        for module, was_training in modes:
            module.training = was_training
    _warn_if_nothing(name, tables["scores"], tables["failures"])
    suite = Path(on).stem if Path(on).suffix in (".yaml", ".yml") else str(on)
    tables["scores"] = [{"suite": suite, "seed": None, "split": "test", **row} for row in tables["scores"]]
    tables["metrics"], tables["ratios"] = metric_titles(asked), metric_ratios(asked)
    tables["citations"] = citation_rows([*references, *datasets, *asked])
    frames: dict[str, Any] = {
        name: pd.DataFrame(rows, columns=pd.Index(list(SCHEMAS[name]))) for name, rows in tables.items()
    }
    return Results(suite=suite, entrants=[name, *(one.label for one in references)], baseline=baseline, **frames)


def _warn_if_nothing(name: str, scores: Sequence[Mapping[str, Any]], failures: Sequence[Mapping[str, Any]]) -> None:
    """Say why a model has no score at all: its row alone is easily overlooked."""
    errors = [row["error"] for row in failures if row["entrant"] == name]
    if errors and not any(row["entrant"] == name for row in scores):
        warnings.warn(
            f"{name} has no scores: {errors[0]}; a model is called with noisy images and noise levels, and "
            'gahbench.as_denoiser makes one of others, such as as_denoiser(model, "none")',
            stacklevel=4,
        )


def _asked(
    on: str | Path,
    registry: Registry,
    sigmas: Sequence[float] | None,
    images: int | None,
    metrics: Sequence[str] | None,
) -> tuple[list[Configured], list[Configured], list[Configured], str | None, Scoring]:
    """Return datasets, references, metrics, the baseline, and how images are scored."""
    named = str(on).partition("[")[0]
    if named in registry.names("dataset"):
        datasets = [registry.configure("dataset", str(on))]
        references = [registry.configure("reference", one) for one in REFERENCES]
        chosen = [registry.configure("metric", one) for one in metrics or METRICS]
        return datasets, references, _measurable(chosen), BASELINE, _scoring(sigmas or SIGMAS, images or IMAGES)
    try:
        suite = load_suite(on, registry)
    except SuiteError as error:
        if Path(on).suffix in (".yaml", ".yml"):
            raise
        near = suggestion(named, [*registry.names("dataset"), *suite_files()])
        raise SuiteError(
            f"'{on}' is neither a suite nor a dataset{near or ';'} suites: {listing(suite_files())}, or a file; "
            f"datasets: {listing(registry.names('dataset'))}"
        ) from error
    references = [one for one in suite.entrants if one.kind == "reference"]
    chosen = list(suite.metrics) if metrics is None else [registry.configure("metric", one) for one in metrics]
    scoring = suite.scoring
    baseline = suite.baseline if suite.baseline in [one.label for one in references] else None
    return (
        list(suite.datasets),
        references,
        _measurable(chosen),
        baseline,
        _scoring(sigmas or scoring.sigmas, images or scoring.images, scoring.noise_seed),
    )


def _scoring(sigmas: Sequence[float], images: int | Literal["all"], noise_seed: int = 0) -> Scoring:
    # Anything that `score` accepts, also where a suite would not.
    return Scoring.model_construct(sigmas=tuple(sigmas), images=images, noise_seed=noise_seed)


def _measurable(metrics: Sequence[Configured]) -> list[Configured]:
    """Return the metrics that a model in memory can be measured by, the PSNR among them."""
    found = [one for one in metrics if not frozenset(one.plugin.factory.needs) & UNMET]
    if "psnr" not in [one.plugin.name for one in found]:
        raise ParameterError("metrics must have psnr, which boards rank by")
    return found


def _subjects(
    model: nn.Module, name: str, references: Sequence[Configured], dataset: Dataset
) -> Iterator[tuple[str, Subject]]:
    yield name, Subject(lambda: model)
    for configured in references:
        built: Reference = configured.build()
        if built.supports(dataset):
            yield configured.label, Subject(configured.build)


def _rows(
    dataset: Dataset, subject: Subject, request: Mapping[str, Any], metrics: Sequence[Configured], device: torch.device
) -> Iterator[dict[str, Any]]:
    """Yield the scores of one denoiser, and what failed."""
    try:
        measurement = Measurement(dataset, subject, request, device)
    except Exception as error:
        yield _failure("", error)
        return
    kind = measurement.evaluation.denoiser.kind
    for metric in metrics:
        try:
            found = measurement.score(metric.build())
        except Exception as error:
            yield _failure(metric.label, error)
            continue
        nothing = [None] * len(found.value)
        columns = (found.value, found.sigma or nothing, found.image or nothing, found.part or [""] * len(found.value))
        for value, sigma, image, part in zip(*columns, strict=True):
            label = f"{metric.label}.{part}" if part else metric.label
            yield {"kind": kind, "sigma": sigma, "image": image, "metric": label, "value": value}


def _failure(metric: str, error: Exception) -> dict[str, Any]:
    text = f"{type(error).__name__}: {error}".splitlines()[0]
    return {"seed": None, "stage": "score", "metric": metric, "error": text}
