"""Verification of a results folder: checksums of all that is done, and random samples of it computed again.

Scores are computed from the stored weights, and fits are trained from their recorded seed and settings, in scratch
folders, by worker processes as in a run. :mod:`gahbench.runs.agreement` says what must be equal.

Where a fit was trained in one go on a processor, in the environment that is here, its weights must be equal to the last
bit. This holds in eager and compiled training, with one thread and several, in float32 and bfloat16. A fit that was
resumed may have been begun elsewhere, GPUs add up sums in any order, and a budget of seconds ends at another step: such
fits, and those of other environments, are compared by their PSNR on test images.
"""

from __future__ import annotations

import functools
import random
import tempfile
import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from gahbench._util.errors import ResultsError
from gahbench._util.keys import key_of
from gahbench._util.readable import duration
from gahbench.contracts.engines import Event, Job
from gahbench.contracts.unit import Unit
from gahbench.registry.plugin_files import plugin_files
from gahbench.registry.registry import Registry
from gahbench.runs.agreement import MIN_FREEDOM, Levels, Repetition, Spread, compare, hidden_mark, levels_of, retrained
from gahbench.runs.reuse import Taker
from gahbench.runs.supervisor import stop_on_signals, supervise
from gahbench.store.finished import is_network
from gahbench.store.plan_file import RecordedPlan, require_plan
from gahbench.store.store import Store
from gahbench.training.recipe import Training


@dataclass(frozen=True)
class Sample:
    """Fits that are trained again."""

    chosen: tuple[Unit, ...] = ()
    among: int = 0
    trained: int = 0


@dataclass(frozen=True)
class Verification:
    """The outcome of verifying a results folder."""

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
        """The probability that a single forged fit, among the fits that could be chosen, was trained again."""
        return len(self.refitted) / self.sample.among if self.sample.among else 0.0


def verify(
    folder: str | Path,
    *,
    units: int = 10,
    fits: int | None = None,
    seed: int | None = None,
    workers: int | None = None,
    device: str | None = None,
    plugins: Sequence[str | Path] = (),
    report: Callable[[Event], None] = lambda event: None,
) -> Verification:
    """Check the files of a results folder against their checksums, and compute samples of scores and fits again.

    Nothing in the folder is changed. Plugins of the folder are code, and run here.

    Parameters
    ----------
    folder
        A results folder with its units.
    units, fits, seed
        How many scores are computed again, from the stored weights, and how many networks are trained again, from their
        seeds: by default one of those that trained for less than ten minutes. The seed of the choice of both.
    workers, device, plugins, report
        Number of worker processes; ``cpu``, ``cuda`` or ``auto``, by default as each unit was computed; plugin files,
        in place of those that the folder holds; a function that is called with every event.

    Returns
    -------
    Verification
        Whether all ``repeats``, and what was ``damaged``, ``rescored`` and ``refitted``.

    Raises
    ------
    ResultsError
        If it is no results folder, or has no finished score.
    """
    plan, store = require_plan(Path(folder)), Store(Path(folder))
    finished = store.finished()
    done = list({unit.folder: unit for unit in plan.shown if unit.folder in finished}.values())
    if not any(unit.kind == "score" for unit in done):
        raise ResultsError(
            f"{folder}: has no finished score; expected a results folder with its units, as a run leaves it"
        )
    stop, chooser, damaged = threading.Event(), random.Random(seed), _damaged(store, done)
    whole = [unit for unit in done if unit.folder not in damaged]
    networks = {unit.key: unit for unit in whole if unit.kind == "fit"}
    scored = (unit for unit in whole if unit.kind == "score" and networks.keys() >= set(unit.needs))
    scores = sorted(scored, key=lambda unit: unit.folder)
    chosen = chooser.sample(scores, min(units, len(scores)))
    trained = sample([*networks.values(), *scores], store, fits, chooser)
    run = functools.partial(_run, store, plan, [Path(file) for file in plugins], device, workers, report, stop)
    with tempfile.TemporaryDirectory(prefix="gahbench-verify-") as scratch, stop_on_signals(stop):
        taker = Taker(target := Store(Path(scratch)))
        for key in dict.fromkeys(key for unit in chosen for key in unit.needs):
            taker.take(store, networks[key])
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
    """Do units in another store, with the threads and the device that the paired unit of the folder recorded."""
    sources = list(plugins) or [store.folder / name for name in plan.plugins]
    files = [file for source in sources for file in plugin_files(source)]
    for (threads, place), group in _groups(units, store, plan, device).items():
        if not stop.is_set():
            built_in = Registry(packages=())
            supervise(Job(group, target, built_in, report, stop, threads, workers, place, files=files))


