"""Plans of suites: units of work with their keys, and facts that let boards and figures do without plugins."""

from __future__ import annotations

import warnings
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gahbench._util.errors import DataError, GahbenchError, ParameterError, PluginError, SuiteError, prefix_errors
from gahbench._util.resources import cpu_count
from gahbench.contracts.datasets import MEASURED, Dataset, Split, validate_sources
from gahbench.contracts.metrics import Metric
from gahbench.contracts.unit import Unit
from gahbench.planning.pairs import Pairs, try_pairs
from gahbench.planning.suite import Suite, SuiteChanges, load_suite
from gahbench.planning.suite_fields import Scoring, noise_levels, refusal_without_clean, scored_images
from gahbench.planning.units import PlannedDataset, fit_unit, protocol_key, rows, score_request, score_unit
from gahbench.registry.configured import Configured, citation_rows
from gahbench.registry.registry import open_registry
from gahbench.registry.spec import format_value

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Plan:
    """The plan of a suite: all its units, fits first, and the facts that its board shows."""

    suite: Suite
    units: tuple[Unit, ...]
    datasets: tuple[dict[str, Any], ...]
    pairs: Pairs

    @property
    def fits(self) -> tuple[Unit, ...]:
        """Units that train networks."""
        return tuple(unit for unit in self.units if unit.kind == "fit")

    @property
    def board(self) -> dict[str, Any]:
        """Facts for the board, as plain JSON: baseline, entrants in order, datasets and metrics."""
        all_rows = list(rows(self.suite))
        return {
            "baseline": self.suite.baseline,
            "entrants": [row.label for row in all_rows],
            "datasets": list(self.datasets),
            "metrics": metric_titles(self.suite.metrics),
            "ratios": metric_ratios(self.suite.metrics),
            "citations": citation_rows([*self.suite.entrants, *self.suite.datasets, *self.suite.metrics]),
            "trainings": own_trainings(self.suite),
            "parameters": parameter_rows(self.suite),
            "refused": [
                [dataset["dataset"], row.label, pair.refusal]
                for row in all_rows
                for dataset in self.datasets
                if (pair := self.pairs[dataset["dataset"], row.entrant.label]).is_defined and pair.refusal is not None
            ],
            "needs": {metric.label: sorted(metric.build().needs) for metric in self.suite.metrics},
        }

    def suggested_threads(self, workers: int | None = None) -> int:
        """Return the number of threads per worker that suits this machine."""
        cores = cpu_count()
        return max(1, cores // min(cores, workers or len(self.fits) or len(self.units) or 1))


@dataclass(frozen=True)
class PlannedSuite:
    """The plan of a suite, before a run.

    Attributes
    ----------
    units
        One row per unit, fits first: kind (fit, score), dataset, entrant, seed, metric and key.
    """

    units: pd.DataFrame = field(repr=False)


def plan(
    suite: str | Path,
    *,
    entrants: Sequence[str] = (),
    settings: Mapping[str, Any] | Sequence[str] = (),
    datasets: Sequence[str] = (),
    metrics: Sequence[str] = (),
    only: Sequence[str] = (),
    seeds: Sequence[int] = (),
    plugins: Sequence[str | Path] = (),
) -> PlannedSuite:
    """Plan a suite, without running anything: build datasets, try networks out, and key all units.

    Parameters
    ----------
    suite
        Path of a suite, or the name of a suite that gahbench ships, such as ``quick``.
    entrants, settings, datasets, metrics, only, seeds, plugins
        Changes to the suite, selections and plugin files, as for :func:`gahbench.run`.

    Returns
    -------
    PlannedSuite
        The plan, whose table ``units`` has the columns kind, dataset, entrant, seed, metric and key.

    Raises
    ------
    GahbenchError
        If an argument or the suite is invalid.

    Examples
    --------
    >>> import gahbench
    >>> units = gahbench.plan("quick", datasets=["discs"], metrics=["psnr"], only=["identity"]).units
    >>> units[["kind", "entrant", "metric"]].values.tolist()
    [['score', 'identity', 'psnr'], ['score', 'oracle-threshold[sym4]', 'psnr']]
    """
    import pandas as pd

    changes = SuiteChanges(entrants, settings, datasets, metrics, only, seeds)
    units = make_plan(load_suite(suite, open_registry(plugins), changes)).units
    columns = ("kind", "dataset", "entrant", "seed", "metric", "key")
    frame = pd.DataFrame({name: [getattr(unit, name) for unit in units] for name in columns})
    return PlannedSuite(frame.astype({"seed": "Int64"}))


def make_plan(suite: Suite) -> Plan:
    """Expand a suite into units, and check everything that needs no computation."""
    built = [_build(suite, configured) for configured in suite.datasets]
    datasets = [planned for planned, _ in built]
    measures = [(metric, suite.build(metric)) for metric in suite.metrics]
    has_clean = any(planned.dataset.noise_kind is None for planned in datasets)
    if has_clean and all(metric.plugin.name != "psnr" for metric in suite.metrics):
        where = suite.location(suite.metrics[0])
        raise SuiteError(f"{where}: scoring.metrics must include psnr, by which the board ranks if images are clean")
    pairs = try_pairs(suite, datasets)
    for metric, measure in measures:
        with prefix_errors(f"{suite.location(metric)}: {metric.where}"):
            for planned in datasets:
                if reason := _refusal(suite, measure, planned):
                    raise ParameterError(f"on {planned.configured.label}: {reason}")
                if (images := planned.images["test"]) < (advised := measure.advised_images):
                    text = f"{metric.where}: images={images}: it may leave out some; {advised} or more are advised"
                    warnings.warn(text, stacklevel=2)
            splits, least = suite.scoring.splits, measure.min_images
            if not any(row.is_measured_by(measure, split, least) for row in rows(suite) for split in splits):
                accepted = "'halves: true' or 'snapshots: 2' under 'training', or denoisers that can be sampled"
                needs = ", ".join(sorted(measure.needs))
                raise ParameterError(f"applies to no entrant of the suite; it needs {needs}; accepted: {accepted}")
    units = [unit for planned in datasets for unit in _units(suite, planned, measures, pairs)]
    # Fits come first; otherwise, the stable sort keeps the order of units.
    units.sort(key=lambda unit: unit.kind != "fit")
    return Plan(suite, tuple(units), tuple(facts for _, facts in built), pairs)


def _build(suite: Suite, configured: Configured) -> tuple[PlannedDataset, dict[str, Any]]:
    """Build a dataset, and return it with its facts for the board; a plugin may raise any error."""
    scoring = suite.scoring
    with prefix_errors(f"{suite.location(configured)}: {configured.where}"):
        try:
            dataset: Dataset = suite.build(configured)
            images = {split: scored_images(scoring, dataset, split) for split in scoring.splits}
            _require(dataset, "test", images["test"], "images")
            shapes = tuple(dict.fromkeys(dataset.shapes(images["test"]) or [dataset.shape]))
            planned = PlannedDataset(configured, dataset, noise_levels(scoring, dataset), images, shapes)
            facts = dataset_row(planned, scoring)
        except GahbenchError:
            raise
        except Exception as error:
            raise PluginError(f"cannot be used: {type(error).__name__}: {error}") from error
    for split, count in images.items():
        if scoring.images not in ("all", count):
            text = f"images={scoring.images}: the {split} split has {count} images, and all are scored"
            warnings.warn(f"{suite.path}: {configured.label}: {text}", stacklevel=3)
    for note in dataset.notes:
        warnings.warn(f"{suite.path}: {configured.label}: {note}", stacklevel=3)
    return planned, facts


def _require(dataset: Dataset, split: Split, count: int, parameter: str) -> None:
    available = dataset.available(split)
    if available is not None and count > available:
        raise DataError(f"{parameter}={count} requested from the {split} split, which holds {available} images")


def _refusal(suite: Suite, metric: Metric, planned: PlannedDataset) -> str | None:
    """Return why a metric is not defined on the images or the noise of a dataset; ``None`` if it is."""
    dataset, images, is_measured = planned.dataset, planned.images["test"], not suite.scoring.sigmas
    if not is_measured and "captured" in metric.needs:
        return f"compares recorded with drawn noise: set 'sigmas: {MEASURED}' under 'scoring'"
    if dataset.noise_kind is not None and (reason := refusal_without_clean(metric, dataset.noise_kind)):
        return reason
    if dataset.noise_kind is None and is_measured and not metric.any_noise:
        return f"not defined under recorded noise; accepted with sigmas={MEASURED}: metrics that compare images"
    if images < metric.min_images:
        return f"images={images}; accepted: {metric.min_images} or more"
    try:
        # A metric may accept some of several shapes; refused images have no value.
        if dataset.shapes(1) is None:
            metric.check(dataset.shape, planned.levels)
    except ValueError as error:
        return str(error)
    return None


def _units(
    suite: Suite, planned: PlannedDataset, measures: Sequence[tuple[Configured, Metric]], pairs: Pairs
) -> Iterator[Unit]:
    """Yield the units of a dataset, except of entrants that are undefined on it, or refuse its images."""
    for row in rows(suite):
        pair = pairs[planned.configured.label, row.entrant.label]
        if pair.refusal is not None:
            continue
        with prefix_errors(f"{suite.location(planned.configured)}: {planned.configured.where}"):
            for half in (row.split, row.partner):
                if half is not None and (row.training is not None or row.is_swept):
                    _require(planned.dataset, half, row.count or 1, "train_images")
            requests = {split: score_request(planned, row, suite.scoring, split) for split in suite.scoring.splits}
            for request in requests.values():
                _require(planned.dataset, request["split"], request["images"], "images")
        scores = [
            (split, metric, measure)
            for split in requests
            for metric, measure in measures
            if row.is_measured_by(measure, split, planned.images[split])
        ]
        is_trained = row.entrant.kind == "architecture"
        for seed in suite.seeds if is_trained else (None,):
            fits = [fit_unit(planned, row, member, seed, pair.work) for member in row.trainings if seed is not None]
            yield from fits
            keys = [fit.key for fit in fits]
            for split, metric, measure in scores:
                yield score_unit(planned, row, metric, measure, split, requests[split], seed, keys, pair.work)


def dataset_row(planned: PlannedDataset, scoring: Scoring) -> dict[str, Any]:
    """Return the facts about a dataset, as a row of the table ``datasets``.

    ``is_free``, which is not a column of the table, says whether the board may come with pictures of the images.
    """
    configured, dataset = planned.configured, planned.dataset
    channels, height, width = dataset.shape
    sources = validate_sources(dataset, "test", planned.images["test"]) or []
    return {
        "dataset": configured.label,
        "optimum": dataset.optimum.kind,
        "slope": dataset.optimum.slope,
        "channels": channels,
        "height": height,
        "width": width,
        "fingerprint": dataset.fingerprint() or "",
        # The sources of test images; empty if they are distinct.
        "sources": " ".join(map(str, sources)) if len(set(sources)) < len(sources) else "",
        "protocol": protocol_key(planned, scoring.noise_seed),
        "notes": "\n".join(" ".join(note.split()) for note in dataset.notes),
        # The suite may replace name and parameters by a label.
        "spec": configured.default_label,
        "noise": "" if scoring.sigmas else MEASURED,
        "is_free": dataset.card.is_free,
    }


def metric_titles(metrics: Iterable[Configured]) -> list[dict[str, str]]:
    """Return the titles and nulls of metrics, as rows of the table ``metrics``."""
    return [
        {
            "metric": _score_name(metric, part),
            "title": _fill_title(title, metric),
            "null": _score_name(metric, metric.plugin.factory.nulls.get(part)),
        }
        for metric in metrics
        for part, title in metric.plugin.factory.titles.items()
    ]


def metric_ratios(metrics: Iterable[Configured]) -> list[dict[str, str]]:
    """Return the parts of metrics that are ratios of means, as rows of the table ``ratios``."""
    names = ("metric", "numerator", "denominator")
    return [
        dict(zip(names, (_score_name(metric, part) for part in (ratio, *parts)), strict=True))
        for metric in metrics
        for ratio, parts in metric.plugin.factory.ratios.items()
    ]


def _score_name(metric: Configured, part: str | None) -> str:
    """Return the name of a part of a metric in the table of scores; empty without a part."""
    return "" if part is None else f"{metric.label}.{part}" if part else metric.label


def _fill_title(title: str, metric: Configured) -> str:
    """Replace the names of parameters in a title with their values."""
    for name, value in metric.parameters.items():
        inner = metric.nested.get(name)
        title = title.replace(f"{{{name}}}", inner.label if isinstance(inner, Configured) else str(value))
    return title


def own_trainings(suite: Suite) -> dict[str, str]:
    """Return, by label, how the training of rows differs from the training of the suite."""
    default = suite.training.model_dump(mode="json")
    notes = {
        label: ", ".join(
            f"{name}={format_value(value)} ({format_value(default[name])})"
            for name, value in training.model_dump(mode="json").items()
            if value != default[name]
        )
        for label, training in suite.trainings.items()
    }
    return {row.label: notes[row.entrant.label] for row in rows(suite) if notes.get(row.entrant.label)}


def parameter_rows(suite: Suite) -> list[dict[str, str]]:
    """Return what distinguishes the rows of one plugin, as rows of the table ``parameters``; default values too."""
    plugins = defaultdict[str, dict[str, dict[str, str]]](dict)
    for row in rows(suite):
        training = {} if row.training is None else row.training.model_dump(mode="json")
        plugins[row.entrant.plugin.name][row.label] = {
            f"{section}.{name}": format_value(value)
            for section, values in (("entrant", row.entrant.parameters), ("training", training))
            for name, value in values.items()
        }
    found = []
    for settings in plugins.values():
        names = [name for name in next(iter(settings.values())) if len({own[name] for own in settings.values()}) > 1]
        found += [
            {"entrant": label, "parameter": name, "setting": own[name]}
            for label, own in settings.items()
            for name in names
        ]
    return found
