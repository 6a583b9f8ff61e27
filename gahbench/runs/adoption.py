"""Adoption: units that were finished with earlier code are accepted on request, and on the record."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from gahbench._util.errors import GahbenchError, ResultsError
from gahbench._util.files import delete_folder, flush, write_json
from gahbench._util.sealed import write_sealed
from gahbench.contracts.unit import Unit
from gahbench.planning.plan import Plan
from gahbench.planning.replan import Replanner, differences, is_code
from gahbench.registry.registry import Registry, open_registry
from gahbench.runs.removal import hold
from gahbench.store.attempts import PARTIAL, link_or_copy, publish
from gahbench.store.finished import DONE, UNIT, open_finished
from gahbench.store.folder import Folder
from gahbench.store.leases import unique_name
from gahbench.store.plan_file import require_plan, write_plan
from gahbench.store.store import Store


@dataclass(frozen=True)
class Adopted:
    """A unit that was accepted."""

    unit: Unit
    former: str
    differs: tuple[str, ...]


@dataclass
class Adoption:
    """The outcome of adopting the units of a results folder."""

    adopted: list[Adopted] = field(default_factory=list)
    current: int = 0
    superseded: int = 0
    refused: list[tuple[str, str]] = field(default_factory=list)


def adopt(folder: str | Path, *, plugins: Sequence[str | Path] = ()) -> Adoption:
    """Accept the finished units of a results folder that differ from today's only in code.

    A change of the code that decides an outcome has units done again. Where it does not matter, this accepts them
    instead: they get today's keys and record their adoption, and the board notes it.

    Parameters
    ----------
    folder
        A results folder with its units.
    plugins
        Plugin files, or folders of them, that its suite used.

    Returns
    -------
    Adoption
        The units that were ``adopted``, and those that were ``refused``, with the reason.

    Raises
    ------
    ResultsError
        If it is no results folder, has no units, or another run is using it.
    """
    folder, registry = Path(folder), open_registry(plugins)
    require_plan(folder)
    store = Store(folder)
    units = list(store.recorded_units())
    if not units:
        raise ResultsError(f"{folder}: holds no finished units; expected the folder as the run left it")
    # Networks are moved, which scores that are to be done need.
    with Folder(folder).lock(), hold([*units, *(one.unit for one in require_plan(folder).units)], store):
        units = list(store.recorded_units())
        adopter = _Adopter(store, registry, units)
        for kind in ("fit", "score"):
            adopter.adopt([unit for unit in units if unit.kind == kind])
        _rewrite_plan(folder, adopter.keys, adopter.columns)
    return adopter.found


class _Adopter:
    """Adopts the units of a store, fits before scores."""

    def __init__(self, store: Store, registry: Registry, units: list[Unit]) -> None:
        self.found = Adoption()
        self._store, self._replanner = store, Replanner(registry)
        #: New keys by the keys that they were adopted from, also by an interrupted adoption; and columns likewise.
        self.keys = {
            one["from"]: unit.key for unit in units for one in (store.done_record(unit) or {}).get("adopted", ())
        }
        self.columns: dict[str, str] = {}
        self._fits: set[str] = set()

    def adopt(self, units: list[Unit]) -> None:
        """Adopt units of one kind; if several would become the same unit, the newest is adopted."""
        groups: dict[str, list[tuple[Unit, Unit, tuple[str, ...]]]] = {}
        for unit in units:
            try:
                self._store.verify(self._store.path(unit), unit)
                now = self._replanner.replanned(unit, {key: self._mapped(key) for key in unit.needs})
                differs = _differs(unit, now, self._mapped)
            except (GahbenchError, KeyError, TypeError, ValueError) as error:
                self.found.refused.append((unit.label, str(error) or type(error).__name__))
                continue
            if not self._fits.issuperset(now.needs):
                # The score of a network that was trained anew since, or whose fit is not accepted.
                self.found.superseded += 1
            else:
                groups.setdefault(now.key, []).append((unit, now, differs))
        for several in groups.values():
            self._settle(several)

    def _settle(self, several: list[tuple[Unit, Unit, tuple[str, ...]]]) -> None:
        """Adopt the newest of several units that become the same, unless one of them has today's code."""
        written = {one.folder: (self._store.path(one) / DONE).stat().st_mtime_ns for one, _, _ in several}
        unit, now, differs = max(several, key=lambda one: (one[0].key == one[1].key, written[one[0].folder]))
        if now.kind == "fit":
            self._fits.add(now.key)
        self.found.superseded += len(several) - 1
        if now.key == unit.key:
            self.found.current += 1
            return
        self.keys[unit.key] = now.key
        if unit.column is not None and now.column is not None:
            self.columns[unit.column] = now.column
        _move(self._store, unit, now, differs, self._mapped)
        self.found.adopted.append(Adopted(now, unit.key, differs))

    def _mapped(self, key: str) -> str:
        seen = {key}
        while (after := self.keys.get(key)) is not None and after not in seen:
            key = after
            seen.add(key)
        return key


