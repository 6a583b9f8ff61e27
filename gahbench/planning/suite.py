"""Suites: YAML files that name datasets, entrants, training and scoring."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pydantic

from gahbench._util.core_yaml import Document
from gahbench._util.errors import ParameterError, SuiteError, listing, prefix_errors, suggestion
from gahbench._util.readable import level_name
from gahbench.contracts.engines import Limits
from gahbench.planning.suite_changes import ENTRANT, SuiteChanges, apply_settings, select_plugins
from gahbench.planning.suite_entries import ENTRANTS, Entries, Resolved, configure_entrant, unique
from gahbench.planning.suite_fields import Scoring, SuiteFile, accepted_fields
from gahbench.planning.suite_files import SET, find_suite, suite_files
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
    changes
        Command-line options that changed the suite.
    """

    name: str
    datasets: tuple[Configured, ...]
    entrants: tuple[Configured, ...]
    metrics: tuple[Configured, ...]
    baseline: str | None
    training: Training
    scoring: Scoring
    seeds: tuple[int, ...]
    limits: Limits
    path: Path
    text: str
    added: tuple[str, ...]
    places: dict[str, str]
    trainings: dict[str, Training]
    changes: tuple[str, ...]

    def build(self, configured: Configured) -> Any:
        """Build a plugin of the suite."""
        try:
            return configured.build()
        except ParameterError as error:
            raise SuiteError(f"{self.location(configured)}: {error}") from error

    def location(self, configured: Configured) -> str:
        """Return where a plugin is named: the file and line, or the command-line option."""
        return self.places.get(configured.where, str(self.path))


def load_suite(name: str | Path, registry: Registry, changes: SuiteChanges | None = None) -> Suite:
    """Read, validate and resolve a suite."""
    registry.require_files()
    options = (changes or SuiteChanges()).options()
    document = Document(find_suite(name))
    apply_settings(document, options[SET])
    try:
        parsed = SuiteFile.model_validate(document.content)
    except pydantic.ValidationError as error:
        raise document.validation_error(error, accepted_fields) from error
    entries = Entries(document, registry, document.content.get("training") or {})
    # Paths in a built-in suite are relative to the user's current folder.
    is_shipped = document.path in suite_files().values()
    with relative_to(None if is_shipped else document.path.parent):
        datasets = entries.resolve(("datasets",), ("dataset",), parsed.datasets)
        listed = entries.resolve(("entrants",), ENTRANTS, parsed.entrants)
        metrics = entries.resolve(("scoring", "metrics"), ("metric",), parsed.scoring.metrics)
    requested = [_resolve_requested(registry, text) for text in options[ENTRANT]]
    entrants = unique([*listed, *requested])
    labels = [item.configured.label for item in entrants]
    if parsed.baseline not in (None, *labels):
        near = suggestion(str(parsed.baseline), labels) or ";"
        reason = f"the baseline '{parsed.baseline}' is not among the entrants{near} accepted: {listing(labels)}"
        raise document.error(("baseline",), reason)
    kept = {parsed.baseline, *(item.configured.label for item in requested)}
    psnr = {item.configured.label for item in metrics if item.configured.plugin.name == "psnr"}
    suite = Suite(
        name=parsed.name,
        datasets=select_plugins(datasets, options, "--dataset"),
        entrants=select_plugins(entrants, options, "--only", kept),
        metrics=select_plugins(metrics, options, "--metric", psnr),
        baseline=parsed.baseline,
        training=parsed.training,
        scoring=parsed.scoring,
        seeds=parsed.seeds,
        limits=parsed.limits,
        path=document.path,
        text=document.text,
        added=tuple(labels[len(listed) :]),
        places={item.configured.where: item.place for item in (*datasets, *entrants, *metrics)},
        trainings={item.configured.label: item.training for item in entrants if item.training is not None},
        changes=tuple(f"{option} {text}" for option, texts in options.items() for text in texts),
    )
    if not is_shipped:
        _warn_of_unusual_levels(suite)
    return suite


def _resolve_requested(registry: Registry, text: str) -> Resolved:
    place = f"{ENTRANT} {text}"
    with prefix_errors(place):
        return Resolved(configure_entrant(registry, parse_spec(text)), place)


def _warn_of_unusual_levels(suite: Suite) -> None:
    """Warn of noise levels above 1, and of levels outside the training range of networks."""
    ranges = {"of images, 0 to 1: a level of 8-bit images is written 25/255": (0.0, 1.0)}
    for entrant in suite.entrants:
        if entrant.kind == "architecture":
            own = suite.trainings.get(entrant.label, suite.training)
            ranges[f"in which {entrant.label} is trained (sigma_min, sigma_max)"] = own.sigma_min, own.sigma_max
    for name, (low, high) in ranges.items():
        if outside := [level_name(sigma) for sigma in suite.scoring.sigmas if not low <= sigma <= high]:
            warnings.warn(f"{suite.path}: sigmas {listing(outside)} are outside the range {name}", stacklevel=3)
