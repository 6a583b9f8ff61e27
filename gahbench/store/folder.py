"""The results folder of one suite: whose it is, what is planned in it, and that one run at a time uses it."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from gahbench._util.errors import ResultsError
from gahbench._util.files import write_json
from gahbench.contracts.unit import Unit
from gahbench.planning.plan import Plan
from gahbench.planning.rows import base_label
from gahbench.store.store import Store

PLAN = "plan.json"


class Folder:
    """A results folder.

    Parameters
    ----------
    path
        The folder, which need not exist yet.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def open(
        self, plan: Plan, is_current: Callable[[Unit], bool] = lambda unit: True
    ) -> tuple[list[Unit], tuple[str, ...], tuple[str, ...]]:
        """Take the folder for a plan.

        Parameters
        ----------
        is_current
            Whether a unit of an entrant that was added has the key that it would have now.

        Returns
        -------
        units
            Those of entrants that earlier runs had added to it.
        left_out
            Labels of such entrants that were measured otherwise than this plan does, and so cannot stand beside others.
        outdated
            Labels of such entrants that were measured with earlier code than today's.

        Raises
        ------
        ResultsError
            If the folder belongs to another suite or protocol; says in what they differ.
        """
        recorded = self.check(plan)
        added = self._added_before(plan, recorded["units"] if recorded else [])
        outdated = tuple(dict.fromkeys(unit.entrant for unit in added if not is_current(unit)))
        extra = _comparable(plan, [unit for unit in added if unit.entrant not in outdated])
        content = {
            "suite": plan.suite.name,
            "protocol": plan.protocol,
            "units": [
                *(_recorded(unit, base_label(unit.entrant) in plan.suite.added) for unit in plan.units),
                *(_recorded(unit, True) for unit in added),
            ],
        }
        if content != recorded:
            write_json(self.path / PLAN, content)
        others = {*outdated, *(unit.entrant for unit in extra)}
        return extra, tuple(dict.fromkeys(unit.entrant for unit in added if unit.entrant not in others)), outdated

    def check(self, plan: Plan) -> dict[str, Any] | None:
        """Return what the folder records, having checked that a plan may use it.

        Raises
        ------
        ResultsError
            As :meth:`open`.
        """
        recorded = self.recorded()
        if recorded is not None:
            self._check(plan, recorded)
        return recorded

    def recorded(self) -> dict[str, Any] | None:
        """Return the plan that the folder records; ``None`` for a folder that is new.

        Raises
        ------
        ResultsError
            If the record cannot be read, or the folder holds other things.
        """
        file = self.path / PLAN
        try:
            content = json.loads(file.read_bytes())
        except FileNotFoundError:
            if self.path.is_dir() and (
                others := [child.name for child in self.path.iterdir() if not child.name.startswith(".")]
            ):
                raise ResultsError(
                    f"{self.path}: not a results folder (it holds {others[0]} but no {PLAN}); give a new or empty one"
                ) from None
            return None
        except (OSError, ValueError) as error:
            raise ResultsError(f"{file}: cannot be read ({error}); give another results folder") from error
        if not isinstance(content, dict) or not {"suite", "protocol", "units"} <= set(content):
            raise ResultsError(f"{file}: not the plan of a gahbench suite; give another results folder")
        return content

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Keep other runs out of the folder while this one uses it.

        Raises
        ------
        ResultsError
            If another run is using it, or it cannot be written.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            file = (self.path / ".lock").open("w")
        except OSError as error:
            raise ResultsError(f"{self.path}: cannot be used as a results folder: {error}") from error
        with file:
            try:
                import fcntl
            except ImportError:
                yield  # A system without file locks.
                return
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise ResultsError(
                    f"{self.path}: another run is using this results folder; wait for it or give another one"
                ) from error
            yield

    def _check(self, plan: Plan, recorded: dict[str, Any]) -> None:
        advice = f"give another folder with --out, or delete {self.path}"
        if recorded["suite"] != plan.suite.name:
            raise ResultsError(
                f"{self.path}: holds results of the suite '{recorded['suite']}', not '{plan.suite.name}'; {advice}"
            )
        differences = list(_differences(recorded["protocol"], json.loads(json.dumps(plan.protocol, default=str))))
        if differences:
            raise ResultsError(
                f"{self.path}: holds results of another protocol of '{plan.suite.name}': "
                f"{'; '.join(differences)}; {advice}"
            )

    def _added_before(self, plan: Plan, recorded: list[dict[str, Any]]) -> list[Unit]:
        """Return the finished units on record of entrants that were added, and are not in this plan."""
        current = {entrant.label for entrant in plan.suite.entrants}
        store = Store(self.path)
        units = [
            Unit.of_record(record)
            for record in recorded
            if record["added"] and base_label(record["entrant"]) not in current
        ]
        return [unit for unit in units if store.is_done(unit)]


def _recorded(unit: Unit, added: bool) -> dict[str, Any]:
    """Return the record of a planned unit; its document is with the unit itself once it is done."""
    record = {name: value for name, value in unit.record().items() if name != "document"}
    return {**record, "added": added}


def _comparable(plan: Plan, added: list[Unit]) -> list[Unit]:
    """Return the scores that were measured as this plan measures, and the fits behind them."""
    columns = {(unit.dataset, unit.split, unit.metric, unit.column) for unit in plan.units}
    scores = [
        unit
        for unit in added
        if unit.kind == "score" and (unit.dataset, unit.split, unit.metric, unit.column) in columns
    ]
    needed = {key for unit in scores for key in unit.needs}
    return [*(unit for unit in added if unit.kind == "fit" and unit.key in needed), *scores]


def _differences(old: Any, new: Any, where: str = "") -> Iterator[str]:
    if isinstance(old, dict) and isinstance(new, dict):
        for name in sorted({*old, *new}):
            yield from _differences(old.get(name), new.get(name), f"{where}.{name}" if where else name)
    elif old != new:
        yield f"{where} was {json.dumps(old)}, now {json.dumps(new)}"
