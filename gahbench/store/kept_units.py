"""The units that a results folder keeps when a new plan is recorded in it.

A board loses only the rows and columns that its suite no longer has. Entrants and seeds that earlier runs added stay
until they are removed, and a run of a part of a suite leaves the rest of the board unchanged.
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
    """Labels of rows, datasets and other parts that have units in the folder but are not on the board, by reason."""

    #: Added rows that an earlier run did not finish.
    unfinished: tuple[str, ...] = ()
    #: Added rows that were measured with other settings.
    left_out: tuple[str, ...] = ()
    #: Added rows that were measured with earlier code.
    outdated: tuple[str, ...] = ()
    #: Rows of the suite that were measured with other code or settings.
    stale: tuple[str, ...] = ()
    #: Datasets, rows, metrics, seeds and splits that the suite no longer has.
    dropped: tuple[str, ...] = ()


@dataclass(frozen=True)
class Kept:
    """The recorded units that are kept in addition to the units of a plan, and the labels that leave the board."""

    units: tuple[RecordedUnit, ...] = ()
    not_shown: NotShown = field(default_factory=NotShown)

    @property
    def shown(self) -> list[Unit]:
        """The units that stay on the board."""
        return [record.unit for record in self.units if record.is_shown]


def kept_units(plan: Plan, recorded: RecordedPlan, store: Store, registry: Registry) -> Kept:
    """Return the recorded units that a folder keeps in addition to the units of a plan."""
    replanner = Replanner(registry)
    requested, suite = _Scope.from_suite(plan.suite), _Scope.from_suite(plan.suite.complete)
    planned = {unit.folder for unit in plan.units}
    outside_plan = [
        record for record in recorded.units if record.unit.folder not in planned and not requested.has(record.unit)
    ]
    in_suite = [
        record.unit for record in outside_plan if suite.has(record.unit) and (record.is_shown or record.is_added)
    ]
    added = [record.unit for record in outside_plan if not suite.has(record.unit) and record.is_added]
    dropped = [
        record.unit for record in outside_plan if not suite.has(record.unit) and record.is_shown and not record.is_added
    ]
    finished = store.finished()
    current = units_on_datasets(plan.suite.complete, {unit.dataset for unit in in_suite}) if in_suite else {}
    current_keys = {dataset: {unit.key for unit in units} for dataset, units in current.items()}
    # Units of a dataset that cannot be read here are kept, since their current keys are unknown.
    suite_units = [
        unit for unit in in_suite if unit.dataset not in current_keys or unit.key in current_keys[unit.dataset]
    ]
    stale = set(in_suite).difference(suite_units)
    outdated = tuple(dict.fromkeys(unit.entrant for unit in added if not _is_current(unit, replanner)))
    comparable = comparable_units([*plan.units, *suite_units], [unit for unit in added if unit.entrant not in outdated])
    shown = {unit.folder for unit in comparable}
    stored = finished | set(names_in(store.leases))
    # If this run adds an entrant again with one of its seeds, its other seeds are kept as added units.
    units = [RecordedUnit(unit, is_added(unit, plan.suite)) for unit in suite_units]
    units += [
        RecordedUnit(unit, True, unit.folder in shown)
        for unit in added
        if unit.folder in shown or unit.folder in stored
    ]
    hidden = {record.unit.entrant: None for record in units if not record.is_shown}
    rows_shown = {unit.entrant for unit in comparable}
    not_shown = NotShown(
        unfinished=tuple(dict.fromkeys(unit.entrant for unit in comparable if unit.folder not in stored)),
        left_out=tuple(label for label in hidden if label not in rows_shown and label not in outdated),
        outdated=outdated,
        stale=tuple(dict.fromkeys(unit.entrant for unit in in_suite if unit in stale and unit.folder in finished)),
        dropped=tuple(dict.fromkeys(suite.missing_part(unit) for unit in dropped if unit.folder in finished)),
    )
    return Kept(tuple(units), not_shown)


def _is_current(unit: Unit, replanner: Replanner) -> bool:
    """Return whether a unit of an earlier run would have the same key now; true if this cannot be determined."""
    try:
        return replanner.replan(unit).key == unit.key
    except Exception:
        return True  # The plugin is missing, or its parameters have changed.


def is_added(unit: Unit, suite: Suite) -> bool:
    """Return whether the entrant or the seed of a unit was added to the suite on the command line."""
    return base_label(unit.entrant) in suite.added or (unit.seed is not None and unit.seed not in suite.complete.seeds)


@dataclass(frozen=True)
class _Scope:
    """The labels of datasets, rows and metrics, the seeds and the splits of a suite or of a part of it."""

    datasets: frozenset[str]
    rows: frozenset[str]
    metrics: frozenset[str]
    seeds: frozenset[int]
    splits: frozenset[str]

    @classmethod
    def from_suite(cls, suite: Suite) -> _Scope:
        return cls(
            frozenset(entry.label for entry in suite.datasets),
            frozenset(row.label for row in rows(suite)),
            frozenset(entry.label for entry in suite.metrics),
            frozenset(suite.seeds),
            frozenset(suite.scoring.splits),
        )

    def has(self, unit: Unit) -> bool:
        return not self.missing_part(unit)

    def missing_part(self, unit: Unit) -> str:
        """Return the first part of a unit that is outside the scope, such as ``seed 3``, or an empty string."""
        if unit.dataset not in self.datasets:
            return f"dataset {unit.dataset}"
        if unit.entrant not in self.rows:
            return f"entrant {unit.entrant}"
        if unit.seed is not None and unit.seed not in self.seeds:
            return f"seed {unit.seed}"
        if unit.metric is not None and unit.metric not in self.metrics:
            return f"metric {unit.metric}"
        return f"split {unit.split}" if unit.kind == "score" and unit.split not in self.splits else ""


def merge_facts(plan: Plan, recorded: RecordedPlan, kept: Sequence[Unit]) -> dict[str, Any]:
    """Return the facts for a board that shows the units of a plan and some kept units of the recorded plan."""
    planned, earlier = plan.board, recorded.board
    if not kept:
        return planned
    requested, suite = _Scope.from_suite(plan.suite), _Scope.from_suite(plan.suite.complete)
    refused = [
        row
        for row in earlier["refused"]
        if not (row[0] in requested.datasets and row[1] in requested.rows)
        and row[0] in suite.datasets
        and row[1] in suite.rows
    ]
    labels = {unit.entrant for unit in kept} | {row[1] for row in refused}
    datasets, metrics = {unit.dataset for unit in kept}, {unit.metric for unit in kept if unit.metric}
    entries = {*map(base_label, labels), *datasets, *metrics}
    # Parts of a metric are named METRIC.PART.
    parts = tuple(f"{metric}." for metric in metrics)

    def merge_order(first: list[str], second: list[str]) -> list[str]:
        # A run of a part of the suite must not reorder the board.
        return merge_orders([first, second] if requested != suite else [second, first])

    def merge_table(table: str, key: Callable[[Any], str], is_kept: Callable[[Any], bool]) -> list[Mapping[str, Any]]:
        planned_rows = {key(row): row for row in planned[table]}
        rows = {key(row): row for row in earlier[table] if is_kept(row)} | planned_rows
        return [
            rows[name] for name in merge_order([key(row) for row in earlier[table]], list(planned_rows)) if name in rows
        ]

    def is_measured(row: Mapping[str, str]) -> bool:
        return row["metric"] in metrics or row["metric"].startswith(parts)

    shown = [label for label in earlier["entrants"] if label in labels or label in planned["entrants"]]
    trainings = {label: training for label, training in earlier["trainings"].items() if label in labels}
    return {
        **planned,
        "entrants": merge_order(shown, planned["entrants"]),
        "datasets": merge_table("datasets", itemgetter("dataset"), lambda row: row["dataset"] in datasets),
        "metrics": merge_table("metrics", itemgetter("metric"), is_measured),
        "ratios": merge_table("ratios", itemgetter("metric"), is_measured),
        "citations": merge_table("citations", canonical, lambda row: row["entry"] in entries),
        "trainings": trainings | planned["trainings"],
        "refused": [*planned["refused"], *(list(row) for row in refused)],
        "needs": {name: needs for name, needs in earlier["needs"].items() if name in metrics} | planned["needs"],
    }


def merge_orders(sequences: Iterable[Iterable[str]]) -> list[str]:
    """Merge sequences of names without repetitions, keeping the order of each sequence as far as possible."""
    merged: list[str] = []
    for sequence in sequences:
        names = list(dict.fromkeys(sequence))
        for index, name in enumerate(names):
            if name not in merged:
                after = next((later for later in names[index + 1 :] if later in merged), None)
                merged.insert(len(merged) if after is None else merged.index(after), name)
    return merged


def merge_rows(tables: Iterable[Sequence[Mapping[str, Any]]], column: str) -> list[Mapping[str, Any]]:
    """Merge tables: each value of a column has one row, from the first table that contains the value."""
    all_rows = list(tables)
    rows = {row[column]: row for table in reversed(all_rows) for row in table}
    return [rows[value] for value in merge_orders([row[column] for row in table] for table in all_rows)]


def drop_duplicates(rows: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return rows without duplicates."""
    return list({canonical(row): row for row in rows}.values())
