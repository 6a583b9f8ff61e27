"""The plans of several results folders of one suite, as one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from gahbench._util.errors import ResultsError, listing
from gahbench._util.keys import canonical
from gahbench.contracts.row_labels import base_label
from gahbench.contracts.unit import Unit
from gahbench.store.plan_file import RecordedPlan, RecordedUnit
from gahbench.store.unions import distinct, united, united_rows

#: Facts of a dataset that decide nothing, which earlier plans do not have.
_SHOWN_ONLY = {"notes", "spec"}


@dataclass(frozen=True)
class MergedPlan:
    """The plan of several folders."""

    plan: RecordedPlan
    not_shown: tuple[str, ...]
    notes: tuple[str, ...]


def merge_plans(plans: Sequence[tuple[Path, RecordedPlan]]) -> MergedPlan:
    """Unite the plans of results folders; where they differ the first folder counts."""
    _check(plans)
    shown = _Shown()
    for _, plan in plans:
        shown.add([one.unit for one in plan.units if one.is_shown])
    several = [plan for _, plan in plans]
    units = _united_units(several, shown.folders)
    labels = {one.unit.entrant for one in units if one.is_shown}
    first = plans[0][1]
    entrants = [
        label
        for label in united(plan.board["entrants"] for _, plan in plans)
        if label in labels or label in first.board["entrants"]
    ]
    boards = [plan.board for plan in several]
    refused = dict.fromkeys(tuple(one) for board in boards for one in board.get("refused", ()))
    board = {
        "baseline": first.board["baseline"],
        "entrants": entrants,
        "datasets": united_rows((board["datasets"] for board in boards), "dataset"),
        "metrics": united_rows((board["metrics"] for board in boards), "metric"),
        "ratios": united_rows((board.get("ratios", []) for board in boards), "metric"),
        "citations": distinct(row for board in boards for row in board.get("citations", ())),
        "trainings": {
            label: own
            for board in reversed(boards)
            for label, own in board.get("trainings", {}).items()
            if label in entrants
        },
        "refused": [list(one) for one in refused if one[1] in entrants],
        "needs": {name: needs for board in reversed(boards) for name, needs in board["needs"].items()},
    }
    plugins, notes = _plugins(plans)
    threads = next((plan.threads for _, plan in plans if plan.threads is not None), None)
    notes += [
        f"{path}: planned for {plan.threads} threads of a worker; {threads} are recorded, and rounding depends on it"
        for path, plan in plans
        if plan.threads not in (None, threads)
    ]
    code = {name: digest for _, plan in reversed(plans) for name, digest in plan.code.items()}
    merged = RecordedPlan(
        first.suite,
        tuple(_sorted(units, board, several)),
        board,
        threads,
        plugins,
        code,
        first.limits,
        first.secret_noise,
        *_suite_text(several),
    )
    return MergedPlan(merged, tuple(shown.left_out), (*notes, *shown.reasons))


def _suite_text(plans: Sequence[RecordedPlan]) -> tuple[str, tuple[str, ...]]:
    """Return the suite's text, and the changes to it, where all plans have the same."""
    texts = {(plan.suite_text, plan.changes) for plan in plans}
    return texts.pop() if len(texts) == 1 else ("", ())


def _check(plans: Sequence[tuple[Path, RecordedPlan]]) -> None:
    """Refuse plans of different suites, or whose boards have different facts."""
    first, one = plans[0]
    known: dict[str, tuple[Path, Mapping[str, Any]]] = {}
    for path, plan in plans:
        if not plan.board:
            raise ResultsError(
                f"{path}: planned by an earlier version, without the facts of its board; 'gahbench run' or "
                "'gahbench plan --out' with its suite records them"
            )
        for what, own, before in (
            ("suite", plan.suite, one.suite),
            ("baseline", plan.board["baseline"], one.board["baseline"]),
        ):
            if own != before:
                raise ResultsError(
                    f"{path}: the {what} is '{own}', and '{before}' in {first}; accepted are folders of one {what}"
                )
        for row in plan.board["datasets"]:
            where, before = known.setdefault(row["dataset"], (path, row))
            names = {**before, **row}.keys() - _SHOWN_ONLY
            differing = [name for name in sorted(names) if repr(before.get(name)) != repr(row.get(name))]
            if differing:
                facts = listing(f"{name} {row.get(name)} and {before.get(name)}" for name in differing)
                raise ResultsError(
                    f"{path} and {where}: the dataset '{row['dataset']}' differs: {facts}; accepted are folders with "
                    "the same images under one label"
                )


