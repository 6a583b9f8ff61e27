"""Comparison of two results folders: paired differences in PSNR, and differences in protocol, code and environment."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gahbench._util.errors import ResultsError
from gahbench._util.files import read_regular
from gahbench._util.readable import brief
from gahbench.board.combined import combine, labels_of_earlier_parts, part_label, relabel
from gahbench.board.display_names import DisplayNames, display_names
from gahbench.board.facts import dataset_names
from gahbench.board.results import Results, load_results
from gahbench.board.scorecube import psnr_cube
from gahbench.board.statistics import Interval, total
from gahbench.contracts.row_labels import base_label
from gahbench.contracts.unit import Unit
from gahbench.planning.units import CODE
from gahbench.registry.registry import built_in_registry
from gahbench.runs.collect import ENVIRONMENT
from gahbench.store.plan_file import PLAN, require_plan, short_names

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Difference:
    """The mean PSNR of an entrant in two runs and its difference, in dB.

    The values are those of one noise level, or of all levels if ``sigma`` is ``None``. ``difference`` is ``second``
    minus ``first``, with its 95 % interval.
    """

    dataset: str
    entrant: str
    sigma: float | None
    first: float
    second: float
    difference: Interval


@dataclass(frozen=True)
class Comparison:
    """The differences between two runs.

    Attributes
    ----------
    names
        Short names of the two folders.
    rows
        Differences in PSNR, by dataset, entrant and noise level.
    protocol, code, environment
        Differences in settings, in code, and in machines and versions, each as a line of text.
    unmatched
        Entrants that only one of the folders has, each as a line of text.
    display_names
        Display names of entrants and datasets, which the lines of text use; ``rows`` hold labels.
    """

    names: tuple[str, str]
    rows: tuple[Difference, ...] = field(repr=False)
    protocol: tuple[str, ...] = ()
    code: tuple[str, ...] = ()
    environment: tuple[str, ...] = ()
    unmatched: tuple[str, ...] = ()
    display_names: DisplayNames = field(default_factory=DisplayNames, repr=False)

    @property
    def named_labels(self) -> dict[str, str]:
        """The display names of the compared datasets and entrants that differ from their labels, by label."""
        shown = self.display_names
        names = {row.dataset: shown.dataset(row.dataset) for row in self.rows}
        names |= {label: shown.entrant(label) for label in dict.fromkeys(base_label(row.entrant) for row in self.rows)}
        return {label: name for label, name in names.items() if name != label}

    def table(self) -> pd.DataFrame:
        """Return the rows as a table; ``low`` and ``high`` bound the 95 % interval; sigma is NaN for all levels."""
        import pandas as pd

        values = [
            {**vars(row), "difference": row.difference.value, "low": row.difference.low, "high": row.difference.high}
            for row in self.rows
        ]
        return pd.DataFrame(values)


def compare(first: str | Path, second: str | Path) -> Comparison:
    """Compare two results folders: paired differences in PSNR, and differences in protocol, code and environment.

    The folders are compared on the datasets that they share, which are matched by content, not by label.

    Parameters
    ----------
    first
        Path of the first results folder.
    second
        Path of the second results folder; differences are second minus first.

    Returns
    -------
    Comparison
        Its ``table()`` has one row for each shared dataset, shared entrant and noise level, and one for the mean over
        all levels.

    Raises
    ------
    ResultsError
        If the folders share no dataset, or scored a shared dataset on different images or with different noise.

    Examples
    --------
    In a clone of the repository, compare two boards on the images and noise levels that they share:

    >>> import warnings
    >>> import gahbench
    >>> with warnings.catch_warnings(action="ignore"):
    ...     comparison = gahbench.compare("results/basis", "results/posteriors")
    >>> row = comparison.rows[0]
    >>> row.dataset, row.entrant, float(row.difference.value)
    ('c-alpha[alpha=2,size=24]', 'lower-bound', 0.0)
    """
    folders = Path(first), Path(second)
    names = tuple(short_names(folders))
    assert len(names) == 2
    parts = {name: load_results(folder) for name, folder in zip(names, folders, strict=True)}
    new_labels = labels_of_earlier_parts(parts)
    parts = {name: relabel(part, new_labels[name]) for name, part in parts.items()}
    results = list(parts.values())
    datasets = [set(result.datasets["dataset"]) for result in results]
    if not datasets[0] & datasets[1]:
        raise ResultsError(
            f"no common dataset: {names[0]} has {', '.join(sorted(datasets[0]))}, and {names[1]} has "
            f"{', '.join(sorted(datasets[1]))}"
        )
    labels = [set(result.entrants) for result in results]
    shown = _display_names(results)
    only_in_one = tuple(
        f"{shown.entrant(label)}: only in {names[index]}"
        for index in (0, 1)
        for label in sorted(labels[index] - labels[1 - index])
    )
    protocol, code = _compare_plans(folders, names, new_labels, shown)
    protocol = (*(f"{new}: labelled '{old}' in {names[1]}" for old, new in new_labels[names[1]].items()), *protocol)
    rows = tuple(_compare_scores(parts))
    return Comparison(names, rows, protocol, code, _compare_environments(folders), only_in_one, shown)


def _display_names(results: list[Results]) -> DisplayNames:
    """Return the display names of the entrants and datasets of all results, which are distinct."""
    entrants = [label for result in results for label in result.entrants]
    specs = {
        label: spec
        for result in results
        for label, spec in zip(result.datasets["dataset"], result.datasets["spec"], strict=True)
    }
    return display_names(built_in_registry(), entrants, specs)


def _compare_scores(parts: Mapping[str, Results]) -> Iterator[Difference]:
    both = combine(parts)
    rows_of = [set(zip(part.scores["dataset"], part.scores["entrant"], strict=True)) for part in parts.values()]
    first = next(iter(parts.values()))
    for dataset in dataset_names(first):
        labels = [label for label in first.entrants if all((dataset, label) in pairs for pairs in rows_of)]
        if not labels:
            continue
        cube = psnr_cube(both, dataset, both.left_out)
        sample, row_of = cube.shared_sample, {label: row for row, label in enumerate(cube.entrants)}
        for label in labels:
            # An entrant with the same scores in both folders has a single row.
            rows = [row_of.get(part_label(label, name), row_of.get(label)) for name in parts]
            first_row, other_row = rows
            if first_row is None or other_row is None:
                continue
            pair = (sample.row(first_row), sample.row(other_row))
            differences = total([pair[1], pair[0].apply(np.negative)])
            overall = differences.apply(lambda array: array.mean(axis=-1, keepdims=True)).intervals()[0]
            means = (float(part.values.mean()) for part in pair)
            yield Difference(dataset, label, None, next(means), next(means), overall)
            for level, (sigma, difference) in enumerate(zip(cube.sigmas, differences.intervals(), strict=True)):
                values = (float(part.values[level]) for part in pair)
                yield Difference(dataset, label, sigma, next(values), next(values), difference)


def _compare_plans(
    folders: tuple[Path, Path],
    names: tuple[str, str],
    new_labels: Mapping[str, Mapping[str, str]],
    shown: DisplayNames,
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the differences between documents of units with equal labels, in protocol and in code."""
    if without_plan := [name for name, folder in zip(names, folders, strict=True) if not (folder / PLAN).is_file()]:
        return (f"{' and '.join(without_plan)}: without a plan, so the protocols cannot be compared",), ()
    documents, seeds = [], []
    for name, folder in zip(names, folders, strict=True):
        units = sorted(require_plan(folder).units, key=lambda unit: unit.seed or 0, reverse=True)
        # Documents of the first seed represent all seeds; differences between the seeds are listed separately.
        documents.append({_unit_label(unit, new_labels[name], shown): unit.document for unit in units})
        seeds.append(sorted({unit.seed for unit in units if unit.seed is not None}))
    protocol: dict[str, list[str]] = {}
    code: dict[str, list[str]] = {}
    for label in documents[0].keys() & documents[1].keys():
        old, new = documents[0][label], documents[1][label]
        if old is None or new is None:
            lacking = " and ".join(name for name, document in zip(names, (old, new), strict=True) if document is None)
            protocol.setdefault(f"settings that the plan of {lacking} does not record", []).append(" ".join(label))
            continue
        for path in differences(old, new):
            # The entrant of a score is the key of its fit, whose differences are listed for the fit.
            if path != ("seed",) and (label[0] == "fit" or path != ("entrant",)):
                lines = code if is_code(path) else protocol
                lines.setdefault(describe_difference(old, new, path), []).append(" ".join(label))
    seed_lines = [f"seeds: {seeds[0]} and {seeds[1]}"] if seeds[0] != seeds[1] else []
    return (*seed_lines, *_format_differences(protocol)), tuple(_format_differences(code))