def superseded(plan: Plan, folder: Path) -> int:
    """Return how many units of a plan are not done in a folder, but were done there with other code or settings."""
    store = Store(folder)
    finished = store.finished()
    # Usually empty, so that few records are read.
    others = {_name(unit) for unit in store.recorded_units(excluded={unit.folder for unit in plan.units})}
    return len(others & {_name(unit) for unit in plan.units if unit.folder not in finished})


def _name(unit: Unit) -> tuple[object, ...]:
    return (unit.kind, unit.dataset, unit.entrant, unit.seed, unit.split, unit.metric)


def _differs(unit: Unit, now: Unit, mapped: Callable[[str], str]) -> tuple[str, ...]:
    """Return the code in which two units differ."""
    old: dict[str, Any] = dict(unit.document or {})
    for name in ("entrant", "partner"):
        if isinstance(old.get(name), str):
            old[name] = mapped(old[name])
    places = list(differences(old, now.document))
    others = [".".join(place) for place in places if not is_code(place)]
    if others:
        raise ResultsError(f"not only code differs: {', '.join(others)}")
    return tuple(".".join(place) for place in places)


def _move(store: Store, unit: Unit, now: Unit, differs: tuple[str, ...], mapped: Callable[[str], str]) -> None:
    """Give a finished unit its new key: write a copy, rename the copy, and delete the old folder last."""
    before, after = store.path(unit), store.path(now)
    copy = after.with_name(f"{after.name}{PARTIAL}-{unique_name()}")
    finished = open_finished(before, unit)
    copy.mkdir()
    for name in finished.names:
        link_or_copy(before / name, copy / name)
        flush(copy / name)
    done = dict(finished.done)
    history = [*done.get("adopted", []), {"from": unit.key, "differs": list(differs)}]
    write_json(copy / UNIT, {**replace(now, work=0.0).record(), "adopted": history})
    content = (copy / UNIT).read_bytes()
    facts = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    done["files"] = {**done["files"], UNIT: facts}
    if "networks" in done:
        done["networks"] = {mapped(key): digest for key, digest in done["networks"].items()}
    write_sealed(copy / DONE, {**done, "adopted": history})
    publish(copy, after)
    delete_folder(before)


def _rewrite_plan(folder: Path, keys: dict[str, str], columns: dict[str, str]) -> None:
    """Let the recorded plan name the units that were adopted by their new keys."""
    if not keys:
        return

    def mapped(unit: Unit) -> Unit:
        names = ("key", "requires", "partner")
        after = {name: keys.get(value, value) for name in names if (value := getattr(unit, name))}
        return replace(unit, column=columns.get(unit.column or "", unit.column), **after)

    plan = require_plan(folder)
    write_plan(folder, replace(plan, units=tuple(replace(one, unit=mapped(one.unit)) for one in plan.units)))
