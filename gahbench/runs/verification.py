"""Verification of a results folder: checksums of all that is done, and a random sample of scores computed again.

The scores are computed in a scratch folder, by worker processes as in a run, from the stored weights. In the same
environment (threads, device, processor, versions) they must be equal to the last bit. Elsewhere sums are added up in
another order, and float32 rounds: of each part of a metric the mean difference may be :data:`TOLERANCE` of the mean
size. That is four orders above the rounding of one operation, which a deep network makes larger, and below anything
that a board shows.
"""

from __future__ import annotations

import random
import re
import tempfile
import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from gahbench._util.errors import ResultsError
from gahbench.contracts.jobs import Event, Job
from gahbench.contracts.unit import Unit
from gahbench.registry.plugin_files import plugin_files
from gahbench.registry.registry import Registry
from gahbench.runs.signals import stop_on_signals
from gahbench.runs.supervisor import supervise
from gahbench.store.plan_file import RecordedPlan, recorded_plan
from gahbench.store.store import Store
from gahbench.store.taking import Taker

#: How far scores of another environment may be off: share of the mean size, and at least, in the metric's unit.
TOLERANCE, LEAST = 1e-3, 1e-6
_NUMBER = re.compile(r"[-+−]?\d+(\.\d+)?(e[-+]?\d+)?")

Ending = Literal["equal", "close", "different", "failed"]
Rows = Sequence[tuple[float | None, int | None, float, str]]


@dataclass(frozen=True)
class Rescored:
    """A score that was computed again.

    Parameters
    ----------
    unit
        The unit.
    ending
        ``equal`` to the last bit; ``close``, within the tolerance, in another environment; ``different``; or
        ``failed``: it could not be computed here.
    detail
        The largest difference, or why.
    """

    unit: Unit
    ending: Ending
    detail: str

    @property
    def repeats(self) -> bool:
        """Whether it is what was stored."""
        return self.ending in ("equal", "close")


@dataclass(frozen=True)
class Verification:
    """What was found of a results folder.

    Parameters
    ----------
    checked
        How many finished units had their files compared with their checksums.
    damaged
        What is wrong with those whose files are not what was written.
    rescored
        The scores that were computed again.
    stopped
        Whether it was stopped before its end.
    """

    checked: int
    damaged: tuple[str, ...]
    rescored: tuple[Rescored, ...]
    stopped: bool = False

    @property
    def repeats(self) -> bool:
        """Whether all is whole, and scores were computed again that all repeat."""
        return (
            bool(self.rescored) and not self.stopped and not self.damaged and all(one.repeats for one in self.rescored)
        )


def verify(
    folder: Path,
    units: int = 10,
    seed: int | None = None,
    workers: int | None = None,
    device: str | None = None,
    plugins: Sequence[Path] = (),
    report: Callable[[Event], None] = lambda event: None,
) -> Verification:
    """Check the files of a results folder, and compute some of its scores again.

    Parameters
    ----------
    folder
        A results folder with its units.
    units
        How many scores.
    seed
        Of their choice; ``None`` for another one each time.
    workers
        Number of worker processes.
    device
        ``cpu``, ``cuda`` or ``auto``; ``None`` for the kind of device that each was computed on.
    plugins
        Plugin files, in place of those that the folder holds.
    report
        Called with every event.

    Raises
    ------
    ResultsError
        If it is no results folder, or has no finished score.
    """
    plan, store = recorded_plan(folder), Store(folder)
    finished = store.finished()
    done = list({unit.folder: unit for unit in plan.shown if unit.folder in finished}.values())
    if not any(unit.kind == "score" for unit in done):
        raise ResultsError(
            f"{folder}: has no finished score; expected a results folder with its units, as a run leaves it"
        )
    damaged = _damaged(store, done)
    whole = [unit for unit in done if unit.folder not in damaged]
    fits = {unit.key: unit for unit in whole if unit.kind == "fit"}
    scores = sorted((unit for unit in whole if unit.kind == "score" and fits.keys() >= set(unit.needs)), key=_folder)
    chosen = [_as_recorded(unit, store) for unit in random.Random(seed).sample(scores, min(units, len(scores)))]
    sources = list(plugins) or [folder / name for name in plan.plugins]
    files = [file for source in sources for file in plugin_files(source)]
    stop = threading.Event()
    with tempfile.TemporaryDirectory(prefix="gahbench-verify-") as scratch, stop_on_signals(stop):
        target = Store(Path(scratch))
        _take_fits(store, target, [fits[key] for unit in chosen for key in unit.needs])
        for (threads, place), group in _groups(chosen, store, plan, device).items():
            if not stop.is_set():
                built_in = Registry(packages=())
                supervise(Job(group, target, built_in, report, stop, threads, workers, place, files=files))
        rescored = tuple(_compared(unit, store, target) for unit in chosen)
    return Verification(len(done), tuple(damaged.values()), rescored, stop.is_set())


