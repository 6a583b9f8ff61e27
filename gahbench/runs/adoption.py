"""Adoption of units that were finished with earlier code: they are accepted on request, and record their adoption."""

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
from gahbench.runs.removal import claim_all
from gahbench.store.attempts import PARTIAL, link_or_copy, publish
from gahbench.store.finished import DONE, UNIT, open_finished
from gahbench.store.folder import Folder
from gahbench.store.leases import unique_name
from gahbench.store.plan_file import require_plan, write_plan
from gahbench.store.store import Store


@dataclass(frozen=True)
class Adopted:
    """An adopted unit under its new key, with its former key and the parts of the code that differ."""

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
    """Accept the finished units of a results folder whose keys differ from the current keys only in code.

    If the code that computes a unit changes, its key changes, and the next run recomputes the unit. If the change does
    not matter, this function accepts the finished units instead: they get the current keys and record their adoption,
    and the board notes the adoption.

    Parameters
    ----------
    folder
        Path of a results folder with its units.
    plugins
        Paths of the plugin files, or of folders of plugin files, that the suite used; by default none.

    Returns
    -------
    Adoption
        The units that were ``adopted``; the number of units that were already ``current``; the number of units that a
        later unit has ``superseded``; and the labels of units that were ``refused``, each with the reason.

    Raises
    ------
    ResultsError
        If the folder is not a results folder, has no units, or is in use by another run.
    """
    folder, registry = Path(folder), open_registry(plugins)
    require_plan(folder)
    store = Store(folder)
    units = list(store.recorded_units())
    if not units:
        raise ResultsError(f"{folder}: holds no finished units; expected a results folder with its folder units/")
    # Units of the plan are claimed too, since their workers need the networks that are moved here.
    with Folder(folder).lock(), claim_all([*units, *(planned.unit for planned in require_plan(folder).units)], store):
        units = list(store.recorded_units())
        adopter = _Adopter(store, registry, units)
        for kind in ("fit", "score"):
            adopter.adopt([unit for unit in units if unit.kind == kind])
        _rewrite_plan(folder, adopter.keys, adopter.planned)
    return adopter.outcome


class _Adopter:
    """The adoption of the units of a store, fits before scores."""

    def __init__(self, store: Store, registry: Registry, units: list[Unit]) -> None:
        self.outcome = Adoption()
        self._store, self._replanner = store, Replanner(registry)
        #: New keys by former keys, including keys from an earlier adoption that was interrupted.
        self.keys = {
            adoption["from"]: unit.key
            for unit in units
            for adoption in (store.done_record(unit) or {}).get("adopted", ())
        }
        #: Units as the current code plans them, by their keys.
        self.planned: dict[str, Unit] = {}
        self._adopted_fits: set[str] = set()

    def adopt(self, units: list[Unit]) -> None:
        """Adopt units of one kind; if several would get the same key, adopt the newest."""
        groups: dict[str, list[tuple[Unit, Unit, tuple[str, ...]]]] = {}
        for unit in units:
            try:
                self._store.verify(self._store.path(unit), unit)
                now = self._replanner.replan(unit, {key: self._current_key(key) for key in unit.needs})
                differs = _changed_code(unit, now, self._current_key)
            except (GahbenchError, KeyError, TypeError, ValueError) as error:
                self.outcome.refused.append((unit.label, str(error) or type(error).__name__))
                continue
            if not self._adopted_fits.issuperset(now.needs):
                # The network of the score has been trained again since, or its fit was refused.
                self.outcome.superseded += 1
            else:
                groups.setdefault(now.key, []).append((unit, now, differs))
        for candidates in groups.values():
            self._adopt_newest(candidates)

    def _adopt_newest(self, candidates: list[tuple[Unit, Unit, tuple[str, ...]]]) -> None:
        """Adopt the newest of several units with the same new key, unless a unit with that key is current."""
        modified = {
            candidate.folder: (self._store.path(candidate) / DONE).stat().st_mtime_ns for candidate, _, _ in candidates
        }
        unit, now, differs = max(
            candidates, key=lambda candidate: (candidate[0].key == candidate[1].key, modified[candidate[0].folder])
        )
        if now.kind == "fit":
            self._adopted_fits.add(now.key)
        self.outcome.superseded += len(candidates) - 1
        self.planned[now.key] = now
        if now.key == unit.key:
            self.outcome.current += 1
            return
        self.keys[unit.key] = now.key
        _move_to_new_key(self._store, unit, now, differs, self._current_key)
        self.outcome.adopted.append(Adopted(now, unit.key, differs))

    def _current_key(self, key: str) -> str:
        visited = {key}
        while (newer := self.keys.get(key)) is not None and newer not in visited:
            key = newer
            visited.add(key)
        return key


def count_superseded(plan: Plan, folder: Path) -> int:
    """Return for how many unfinished units of a plan the folder has a result of earlier code or other settings."""
    store = Store(folder)
    finished = store.finished()
    # Usually no units are left after the exclusion, so few records are read.
    earlier = {_identity(unit) for unit in store.recorded_units(excluded={unit.folder for unit in plan.units})}
    return len(earlier & {_identity(unit) for unit in plan.units if unit.folder not in finished})


def _identity(unit: Unit) -> tuple[object, ...]:
    return (unit.kind, unit.dataset, unit.entrant, unit.seed, unit.split, unit.metric)


def _changed_code(unit: Unit, now: Unit, current_key: Callable[[str], str]) -> tuple[str, ...]:
    """Return the parts of the code in which two units differ; raise an error if anything else differs."""
    old: dict[str, Any] = dict(unit.document or {})
    for name in ("entrant", "partner"):
        if isinstance(old.get(name), str):
            old[name] = current_key(old[name])
    paths = list(differences(old, now.document))
    not_code = [".".join(path) for path in paths if not is_code(path)]
    if not_code:
        raise ResultsError(f"not only code differs: {', '.join(not_code)}")
    return tuple(".".join(path) for path in paths)


def _move_to_new_key(
    store: Store, unit: Unit, now: Unit, differs: tuple[str, ...], current_key: Callable[[str], str]
) -> None:
    """Give a finished unit its new key: write and publish a copy, then delete the old folder."""
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
        done["networks"] = {current_key(key): digest for key, digest in done["networks"].items()}
    write_sealed(copy / DONE, {**done, "adopted": history})
    publish(copy, after)
    delete_folder(before)


def _rewrite_plan(folder: Path, keys: dict[str, str], planned: dict[str, Unit]) -> None:
    """Replace units in the recorded plan by units as the current code plans them, and former keys by new keys."""

    def rewrite(unit: Unit) -> Unit:
        now = planned.get(keys.get(unit.key, unit.key))
        if now is not None:
            return replace(now, work=unit.work)
        names = ("requires", "partner")
        return replace(unit, **{name: keys.get(value, value) for name in names if (value := getattr(unit, name))})

    plan = require_plan(folder)
    units = tuple(replace(recorded, unit=rewrite(recorded.unit)) for recorded in plan.units)
    if units != plan.units:
        write_plan(folder, replace(plan, units=units))