def _damaged(store: Store, units: Iterable[Unit]) -> dict[str, str]:
    """Return why units are damaged, or measured other weights, by folder name."""
    units = list(units)
    whole, found = store.undamaged(units), {}
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
    precision = (store.done_record(unit) or {}).get("jacobian_precision")
    if precision not in ("float32", "bfloat16"):
        return unit
    return replace(unit, payload={**unit.payload, "jacobian_precision": precision})


def _groups(
    units: Iterable[tuple[Unit, Unit]], store: Store, plan: RecordedPlan, device: str | None
) -> dict[tuple[int, str], list[Unit]]:
    """Group units by the threads and the kind of device that the paired units of the folder recorded."""
    groups: dict[tuple[int, str], list[Unit]] = defaultdict(list)
    for unit, stored in units:
        recorded = (store.done_record(stored) or {}).get("environment", {})
        place = device or ("cpu" if recorded.get("device") == "cpu" else "auto")
        groups[int(recorded.get("threads") or plan.threads or 1), place].append(unit)
    return groups


def _compared(unit: Unit, store: Store, target: Store) -> Repetition:
    """Compare a stored score with the score computed here."""
    if unit.folder not in target.finished():
        return Repetition(unit, "failed", target.failure(unit) or "was not computed")
    before, now = store.done_record(unit) or {}, target.done_record(unit) or {}
    if (difference := _difference(before, now, ("kind", "parameters"))) is not None:
        return Repetition(unit, "different", difference)
    is_same = before.get("environment") == now.get("environment")
    ending, detail = compare(store.read_scores(unit), target.read_scores(unit), is_same)
    return Repetition(unit, ending, detail)


def _difference(before: Mapping[str, Any], now: Mapping[str, Any], names: Iterable[str]) -> str | None:
    """Return how some facts, or the marks, of a unit differ from those computed here; ``None`` if they agree."""
    for name in names:
        if before.get(name) != now.get(name):
            return f"the field '{name}' is {before.get(name)} in the folder, and {now.get(name)} here"
    hidden = hidden_mark(before.get("marks", ()), now.get("marks", ()))
    return None if hidden is None else f"is flagged here, and is not in the folder: {hidden}"


#: Seconds of training up to which a fit is trained again by default.
DEFAULT_SECONDS = 600.0
#: A fit that takes this many times as long as recorded is reported.
SECONDS_FACTOR = 5.0
#: Fits of fewer seconds are not reported: they take many times as long on a busy machine.
LEAST_SECONDS = 2.0

#: Does units in a store of their own, each with the threads and kind of device that another unit recorded.
Run = Callable[[Store, Sequence[tuple[Unit, Unit]]], None]


def sample(units: Sequence[Unit], store: Store, count: int | None, chooser: random.Random) -> Sample:
    """Choose some fits whose PSNR on test images is stored, by default one of less than :data:`DEFAULT_SECONDS`."""
    scored = {unit.requires for unit in units if _is_psnr(unit)}
    trained = [unit for unit in units if unit.kind == "fit"]
    among = sorted((unit for unit in trained if unit.key in scored), key=lambda unit: unit.folder)
    if count is None:
        among = [unit for unit in among if _record(store, unit)["train_seconds"] < DEFAULT_SECONDS]
    wanted = 1 if count is None else count
    return Sample(tuple(chooser.sample(among, min(wanted, len(among)))), len(among), len(trained))


def refit(fits: Sequence[Unit], units: Sequence[Unit], store: Store, run: Run) -> tuple[Repetition, ...]:
    """Train fits again in a scratch folder, and compare them with those that are stored."""
    with tempfile.TemporaryDirectory(prefix="gahbench-refits-") as scratch:
        target = Store(Path(scratch))
        refits = [_Refit(fit, units, store, target) for fit in fits]
        run(target, [(unit, one.fit) for one in refits for unit in (one.as_recorded(), one.score)])
        run(target, [(unit, one.fit) for one in refits for unit in one.further_seeds()])
        return tuple(one.repetition() for one in refits)