@dataclass
class _Shown:
    """The units that the board shows, as plans are added: those that can stand beside the ones before."""

    folders: set[str] = field(default_factory=set)
    #: Of entrants with units that cannot.
    left_out: dict[str, None] = field(default_factory=dict)
    _columns: dict[tuple[Any, ...], str | None] = field(default_factory=dict)
    _keys: dict[tuple[Any, ...], str] = field(default_factory=dict)
    #: How the training of such networks differs from that of the first.
    trained_otherwise: dict[str, str] = field(default_factory=dict)
    _trainings: set[str] = field(default_factory=set)
    _first_training: Mapping[str, Any] | None = None

    @property
    def reasons(self) -> list[str]:
        """Why networks are left out that are trained otherwise."""
        return [f"{label}: {why}, so that the board does not show it" for label, why in self.trained_otherwise.items()]

    def add(self, units: Sequence[Unit]) -> None:
        """Add the units that a plan shows."""
        fits = {unit.key: unit for unit in units if unit.kind == "fit" and self._may_stand(unit)}
        scores = [
            unit for unit in units if unit.kind == "score" and self._may_stand(unit) and fits.keys() >= set(unit.needs)
        ]
        needed = {key for unit in scores for key in unit.needs}
        measured = {key for unit in units for key in unit.needs}
        # A network none of whose scores is shown has no row.
        accepted = [*scores, *(unit for key, unit in fits.items() if key in needed or key not in measured)]
        self.folders |= {unit.folder for unit in accepted}
        for unit in accepted:
            self._keys.setdefault(_name(unit), unit.key)
            if unit.kind == "score":
                self._columns.setdefault(_place(unit), unit.column)
            else:
                self._trainings.add(_training(unit))
                self._first_training = self._first_training or (unit.document or {}).get("training")
        for unit in units:
            if unit.kind == "fit" and unit.folder not in self.folders and not self._is_trained_alike(unit):
                self.trained_otherwise.setdefault(unit.entrant, self._difference(unit))
        self.left_out |= {unit.entrant: None for unit in units if unit.folder not in self.folders}

    def _may_stand(self, unit: Unit) -> bool:
        if self._keys.get(_name(unit), unit.key) != unit.key:
            return False
        if unit.kind == "score":
            return self._columns.get(_place(unit), unit.column) == unit.column
        return self._is_trained_alike(unit)

    def _is_trained_alike(self, unit: Unit) -> bool:
        return unit.document is None or not self._trainings or _training(unit) in self._trainings

    def _difference(self, unit: Unit) -> str:
        first, own = self._first_training or {}, (unit.document or {}).get("training", {})
        fields = [name for name in {**first, **own} if first.get(name) != own.get(name)]
        values = listing(f"{name}={own.get(name)} (there {first.get(name)})" for name in fields) if fields else "halves"
        return f"trained otherwise than the networks of the first folder: {values}"


def _name(unit: Unit) -> tuple[Any, ...]:
    return (unit.kind, unit.dataset, unit.entrant, unit.seed, unit.split, unit.metric)


def _place(unit: Unit) -> tuple[Any, ...]:
    return (unit.dataset, unit.split, unit.metric)


def _training(unit: Unit) -> str:
    """Return what decides how networks are trained, as text: rows of a sweep differ in the number of images."""
    training = dict((unit.document or {}).get("training", {}))
    split = training.pop("split", None)
    if unit.split is None:
        training["split"] = split
    else:
        training.pop("same_initialisation", None)
    if unit.entrant != base_label(unit.entrant):
        training.pop("train_images", None)
    return canonical([unit.split is not None, training])


def _united_units(plans: Sequence[RecordedPlan], shown: set[str]) -> list[RecordedUnit]:
    """Return every unit once; an entrant is added where it is in no suite's file."""
    of_suite = {base_label(one.unit.entrant) for plan in plans for one in plan.units if not one.is_added}
    found: dict[str, RecordedUnit] = {}
    for one in (one for plan in plans for one in plan.units):
        unit, name = one.unit, one.unit.folder
        if name in found:
            # Plans of folders with finished networks do not count their work.
            unit = replace(found[name].unit, work=max(found[name].unit.work, unit.work))
        found[name] = RecordedUnit(unit, base_label(unit.entrant) not in of_suite, name in shown)
    return list(found.values())


def _sorted(
    units: Sequence[RecordedUnit], board: Mapping[str, Any], plans: Sequence[RecordedPlan]
) -> list[RecordedUnit]:
    """Return units in the order of a plan: fits first, then by dataset, row, seed, split and metric."""

    def places(names: Iterable[str]) -> dict[str, int]:
        return {name: place for place, name in enumerate(names)}

    def own(name: str) -> list[list[str]]:
        return [[str(getattr(one.unit, name)) for one in plan.units] for plan in plans]

    datasets = places(united([[row["dataset"] for row in board["datasets"]], *own("dataset")]))
    entrants = places(united([board["entrants"], *own("entrant")]))
    splits, metrics = places(united(own("split"))), places(united(own("metric")))

    def order(one: RecordedUnit) -> tuple[Any, ...]:
        unit = one.unit
        head = (unit.kind != "fit", datasets[unit.dataset], entrants[unit.entrant])
        return (*head, -1 if unit.seed is None else unit.seed, splits[str(unit.split)], metrics[str(unit.metric)])

    return sorted(units, key=order)


def _plugins(plans: Sequence[tuple[Path, RecordedPlan]]) -> tuple[tuple[str, ...], list[str]]:
    """Return the plugin files of several plans, and a note on each of which there are several versions."""
    found: dict[str, str] = {}
    notes = []
    for path, plan in plans:
        for file in plan.plugins:
            # plugins/DIGEST/FILE
            name = file.split("/", 2)[-1]
            if found.setdefault(name, file) != file:
                notes.append(f"{path}: another version of the plugin file {name}; that of the first folder is kept")
    return tuple(found.values()), notes
