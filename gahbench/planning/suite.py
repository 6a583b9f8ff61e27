"""Suites: YAML files that name datasets, entrants, training and scoring, and changes from the command line."""

from __future__ import annotations

import json
import warnings
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pydantic
import yaml

from gahbench._util.core_yaml import Document, Location, load_scalar
from gahbench._util.errors import GahbenchError, ParameterError, SuiteError, listing, prefix_errors, suggestion
from gahbench._util.readable import brief, level_name
from gahbench.contracts.engines import Limits
from gahbench.contracts.row_labels import matches
from gahbench.planning.suite_entries import (
    ENTRANTS,
    LABEL,
    SUITE_FIELDS,
    Entries,
    Resolved,
    configure_entrant,
    unique,
)
from gahbench.planning.suite_fields import Scoring, SuiteFile, accepted_fields
from gahbench.planning.suite_files import SET, find_suite, suite_files
from gahbench.registry.configured import Configured
from gahbench.registry.parameters import relative_to
from gahbench.registry.registry import Registry
from gahbench.registry.spec import parse_spec
from gahbench.training.recipe import Training

ENTRANT = "--entrant"


@dataclass(frozen=True)
class SuiteChanges:
    """Changes to a suite, as the arguments of :func:`gahbench.run` of the same names."""

    entrants: Sequence[str] = ()
    settings: Mapping[str, Any] | Sequence[str] = ()
    datasets: Sequence[str] = ()
    metrics: Sequence[str] = ()
    only: Sequence[str] = ()
    seeds: Sequence[int] = ()

    def options(self) -> dict[str, tuple[str, ...]]:
        """Return the values of command-line options that make the changes; seeds are a setting."""
        settings = self.settings.items() if isinstance(self.settings, Mapping) else _as_tuple(self.settings)
        seeds = () if self.seeds == () else (("seeds", self.seeds),)
        texts = [item if isinstance(item, str) else _format_setting(*item) for item in (*settings, *seeds)]
        values = {ENTRANT: self.entrants, "--only": self.only, "--dataset": self.datasets, "--metric": self.metrics}
        return {SET: tuple(texts), **{name: _as_tuple(texts) for name, texts in values.items()}}


def _as_tuple(texts: Sequence[str]) -> tuple[str, ...]:
    # A string is one value, not a sequence of characters.
    return (texts,) if isinstance(texts, str) else tuple(texts)


def _format_setting(name: str, value: Any) -> str:
    # Ranges and arrays become lists. Other objects become strings, which suites refuse.
    text = json.dumps(value, ensure_ascii=False, default=lambda it: list(it) if isinstance(it, Iterable) else str(it))
    return f"{name}={text}"


@dataclass(frozen=True)
class Suite:
    """A suite with every plugin and parameter resolved; other fields are those of its file."""

    name: str
    datasets: tuple[Configured, ...]
    entrants: tuple[Configured, ...]
    metrics: tuple[Configured, ...]
    baseline: str | None
    training: Training
    scoring: Scoring
    seeds: tuple[int, ...]
    limits: Limits
    #: Path and content of the file.
    path: Path
    text: str
    #: Files and lines of plugins, or the options that set them, by their ``where``.
    places: dict[str, str]
    #: Training of the entrants that override the training of the suite, by label.
    trainings: dict[str, Training]
    #: Command-line options that changed the suite.
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
    _apply_settings(document, options[SET])
    grid = _split_grid(document.content)
    try:
        parsed = SuiteFile.model_validate(document.content)
    except pydantic.ValidationError as error:
        raise document.validation_error(error, accepted_fields) from error
    entries = Entries(document, registry, document.content.get("training") or {}, grid)
    # Paths in a built-in suite are relative to the user's current folder.
    is_shipped = document.path in suite_files().values()
    with relative_to(None if is_shipped else document.path.parent):
        datasets = entries.resolve(("datasets",), ("dataset",), parsed.datasets)
        listed = entries.resolve(("entrants",), ENTRANTS, parsed.entrants)
        metrics = entries.resolve(("scoring", "metrics"), ("metric",), parsed.scoring.metrics)
    requested = []
    for text in options[ENTRANT]:
        with prefix_errors(place := f"{ENTRANT} {text}"):
            spec = parse_spec(text)
            requested += entries.train(configure_entrant(registry, spec), place, LABEL in spec.keywords)
    entrants = unique([*listed, *requested])
    labels = [item.configured.label for item in entrants]
    if (baseline := parsed.baseline) is not None and baseline not in labels:
        near = suggestion(baseline, labels) or ";"
        problem = f"the baseline '{baseline}' is not among the entrants{near} accepted: {listing(labels)}"
        raise document.error(("baseline",), problem)
    kept = {baseline, *(item.configured.label for item in requested)}
    psnr = {item.configured.label for item in metrics if item.configured.plugin.name == "psnr"}
    suite = Suite(
        name=parsed.name,
        datasets=_select(datasets, options, "--dataset"),
        entrants=_select(entrants, options, "--only", kept),
        metrics=_select(metrics, options, "--metric", psnr),
        baseline=baseline,
        training=parsed.training,
        scoring=parsed.scoring,
        seeds=parsed.seeds,
        limits=parsed.limits,
        path=document.path,
        text=document.text,
        places={item.configured.where: item.place for item in (*datasets, *entrants, *metrics)},
        trainings={item.configured.label: item.training for item in entrants if item.training is not None},
        changes=tuple(f"{option} {text}" for option, texts in options.items() for text in texts),
    )
    if not is_shipped:
        _warn_of_unusual_levels(suite)
    return suite