class _Refit:
    """One fit, in the folder and trained again."""

    def __init__(self, fit: Unit, units: Sequence[Unit], store: Store, target: Store) -> None:
        self.fit, self._store, self._target = fit, store, target
        psnr = [unit for unit in units if _is_psnr(unit)]
        self.score = next(unit for unit in psnr if unit.requires == fit.key)
        self._further: list[Unit] = []
        self._before = _record(store, fit)
        rows: dict[str, list[Levels]] = {}
        for unit in psnr:
            if unit.column == self.score.column and unit.requires != fit.key:
                rows.setdefault(unit.entrant, []).append(levels_of(store.read_scores(unit)))
        self._row = rows.pop(self.score.entrant, [])
        self._others = list(rows.values())

    def as_recorded(self) -> Unit:
        """Return the fit with the precision and the compiler that its record names, and its steps for its seconds."""
        training = dict(self.fit.payload["training"])
        training |= {
            "precision": self._before["precision"],
            "compile": "always" if self._before["compiled"] else "never",
        }
        if training["seconds"] is not None:
            training |= {"seconds": None, "steps": self._before["steps"]}
        return replace(self.fit, payload={**self.fit.payload, "training": training})

    def further_seeds(self) -> list[Unit]:
        """Return fits from other seeds, and their scores, where the stored seeds do not tell how far seeds differ."""
        if self._problem() is not None or self._agreement() is not None:
            return []
        missing = MIN_FREEDOM - Spread.pooled([*self._others, self._row]).freedom
        for place in range(1, missing + 1):
            seed = int(self.fit.payload["seed"]) + place
            key = key_of([self.fit.key, seed])
            payload = {**self.as_recorded().payload, "seed": seed}
            # Documents belong to the keys of the plan.
            fit = replace(self.fit, key=key, seed=seed, payload=payload, document=None)
            score = replace(self.score, key=key, seed=seed, requires=key, document=None)
            self._further += [fit, score]
        return self._further

    def repetition(self) -> Repetition:
        """Compare the stored fit with the fit trained here."""
        if (problem := self._problem()) is not None:
            return problem
        agreement = self._agreement()
        if agreement is None:
            runs = [self.score, *(unit for unit in self._further if unit.kind == "score")]
            here = [
                levels_of(self._target.read_scores(unit)) for unit in runs if unit.folder in self._target.finished()
            ]
            if len(here) < len(runs):
                return Repetition(self.fit, "failed", "could not be trained from other seeds, which decide on its PSNR")
            stored = levels_of(self._store.read_scores(self.score))
            is_close, detail = retrained(stored, self._row, here, self._others)
            agreement = Repetition(self.fit, "close" if is_close else "different", detail)
        return replace(agreement, detail="; ".join(filter(None, (agreement.detail, self._seconds()))))

    def _problem(self) -> Repetition | None:
        """Return a problem that makes comparing weights and scores pointless; ``None`` if there is none."""
        for unit in (self.fit, self.score):
            if unit.folder not in self._target.finished():
                return Repetition(self.fit, "failed", self._target.failure(unit) or "was not computed")
        payload, document = self.fit.payload, self.fit.document
        planned = {"training": Training.model_validate(payload["training"]).key_fields(), "seed": payload["seed"]}
        if document is not None and planned != {name: document.get(name) for name in planned}:
            return Repetition(self.fit, "different", "its recipe and seed in plan.json are not those of its key")
        difference = _difference(self._before, _record(self._target, self.fit), ("steps", "parameters"))
        return None if difference is None else Repetition(self.fit, "different", difference)

    def _agreement(self) -> Repetition | None:
        """Return how weights and scores agree; ``None`` where that depends on how far seeds differ."""
        before, now = self._before, _record(self._target, self.fit)
        if _networks(before) == _networks(now):
            return Repetition(self.fit, "equal", "")
        stored, computed = self._store.read_scores(self.score), self._target.read_scores(self.score)
        if _must_be_equal(before, now) and self.fit.payload["training"]["seconds"] is None:
            psnr = f"PSNR {levels_of(computed)[-1]:.2f} dB here and {levels_of(stored)[-1]:.2f} dB in the folder"
            return Repetition(self.fit, "different", f"its weights differ in the same environment: {psnr}")
        ending, detail = compare(stored, computed, is_same_environment=False)
        detail = f"PSNR differs {detail}" if detail else "its weights differ, and its PSNR does not"
        return Repetition(self.fit, "close", detail) if ending != "different" else None

    def _seconds(self) -> str:
        """Return a sentence where training took far longer, or shorter, than is recorded."""
        before, now = self._before["train_seconds"], _record(self._target, self.fit)["train_seconds"]
        if max(before, now) <= max(SECONDS_FACTOR * min(before, now), LEAST_SECONDS):
            return ""
        return f"its training took {duration(now)} here and {duration(before)} in the folder"


def _must_be_equal(before: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    """Whether all that rounding depends on is the same for two fits: neither was resumed, nor changed on the way."""
    alike = all(before.get(name) == now.get(name) for name in ("environment", "precision", "compiled"))
    return alike and now["device"] == "cpu" and not (before.get("resumed") or before.get("notes") or now["notes"])


def _networks(record: Mapping[str, Any]) -> dict[str, str]:
    """Return the checksums of the weights of a fit, snapshots included."""
    return {name: facts["sha256"] for name, facts in record["files"].items() if is_network(name)}


def _is_psnr(unit: Unit) -> bool:
    return (unit.kind, unit.metric, unit.split) == ("score", "psnr", "test") and unit.requires is not None


def _record(store: Store, unit: Unit) -> dict[str, Any]:
    record = store.done_record(unit)
    assert record is not None
    return record
