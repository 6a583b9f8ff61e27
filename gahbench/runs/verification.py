"""Verification of a results folder: checksums of all that is done, and random samples of it computed again.

Scores are computed from the stored weights, and fits are trained from their seeds (:mod:`gahbench.runs.refits`), in
scratch folders, by worker processes as in a run. :mod:`gahbench.runs.agreement` says what must be equal.
"""

from __future__ import annotations

import functools
import random
import tempfile
import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from gahbench._util.errors import ResultsError
from gahbench.contracts.jobs import Event, Job
from gahbench.contracts.unit import Unit
from gahbench.registry.plugin_files import plugin_files
from gahbench.registry.registry import Registry
from gahbench.runs.agreement import Repetition, compare, hidden_mark
from gahbench.runs.refits import Sample, refit, sample
from gahbench.runs.signals import stop_on_signals
from gahbench.runs.supervisor import supervise
from gahbench.store.plan_file import RecordedPlan, recorded_plan
from gahbench.store.store import Store
from gahbench.store.taking import Taker


@dataclass(frozen=True)
class Verification:
    """What was found of a results folder."""

    checked: int
    damaged: tuple[str, ...]
    rescored: tuple[Repetition, ...]
    refitted: tuple[Repetition, ...] = ()
    sample: Sample = field(default_factory=Sample, repr=False)
    stopped: bool = False

    @property
    def repeats(self) -> bool:
        """Whether all is whole, and scores were computed again that all repeat, as do the fits."""
        again = (*self.rescored, *self.refitted)
        return bool(self.rescored) and not self.stopped and not self.damaged and all(one.repeats for one in again)

    @property
    def chance(self) -> float:
        """The chance that a single forged fit, among those that could be chosen, is one that was trained again."""
        return len(self.refitted) / self.sample.among if self.sample.among else 0.0


def verify(
    folder: Path,
    units: int = 10,
    seed: int | None = None,
    workers: int | None = None,
    device: str | None = None,
    plugins: Sequence[Path] = (),
    report: Callable[[Event], None] = lambda event: None,
    fits: int | None = None,
) -> Verification:
    """Check the files of a results folder, compute some of its scores again, and train some of its networks again.

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
    fits
        How many fits are trained again; ``None`` for one of those that trained for less than ten minutes.

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
    networks = {unit.key: unit for unit in whole if unit.kind == "fit"}
    scored = (unit for unit in whole if unit.kind == "score" and networks.keys() >= set(unit.needs))
    scores = sorted(scored, key=lambda unit: unit.folder)
    chooser = random.Random(seed)
    chosen = chooser.sample(scores, min(units, len(scores)))
    trained = sample([*networks.values(), *scores], store, fits, chooser)
    stop = threading.Event()
    run = functools.partial(_run, store, plan, plugins, device, workers, report, stop)
    with tempfile.TemporaryDirectory(prefix="gahbench-verify-") as scratch, stop_on_signals(stop):
        target = Store(Path(scratch))
        _take_fits(store, target, [networks[key] for unit in chosen for key in unit.needs])
        run(target, [(_as_recorded(unit, store), unit) for unit in chosen])
        rescored = tuple(_compared(unit, store, target) for unit in chosen)
        refitted = refit(trained.chosen, [*networks.values(), *scores], store, run)
    return Verification(len(done), tuple(damaged.values()), rescored, refitted, trained, stop.is_set())


def _run(
    store: Store,
    plan: RecordedPlan,
    plugins: Sequence[Path],
    device: str | None,
    workers: int | None,
    report: Callable[[Event], None],
    stop: threading.Event,
    target: Store,
    units: Iterable[tuple[Unit, Unit]],
) -> None:
    """Do units in another store, each as the unit of the folder beside it was done."""
    sources = list(plugins) or [store.folder / name for name in plan.plugins]
    files = [file for source in sources for file in plugin_files(source)]
    for (threads, place), group in _groups(units, store, plan, device).items():
        if not stop.is_set():
            built_in = Registry(packages=())
            supervise(Job(group, target, built_in, report, stop, threads, workers, place, files=files))


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
    units: Iterable[tuple[Unit, Unit]], store: Store, plan: RecordedPlan, device: str | None
) -> dict[tuple[int, str], list[Unit]]:
    """Group units by the threads and the kind of device that units of the folder, each beside one, recorded."""
    groups: dict[tuple[int, str], list[Unit]] = defaultdict(list)
    for unit, stored in units:
        recorded = (store.done(stored) or {}).get("environment", {})
        place = device or ("cpu" if recorded.get("device") == "cpu" else "auto")
        groups[int(recorded.get("threads") or plan.threads or 1), place].append(unit)
    return groups


def _compared(unit: Unit, store: Store, target: Store) -> Repetition:
    """Compare a stored score with what was computed here."""
    if unit.folder not in target.finished():
        return Repetition(unit, "failed", target.failure(unit) or "was not computed")
    before, now = store.done(unit) or {}, target.done(unit) or {}
    for name in ("kind", "parameters"):
        if before.get(name) != now.get(name):
            detail = f"the field '{name}' is {before.get(name)} in the folder, and {now.get(name)} here"
            return Repetition(unit, "different", detail)
    if hidden := hidden_mark(before.get("marks", ()), now.get("marks", ())):
        return Repetition(unit, "different", f"is flagged here, and is not in the folder: {hidden}")
    is_same = before.get("environment") == now.get("environment")
    ending, detail = compare(store.read_scores(unit), target.read_scores(unit), is_same)
    return Repetition(unit, ending, detail)