def _split_grid(content: Any) -> dict[str, list[Any]]:
    """Replace lists of values in the training of a suite by their first values, and return the lists."""
    training = content.get("training") if isinstance(content, dict) else None
    if not isinstance(training, dict):
        return {}
    lists = {name: value for name, value in training.items() if isinstance(value, list) and value}
    grid = {name: values for name, values in lists.items() if name not in SUITE_FIELDS}
    training.update((name, values[0]) for name, values in grid.items())
    return grid


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


def _apply_settings(document: Document, settings: Iterable[str]) -> None:
    """Set fields in the content of a suite file; errors about these fields then name the setting."""
    for text in settings:
        path, equals, value = text.partition("=")
        names = [name.strip() for name in path.split(".")]
        with prefix_errors(f"{SET} {text}"):
            if not equals or not all(names):
                raise GahbenchError("accepted: FIELD=VALUE, such as training.steps=100")
            try:
                location = _set_field(document.content, names, load_scalar(value))
            except yaml.YAMLError as error:
                raise GahbenchError(f"'{value}' cannot be read: {error}") from error
        document.mark(location, f"{SET} {text}")


def _set_field(container: Any, names: Sequence[str], value: Any) -> Location:
    """Set a field in nested mappings and lists of plugins, and return its location."""
    key: str | int
    key, *inner = names
    if isinstance(container, list):
        plugins = [entry if isinstance(entry, dict) else {str(entry): {}} for entry in container]
        entries = [str(next(iter(plugin), "")).partition("[")[0].strip() for plugin in plugins]
        if entries.count(key) != 1 and not (key.isdecimal() and int(key) < len(entries)):
            accepted = f"{listing(entries)}, or an index from 0 below {len(entries)}"
            raise GahbenchError(f"'{key}' is not the name of a single entry; accepted: {accepted}")
        key = entries.index(key) if entries.count(key) == 1 else int(key)
        if inner:
            container[key] = plugins[key]
            # The path may leave out the name of the plugin.
            inner = inner if inner[0] == entries[key] and len(inner) > 1 else [entries[key], *inner]
    elif not isinstance(container, dict):
        raise GahbenchError(f"'{key}' is not a field, since {brief(repr(container), 60)} has no fields")
    elif inner and container.get(key) is None:
        container[key] = {}
    if inner:
        return (key, *_set_field(container[key], inner, value))
    container[key] = value
    return (key,)


def _select(
    items: Sequence[Resolved], options: Mapping[str, Sequence[str]], option: str, keep: Collection[str | None] = ()
) -> tuple[Configured, ...]:
    """Return the plugins that a pattern of an option matches, or that are in ``keep``; all plugins without patterns."""
    plugins = [item.configured for item in items]
    # An architecture with a checkpoint is the plugin 'pretrained', so its name is only in the label.
    names = {plugin.label: (plugin.label, plugin.plugin.name) for plugin in plugins}
    selected = set(keep if options[option] else names)
    for pattern in options[option]:
        found = [label for label in names if any(matches(name, pattern) for name in names[label])]
        if not found:
            near = suggestion(pattern, [name for pair in names.values() for name in pair])
            raise ParameterError(
                f"{option} {pattern}: matches none of {listing(names)}{near or ';'} it selects plugins of the suite; "
                f"{ENTRANT} NAME adds an entrant, and {SET} replaces the lists datasets and scoring.metrics"
            )
        selected.update(found)
    return tuple(plugin for plugin in plugins if plugin.label in selected)