def _folder(unit: Unit) -> str:
    return unit.folder


def _damaged(store: Store, units: Iterable[Unit]) -> dict[str, str]:
    """Return what is wrong with units whose files are not what was written, or that measured other weights."""
    units = list(units)
    whole, found = store.whole(units), {}
    for unit in units:
        try:
            store.verify(store.path(unit))
        except ResultsError as error:
            found[unit.folder] = str(error)
        else:
            if unit.folder not in whole:
                found[unit.folder] = f"{store.path(unit)}: not whole, or not of the weights that are here"
    return found


def _as_recorded(unit: Unit, store: Store) -> Unit:
    """Return a score unit whose Jacobians are computed in the precision that its record names."""
    precision = (store.done(unit) or {}).get("jacobian_precision")
    if precision not in ("float32", "bfloat16"):
        return unit
    return replace(unit, payload={**unit.payload, "jacobian_precision": precision})


def _take_fits(store: Store, target: Store, fits: Iterable[Unit]) -> None:
    taker = Taker(target)
    for unit in {unit.key: unit for unit in fits}.values():
        taker.take(store, unit)


def _groups(
    units: Iterable[Unit], store: Store, plan: RecordedPlan, device: str | None
) -> dict[tuple[int, str], list[Unit]]:
    """Group units by the threads and the kind of device that they were computed with."""
    groups: dict[tuple[int, str], list[Unit]] = defaultdict(list)
    for unit in units:
        recorded = (store.done(unit) or {}).get("environment", {})
        place = device or ("cpu" if recorded.get("device") == "cpu" else "auto")
        groups[int(recorded.get("threads") or plan.threads or 1), place].append(unit)
    return groups


def _compared(unit: Unit, store: Store, target: Store) -> Rescored:
    """Compare a stored score with what was computed here."""
    if unit.folder not in target.finished():
        return Rescored(unit, "failed", target.failure(unit) or "was not computed")
    before, now = store.done(unit) or {}, target.done(unit) or {}
    for name in ("kind", "parameters"):
        if before.get(name) != now.get(name):
            detail = f"the field '{name}' is {before.get(name)} in the folder, and {now.get(name)} here"
            return Rescored(unit, "different", detail)
    known = set(map(_without_numbers, before.get("marks", ())))
    if hidden := [mark for mark in now.get("marks", ()) if _without_numbers(mark) not in known]:
        return Rescored(unit, "different", f"is flagged here, and is not in the folder: {hidden[0]}")
    is_same = before.get("environment") == now.get("environment")
    ending, detail = compare(store.read_scores(unit), target.read_scores(unit), is_same)
    return Rescored(unit, ending, detail)


def _without_numbers(mark: str) -> str:
    """Return a mark without the numbers that another environment would round otherwise."""
    return _NUMBER.sub("#", mark)


def compare(stored: Rows, computed: Rows, is_same_environment: bool) -> tuple[Ending, str]:
    """Return how stored and computed rows of scores (sigma, image, value, part) agree, and the difference in words."""
    before, now = ({(sigma, image, part): value for sigma, image, value, part in rows} for rows in (stored, computed))
    if len(before) != len(stored):
        return "different", f"{len(stored)} values are stored for {len(before)} places"
    if before.keys() != now.keys():
        return "different", f"{len(before)} values are stored, and {len(now)} others were computed"
    if before == now:
        return "equal", ""
    largest = max(abs(before[place] - now[place]) for place in before)
    if is_same_environment:
        return "different", f"by up to {largest:.2g}, in the same environment"
    off: dict[Any, float] = defaultdict(float)
    size: dict[Any, float] = defaultdict(float)
    count: dict[Any, int] = defaultdict(int)
    for place, value in before.items():
        part = place[2]
        off[part] += abs(value - now[place])
        size[part] += abs(value)
        count[part] += 1
    is_close = all(off[part] <= TOLERANCE * size[part] + LEAST * count[part] for part in count)
    return ("close" if is_close else "different"), f"by up to {largest:.2g}, in another environment"
