"""Suites: YAML files that name datasets, entrants, training and scoring."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pydantic

from gahbench._util.core_yaml import Document
from gahbench._util.errors import GahbenchError, ParameterError, SuiteError, listing, prefix_errors
from gahbench._util.readable import level_name
from gahbench.contracts.engines import Limits
from gahbench.planning.suite_changes import ENTRANT, SuiteChanges, apply_settings, select_plugins
from gahbench.planning.suite_entries import Entries, Resolved, configure_entrant, unique
from gahbench.planning.suite_fields import Scoring, SuiteFile, accepted_fields
from gahbench.planning.suite_files import find_suite, suite_files
from gahbench.registry.configured import Configured
from gahbench.registry.parameters import relative_to
from gahbench.registry.registry import Registry
from gahbench.registry.spec import parse_spec
from gahbench.training.recipe import Training


@dataclass(frozen=True)
class Suite:
    """A suite with every plugin and parameter resolved.

    Attributes that are not listed have the names of the fields of :class:`gahbench.planning.suite_fields.SuiteFile`.

    Attributes
    ----------
    path, text
        Path and content of the suite file.
    added
        Labels of the entrants that were added on the command line and are not in the file.
    places
        Files and lines of plugins, or the options that set them, by their ``where``.
    trainings
        Training of the entrants that override the training of the suite, by label.
    titles
        Labels that the suite sets for metrics, by their default labels.
    changes
        Command-line options that changed the suite.
    """

    name: str
    description: str
    datasets: tuple[Configured, ...]
    entrants: tuple[Configured, ...]
    metrics: tuple[Configured, ...]
    baseline: str | None
    training: Training
    scoring: Scoring
    seeds: tuple[int, ...]
    path: Path
    added: tuple[str, ...] = ()
    limits: Limits = field(default_factory=Limits)
    places: dict[str, str] = field(default_factory=dict)
    trainings: dict[str, Training] = field(default_factory=dict)
    titles: dict[str, str] = field(default_factory=dict)
    text: str = ""
    changes: tuple[str, ...] = ()

    def build(self, configured: Configured) -> Any:
        """Build a plugin of the suite."""
        try:
            return configured.build()
        except ParameterError as error:
            raise SuiteError(f"{self.location(configured)}: {error}") from error

    def location(self, configured: Configured) -> str:
        """Return where a plugin is named: the file and line, or the command-line option."""
        return self.places.get(configured.where, str(self.path))


def load_suite(name: str | Path, registry: Registry, changes: SuiteChanges | Sequence[str] = ()) -> Suite:
    """Read, validate and resolve a suite."""
    if not isinstance(changes, SuiteChanges):
        changes = SuiteChanges(tuple(changes))
    document = Document(find_suite(name))
    parsed = _parse(document, changes.settings)
    entries = Entries(document, registry, document.content.get("training") or {})
    # Paths in a built-in suite are relative to the user's current folder.
    is_shipped = document.path in suite_files().values()
    folder = None if is_shipped else document.path.parent
    with relative_to(folder):
        datasets = entries.resolve(("datasets",), parsed.datasets)
        file_entrants = entries.resolve(("entrants",), parsed.entrants)
        metrics = entries.resolve(("scoring", "metrics"), parsed.scoring.metrics)
    requested = [_resolve_requested(registry, text) for text in changes.entrants]
    entrants = unique([*file_entrants, *requested])
    file_labels, requested_labels = (
        [entrants[item.key].configured.label for item in items] for items in (file_entrants, requested)
    )
    all_entrants, all_metrics = _plugins(entrants.values()), _plugins(metrics)
    with relative_to(folder):
        baseline = _baseline(document, registry, all_entrants, parsed.baseline)
    psnr = {metric.label for metric in all_metrics if metric.plugin.name == "psnr"}
    suite = Suite(
        name=parsed.name,
        description=" ".join(parsed.description.split()),
        datasets=select_plugins(_plugins(datasets), changes.datasets, "--dataset"),
        entrants=select_plugins(all_entrants, changes.only, "--only", {baseline, *requested_labels}),
        metrics=select_plugins(all_metrics, changes.metrics, "--metric", psnr),
        baseline=baseline,
        training=parsed.training,
        scoring=parsed.scoring,
        seeds=parsed.seeds,
        path=document.path,
        added=tuple(label for label in requested_labels if label not in file_labels),
        limits=parsed.limits,
        places={item.configured.where: item.place for item in (*datasets, *entrants.values(), *metrics)},
        trainings={item.configured.label: item.training for item in entrants.values() if item.training is not None},
        titles={metric.configured.label: metric.title for metric in metrics if metric.title is not None},
        text=document.text,
        changes=changes.options,
    )
    _check_labels(suite)
    if not is_shipped:
        _warn_of_unusual_levels(suite)
    return suite


def _parse(document: Document, settings: Sequence[str]) -> SuiteFile:
    """Return the fields of a file with changed settings."""
    if not isinstance(document.content, dict):
        raise document.error((), "a suite is a mapping with the fields " + ", ".join(SuiteFile.model_fields))
    apply_settings(document, settings)
    try:
        return SuiteFile.model_validate(document.content)
    except pydantic.ValidationError as error:
        raise document.validation_error(error, accepted_fields) from error


def _plugins(items: Iterable[Resolved]) -> tuple[Configured, ...]:
    return tuple(item.configured for item in items)


def _resolve_requested(registry: Registry, text: str) -> Resolved:
    with prefix_errors(f"{ENTRANT} {text}"):
        return Resolved(configure_entrant(registry, parse_spec(text)), f"{ENTRANT} {text}")


def _baseline(
    document: Document, registry: Registry, entrants: tuple[Configured, ...], baseline: str | None
) -> str | None:
    """Return the label of the baseline, which a suite may name by label, or by name and parameters."""
    labels = [entrant.label for entrant in entrants]
    if baseline is None or baseline in labels:
        return baseline
    try:
        text = configure_entrant(registry, parse_spec(baseline)).text
    except GahbenchError as error:
        raise document.error(("baseline",), str(error)) from error
    label = next((entrant.label for entrant in entrants if entrant.text == text), None)
    if label is None:
        raise document.error(("baseline",), f"the baseline '{baseline}' is not among the entrants: {listing(labels)}")
    return label


def _check_labels(suite: Suite) -> None:
    """Raise if an entrant or dataset has two labels, since its rows would be repeated."""
    for plugins in (suite.datasets, suite.entrants):
        labels: dict[tuple[str, Training], str] = {}
        for plugin in plugins:
            training = suite.trainings.get(plugin.label, suite.training)
            label = labels.setdefault((plugin.text, training), plugin.label)
            if label != plugin.label:
                raise ParameterError(
                    f"{suite.path}: '{label}' and '{plugin.label}' are the same {plugin.kind}; remove one of them"
                )


def _warn_of_unusual_levels(suite: Suite) -> None:
    """Warn of noise levels above 1, and of levels outside the training range of networks."""
    levels = suite.scoring.sigmas  # empty for measured noise
    if above := [sigma for sigma in levels if sigma > 1]:
        warnings.warn(
            f"{suite.path}: sigmas {_format_levels(above)} are above 1, but images lie in [0, 1]: a level of 8-bit "
            "images is written 25/255",
            stacklevel=3,
        )
    for entrant in suite.entrants:
        training = suite.trainings.get(entrant.label, suite.training)
        outside = [sigma for sigma in levels if not training.sigma_min <= sigma <= training.sigma_max]
        if entrant.kind == "architecture" and outside:
            warnings.warn(
                f"{suite.path}: {entrant.label} is scored at sigmas {_format_levels(outside)}, outside its training "
                f"range, {_format_levels((training.sigma_min, training.sigma_max))} (training.sigma_min, sigma_max)",
                stacklevel=3,
            )


def _format_levels(sigmas: Sequence[float]) -> str:
    return ", ".join(map(level_name, sigmas))
