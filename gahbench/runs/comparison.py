"""Comparison of two results folders: paired differences, and what differs in protocol, code and environment."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gahbench._util.errors import ResultsError
from gahbench._util.files import read_regular
from gahbench._util.readable import brief
from gahbench.board.combined import combined, labels_of_first, part_label, relabelled
from gahbench.board.facts import dataset_names
from gahbench.board.results import Results, load_results
from gahbench.board.scorecube import psnr_cube
from gahbench.board.statistics import Interval, estimate
from gahbench.contracts.unit import Unit
from gahbench.planning.replan import differences, is_code
from gahbench.store.plan_file import PLAN, require_plan, short_names

if TYPE_CHECKING:
    import pandas as pd

_ENVIRONMENT = "environment.json"


@dataclass(frozen=True)
class Difference:
    """The PSNR of an entrant in two runs."""

    dataset: str
    entrant: str
    sigma: float | None
    one: float
    other: float
    difference: Interval


@dataclass(frozen=True)
class Comparison:
    """Two runs, compared entrant by entrant."""

    names: tuple[str, str]
    rows: tuple[Difference, ...] = field(repr=False)
    protocol: tuple[str, ...] = ()
    code: tuple[str, ...] = ()
    environment: tuple[str, ...] = ()
    only: tuple[str, ...] = ()

    def table(self) -> pd.DataFrame:
        """Return the rows as a table, with ``low`` and ``high``, the ends of the interval, and NaN for all levels."""
        import pandas as pd

        values = [
            {**vars(row), "difference": row.difference.value, "low": row.difference.low, "high": row.difference.high}
            for row in self.rows
        ]
        return pd.DataFrame(values)


def compare(one: str | Path, other: str | Path) -> Comparison:
    """Compare two results folders: paired differences in PSNR, and what differs in protocol, code and environment.

    They are compared on the datasets that they share, whatever labels these have.

    Parameters
    ----------
    one, other
        Results folders.

    Returns
    -------
    Comparison
        Its ``table()`` has a row for each dataset, entrant of both, and noise level.

    Raises
    ------
    ResultsError
        If they share no dataset, or one has other images or noise there.
    """
    folders = Path(one), Path(other)
    names = tuple(short_names(folders))
    assert len(names) == 2
    parts = {name: load_results(folder) for name, folder in zip(names, folders, strict=True)}
    shown = labels_of_first(parts)
    parts = {name: relabelled(one, shown[name]) for name, one in parts.items()}
    results = list(parts.values())
    sets = [set(one.datasets["dataset"]) for one in results]
    if not sets[0] & sets[1]:
        raise ResultsError(
            f"{names[0]} has {', '.join(sorted(sets[0]))}, and {names[1]} {', '.join(sorted(sets[1]))}: no dataset in "
            "common to compare on"
        )
    labels = [set(found.entrants) for found in results]
    lines = tuple(
        f"{label}: in {names[place]} alone" for place in (0, 1) for label in sorted(labels[place] - labels[1 - place])
    )
    protocol, code = _of_plans(folders, names, shown)
    protocol = (*(f"{new}: labelled '{old}' in {names[1]}" for old, new in shown[names[1]].items()), *protocol)
    return Comparison(names, tuple(_paired(parts)), protocol, code, _machines(folders), lines)


def _paired(parts: Mapping[str, Results]) -> Iterator[Difference]:
    both = combined(parts)
    held = [set(zip(one.scores["dataset"], one.scores["entrant"], strict=True)) for one in parts.values()]
    first = next(iter(parts.values()))
    for dataset in dataset_names(first):
        labels = [label for label in first.entrants if all((dataset, label) in pairs for pairs in held)]
        if not labels:
            continue
        cube = psnr_cube(both, dataset, both.left_out)
        middle, draws, at = cube.means(), cube.draws(), {label: place for place, label in enumerate(cube.entrants)}
        for label in labels:
            # One that scores alike in both is there once.
            places = [at.get(part_label(label, name), at.get(label)) for name in parts]
            if any(place is None for place in places):
                continue
            for level in (None, *range(len(cube.sigmas))):
                chosen = slice(None) if level is None else slice(level, level + 1)
                one, other = (float(middle[place, chosen].mean()) for place in places)
                drawn = (draws[:, places[1], chosen] - draws[:, places[0], chosen]).mean(axis=-1)
                gap = estimate(other - one, drawn.reshape(len(draws)))
                yield Difference(dataset, label, None if level is None else cube.sigmas[level], one, other, gap)


def _of_plans(
    folders: tuple[Path, Path], names: tuple[str, str], shown: Mapping[str, Mapping[str, str]]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return how the documents of units with equal labels differ, in protocol and in code."""
    if lacking := [name for name, folder in zip(names, folders, strict=True) if not (folder / PLAN).is_file()]:
        return (f"{' and '.join(lacking)}: without a plan, so that what was asked for cannot be compared",), ()
    documents, seeds = [], []
    for name, folder in zip(names, folders, strict=True):
        units = sorted((one.unit for one in require_plan(folder).units), key=lambda unit: unit.seed or 0, reverse=True)
        # The first seed stands for all; differences between the seeds themselves are listed separately.
        documents.append({_label(unit, shown[name]): unit.document for unit in units})
        seeds.append(sorted({unit.seed for unit in units if unit.seed is not None}))
    protocol: dict[str, list[str]] = {}
    code: dict[str, list[str]] = {}
    for label in documents[0].keys() & documents[1].keys():
        old, new = documents[0][label], documents[1][label]
        for path in differences(old, new):
            # The entrant of a score is the key of its fit, whose own differences are listed.
            if path != ("seed",) and (label[0] == "fit" or path != ("entrant",)):
                lines = code if is_code(path) else protocol
                lines.setdefault(describe_difference(old, new, path), []).append(" ".join(label))
    differing = [f"seeds: {seeds[0]} and {seeds[1]}"] if seeds[0] != seeds[1] else []
    return (*differing, *_lines(protocol)), tuple(_lines(code))


def _label(unit: Unit, shown: Mapping[str, str]) -> tuple[str, ...]:
    named = (unit.kind, shown.get(unit.dataset, unit.dataset), unit.entrant, unit.split, unit.metric)
    return tuple(part for part in named if part is not None)


def _lines(found: Mapping[str, list[str]]) -> Iterator[str]:
    for text, labels in sorted(found.items()):
        more = f" and {len(labels) - 1} more" if len(labels) > 1 else ""
        yield f"{text} (of {sorted(labels)[0]}{more})"


def describe_difference(old: Any, new: Any, path: tuple[str, ...]) -> str:
    """Return a place at which two documents differ, with both values if they are no digests of code."""
    name = ".".join(path)
    if is_code(path):
        return name
    return f"{name}{': ' if name else ''}{brief(_at(old, path), 60)} and {brief(_at(new, path), 60)}"


def _at(document: Any, path: tuple[str, ...]) -> Any:
    for name in path:
        if isinstance(document, Mapping):
            document = document.get(name)
        elif isinstance(document, list | tuple) and name.isdigit():
            document = document[int(name)]
        else:
            return None
    return document


def _machines(folders: tuple[Path, Path]) -> tuple[str, ...]:
    found = []
    for folder in folders:
        try:
            recorded = dict(json.loads(read_regular(folder / _ENVIRONMENT)))
        except (OSError, ValueError, TypeError):
            return (f"{folder}: no {_ENVIRONMENT} that could be read",)
        # The date does not describe the machine.
        recorded.pop("date", None)
        found.append(recorded)
    old, new = found
    return tuple(describe_difference(old, new, path) for path in differences(old, new))
