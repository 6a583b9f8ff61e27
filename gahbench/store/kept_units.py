"""What a results folder keeps when a plan is recorded in it: its board only loses what its suite no longer has.

Entrants and seeds that earlier runs added stay until they are removed. A run of a part of a suite leaves the rest of
the board as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Any

from gahbench._util.files import names_in
from gahbench._util.keys import canonical
from gahbench.contracts.row_labels import base_label
from gahbench.contracts.unit import Unit
from gahbench.planning.plan import Plan, units_on_datasets
from gahbench.planning.replan import Replanner
from gahbench.planning.rows import rows
from gahbench.planning.suite import Suite
from gahbench.planning.units import comparable_units
from gahbench.registry.registry import Registry
from gahbench.store.plan_file import RecordedPlan, RecordedUnit
from gahbench.store.store import Store


@dataclass(frozen=True, kw_only=True)
class NotShown:
    """Labels of what a board does not show of the units in its folder, by reason."""

    #: Rows that an earlier run added and did not finish.
    unfinished: tuple[str, ...] = ()
    #: Added rows that were measured otherwise.
    left_out: tuple[str, ...] = ()
    #: Added rows that were measured with earlier code.
    outdated: tuple[str, ...] = ()
    #: Rows of the suite that were done with other code or settings.
    stale: tuple[str, ...] = ()
    #: Datasets, rows, metrics, seeds and splits that the suite no longer has.
    dropped: tuple[str, ...] = ()


@dataclass(frozen=True)
class Kept:
    """The recorded units that stay beside those of a plan, and what leaves the board."""

    units: tuple[RecordedUnit, ...] = ()
    not_shown: NotShown = field(default_factory=NotShown)

    @property
    def shown(self) -> list[Unit]:
        """The units that stay on the board."""
        return [one.unit for one in self.units if one.is_shown]


def kept_units(plan: Plan, recorded: RecordedPlan, store: Store, registry: Registry) -> Kept:
    """Return which recorded units stay in a folder beside those of a plan."""
    replanner = Replanner(registry)
    asked, whole, planned = _Scope.of(plan.suite), _Scope.of(plan.suite.whole), {unit.folder for unit in plan.units}
    others = [one for one in recorded.units if one.unit.folder not in planned and not asked.has(one.unit)]
    rest = [one.unit for one in others if whole.has(one.unit) and (one.is_shown or one.is_added)]
    added = [one.unit for one in others if not whole.has(one.unit) and one.is_added]
    gone = [one.unit for one in others if not whole.has(one.unit) and one.is_shown and not one.is_added]
    finished = store.finished()
    now = units_on_datasets(plan.suite.whole, {unit.dataset for unit in rest}) if rest else {}
    keys = {dataset: {unit.key for unit in units} for dataset, units in now.items()}
    # The keys of a dataset that cannot be read here are unknown, so its units stay.
    of_suite = [unit for unit in rest if unit.dataset not in keys or unit.key in keys[unit.dataset]]
    stale = set(rest).difference(of_suite)
    outdated = tuple(dict.fromkeys(unit.entrant for unit in added if not _is_current(unit, replanner)))
    comparable = comparable_units([*plan.units, *of_suite], [unit for unit in added if unit.entrant not in outdated])
    shown = {unit.folder for unit in comparable}
    stored = finished | set(names_in(store.leases))
    # An entrant that this run adds again, with one of its seeds, keeps its other seeds as added ones.
    units = [RecordedUnit(unit, is_added(unit, plan.suite)) for unit in of_suite]
    units += [
        RecordedUnit(unit, True, unit.folder in shown)
        for unit in added
        if unit.folder in shown or unit.folder in stored
    ]
    hidden = {one.unit.entrant: None for one in units if not one.is_shown}
    rows_shown = {unit.entrant for unit in comparable}
    not_shown = NotShown(
        unfinished=tuple(dict.fromkeys(unit.entrant for unit in comparable if unit.folder not in stored)),
        left_out=tuple(label for label in hidden if label not in rows_shown and label not in outdated),
        outdated=outdated,
        stale=tuple(dict.fromkeys(unit.entrant for unit in rest if unit in stale and unit.folder in finished)),
        dropped=tuple(dict.fromkeys(whole.lacks(unit) for unit in gone if unit.folder in finished)),
    )
    return Kept(tuple(units), not_shown)


def _is_current(unit: Unit, replanner: Replanner) -> bool:
    """Whether a unit of an earlier run would have the same key now, as far as this can be determined."""
    try:
        return replanner.replanned(unit).key == unit.key
    except Exception:
        return True  # Its plugin is absent, or has other parameters now.


def is_added(unit: Unit, suite: Suite) -> bool:
    """Whether a unit of a plan is of an entrant, or a seed, that the suite's file does not have."""
    return base_label(unit.entrant) in suite.added or (unit.seed is not None and unit.seed not in suite.whole.seeds)