def _unit_label(unit: Unit, new_labels: Mapping[str, str], shown: DisplayNames) -> tuple[str, str]:
    """Return the kind of a unit, and its entrant, dataset, split and metric in words."""
    dataset = shown.dataset_phrase(new_labels.get(unit.dataset, unit.dataset))
    facts = [fact for fact in (unit.split, unit.metric) if fact is not None]
    return unit.kind, f"of {shown.entrant(unit.entrant)} on {', '.join([dataset, *facts])}"


def _format_differences(labels_by_text: Mapping[str, list[str]]) -> Iterator[str]:
    for text, labels in sorted(labels_by_text.items()):
        more = f" and {len(labels) - 1} more" if len(labels) > 1 else ""
        yield f"{text} ({sorted(labels)[0]}{more})"


def differences(old: Any, new: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yield the paths at which two documents differ."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for name in sorted({*old, *new}):
            yield from differences(old.get(name), new.get(name), (*path, name))
    elif isinstance(old, list | tuple) and isinstance(new, list | tuple) and len(old) == len(new):
        for index, (old_item, new_item) in enumerate(zip(old, new, strict=True)):
            yield from differences(old_item, new_item, (*path, str(index)))
    elif old != new:
        yield path


def is_code(path: tuple[str, ...]) -> bool:
    """Return whether a path of a document leads to a digest of code."""
    return path[-1:] != () and path[-1] in CODE


def describe_difference(old: Any, new: Any, path: tuple[str, ...]) -> str:
    """Return the path at which two documents differ, with both values unless they are digests of code."""
    name = ".".join(path)
    if is_code(path):
        return name
    return f"{name}{': ' if name else ''}{brief(_value_at(old, path), 60)} and {brief(_value_at(new, path), 60)}"


def _value_at(document: Any, path: tuple[str, ...]) -> Any:
    for name in path:
        if isinstance(document, Mapping):
            document = document.get(name)
        elif isinstance(document, list | tuple) and name.isdigit():
            document = document[int(name)]
        else:
            return None
    return document


def _compare_environments(folders: tuple[Path, Path]) -> tuple[str, ...]:
    environments = []
    for folder in folders:
        try:
            recorded = dict(json.loads(read_regular(folder / ENVIRONMENT)))
        except (OSError, ValueError, TypeError):
            return (f"{folder}: {ENVIRONMENT} is missing or cannot be read",)
        # The date does not describe the machine.
        recorded.pop("date", None)
        environments.append(recorded)
    old, new = environments
    return tuple(describe_difference(old, new, path) for path in differences(old, new))