@dataclass(frozen=True)
class _Scope:
    """What a suite, or a part of it, has: labels of datasets, rows and metrics; seeds and splits."""

    datasets: frozenset[str]
    rows: frozenset[str]
    metrics: frozenset[str]
    seeds: frozenset[int]
    splits: frozenset[str]

    @classmethod
    def of(cls, suite: Suite) -> _Scope:
        return cls(
            frozenset(one.label for one in suite.datasets),
            frozenset(row.label for row in rows(suite)),
            frozenset(one.label for one in suite.metrics),
            frozenset(suite.seeds),
            frozenset(suite.scoring.splits),
        )

    def has(self, unit: Unit) -> bool:
        return not self.lacks(unit)

    def lacks(self, unit: Unit) -> str:
        """Return what of a unit it does not have, in words; nothing if it has all."""
        if unit.dataset not in self.datasets:
            return f"dataset {unit.dataset}"
        if unit.entrant not in self.rows:
            return f"entrant {unit.entrant}"
        if unit.seed is not None and unit.seed not in self.seeds:
            return f"seed {unit.seed}"
        if unit.metric is not None and unit.metric not in self.metrics:
            return f"metric {unit.metric}"
        return f"split {unit.split}" if unit.kind == "score" and unit.split not in self.splits else ""


def united_facts(plan: Plan, recorded: RecordedPlan, kept: Sequence[Unit]) -> dict[str, Any]:
    """Return the facts for the board of a plan and of recorded units that stay on it."""
    now, before = plan.board, recorded.board
    if not kept:
        return now
    asked, whole = _Scope.of(plan.suite), _Scope.of(plan.suite.whole)
    refused = [
        one
        for one in before["refused"]
        if not (one[0] in asked.datasets and one[1] in asked.rows) and one[0] in whole.datasets and one[1] in whole.rows
    ]
    labels = {unit.entrant for unit in kept} | {one[1] for one in refused}
    datasets, metrics = {unit.dataset for unit in kept}, {unit.metric for unit in kept if unit.metric}
    entries = {*map(base_label, labels), *datasets, *metrics}
    # Parts of a metric are named METRIC.PART.
    parts = tuple(f"{metric}." for metric in metrics)

    def ordered(first: list[str], second: list[str]) -> list[str]:
        # A part of a suite leaves the order of the board as it is.
        return united([first, second] if asked != whole else [second, first])

    def union(table: str, key: Callable[[Any], str], is_kept: Callable[[Any], bool]) -> list[Mapping[str, Any]]:
        own = {key(row): row for row in now[table]}
        rows = {key(row): row for row in before[table] if is_kept(row)} | own
        return [rows[name] for name in ordered([key(row) for row in before[table]], list(own)) if name in rows]

    def is_measured(row: Mapping[str, str]) -> bool:
        return row["metric"] in metrics or row["metric"].startswith(parts)

    shown = [label for label in before["entrants"] if label in labels or label in now["entrants"]]
    trainings = {label: own for label, own in before["trainings"].items() if label in labels}
    return {
        **now,
        "entrants": ordered(shown, now["entrants"]),
        "datasets": union("datasets", itemgetter("dataset"), lambda row: row["dataset"] in datasets),
        "metrics": union("metrics", itemgetter("metric"), is_measured),
        "ratios": union("ratios", itemgetter("metric"), is_measured),
        "citations": union("citations", canonical, lambda row: row["entry"] in entries),
        "trainings": trainings | now["trainings"],
        "refused": [*now["refused"], *(list(one) for one in refused)],
        "needs": {name: needs for name, needs in before["needs"].items() if name in metrics} | now["needs"],
    }


def united(sequences: Iterable[Iterable[str]]) -> list[str]:
    """Return the names of several sequences once, in an order in which each has its own as far as may be."""
    found: list[str] = []
    for sequence in sequences:
        names = list(dict.fromkeys(sequence))
        for place, name in enumerate(names):
            if name not in found:
                after = next((later for later in names[place + 1 :] if later in found), None)
                found.insert(len(found) if after is None else found.index(after), name)
    return found


def united_rows(tables: Iterable[Sequence[Mapping[str, Any]]], name: str) -> list[Mapping[str, Any]]:
    """Return the rows of several tables, one for each value of a column; of several the first."""
    listed = list(tables)
    rows = {row[name]: row for table in reversed(listed) for row in table}
    return [rows[value] for value in united([row[name] for row in table] for table in listed)]


def distinct(rows: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return rows, each once."""
    return list({canonical(row): row for row in rows}.values())
