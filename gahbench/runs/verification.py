"""Verification of a results folder: checksums of all finished units, and random samples computed again.

Worker processes compute scores from the stored weights, and train fits from their recorded seeds and settings, in
temporary folders. :mod:`gahbench.runs.agreement` defines which results must be equal.

If a fit was trained on a CPU without interruption, in an environment equal to this one, its weights must be equal to
the last bit. This holds for eager and compiled training, one thread and several, float32 and bfloat16. Other fits are
compared by their PSNR on test images: fits from other environments, resumed fits (which may have started in another
environment), fits on GPUs (which sum in any order), and fits with a budget of seconds (which end at another step).
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
from gahbench._util.readable import format_duration
from gahbench.contracts.engines import Event, Job
from gahbench.contracts.unit import Unit
from gahbench.registry.plugin_files import plugin_files
from gahbench.registry.registry import Registry
from gahbench.runs.agreement import (
    MIN_DOF,
    Levels,
    Repetition,
    Spread,
    compare,
    compare_retrained,
    find_missing_flag,
    mean_levels,
)
from gahbench.runs.reuse import copy_unit
from gahbench.runs.supervisor import stop_on_signals, supervise
from gahbench.store.finished import is_network
from gahbench.store.plan_file import RecordedPlan, require_plan
from gahbench.store.store import Store
from gahbench.training.recipe import Training


@dataclass(frozen=True)
class Sample:
    """The fits chosen to be trained again, the number of candidates, and the number of all finished fits."""

    chosen: tuple[Unit, ...] = ()
    eligible: int = 0
    trained: int = 0


@dataclass(frozen=True)
class Verification:
    """The outcome of verifying a results folder.

    Attributes
    ----------
    checked
        Number of units whose files were compared with their checksums.
    damaged
        Errors of damaged units.
    rescored
        Scores that were computed again.
    refitted
        Fits that were trained again.
    sample
        The random choice of the fits to train again.
    stopped
        Whether the user stopped the verification.
    """

    checked: int
    damaged: tuple[str, ...]
    rescored: tuple[Repetition, ...]
    refitted: tuple[Repetition, ...] = ()
    sample: Sample = field(default_factory=Sample, repr=False)
    stopped: bool = False

    @property
    def repeats(self) -> bool:
        """Whether no unit is damaged, at least one score was computed again, and all repeated units agree."""
        repetitions = (*self.rescored, *self.refitted)
        return (
            bool(self.rescored)
            and not self.stopped
            and not self.damaged
            and all(repetition.repeats for repetition in repetitions)
        )

    @property
    def chance(self) -> float:
        """The probability that a single forged fit among the candidates was trained again."""
        return len(self.refitted) / self.sample.eligible if self.sample.eligible else 0.0


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
    """Compare the files of a results folder with their checksums, and compute samples of scores and fits again.

    The folder is not changed. Plugin files in the folder are executed.

    Parameters
    ----------
    folder
        Path of a results folder with its units.
    units
        Number of scores to compute again from the stored weights, at least 1; by default 10.
    fits
        Number of networks to train again from their seeds, from 0; by default one network that trained for less than
        ten minutes.
    seed
        Seed of the random choice of scores and fits; by default a different choice each time.
    workers
        Number of worker processes, at least 1; by default one for every ``threads`` processors, or as many as suit a
        GPU.
    device
        Where networks compute: ``cpu``, ``cuda`` or ``auto``; by default the kind of device on which each unit was
        computed.
    plugins
        Paths of plugin files, or of folders of plugin files, to use instead of the plugin files in the results folder.
    report
        Function to call with each :class:`gahbench.Event`.

    Returns
    -------
    Verification
        Whether everything ``repeats``, and the units that were ``damaged``, ``rescored`` and ``refitted``.

    Raises
    ------
    ResultsError
        If the folder is not a results folder, or has no finished score.

    Examples
    --------
    >>> import tempfile
    >>> import gahbench
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     outcome = gahbench.run("quick", folder, datasets=["discs"], metrics=["psnr"], only=["identity"],
    ...                            settings={"scoring.images": 2}, engine="inline", report=lambda event: None)
    ...     verification = gahbench.verify(folder, units=1, workers=1)
    >>> verification.repeats, verification.checked, len(verification.rescored)
    (True, 2, 1)
    """
    plan, store = require_plan(Path(folder)), Store(Path(folder))
    finished = store.finished()
    done = list({unit.folder: unit for unit in plan.units if unit.folder in finished}.values())
    if not any(unit.kind == "score" for unit in done):
        raise ResultsError(
            f"{folder}: has no finished score; expected a results folder with its units, as a run leaves it"
        )
    stop, chooser, examination = threading.Event(), random.Random(seed), store.examine(done, lambda name: True)
    undamaged = [unit for unit in done if unit.folder in examination.undamaged]
    networks = {unit.key: unit for unit in undamaged if unit.kind == "fit"}
    complete = (unit for unit in undamaged if unit.kind == "score" and networks.keys() >= set(unit.needs))
    scores = sorted(complete, key=lambda unit: unit.folder)
    chosen = chooser.sample(scores, min(units, len(scores)))
    refit_sample = choose_fits([*networks.values(), *scores], store, fits, chooser)
    run = functools.partial(_run, store, plan, [Path(file) for file in plugins], device, workers, report, stop)
    with tempfile.TemporaryDirectory(prefix="gahbench-verify-") as scratch, stop_on_signals(stop):
        target = Store(Path(scratch))
        for key in dict.fromkeys(key for unit in chosen for key in unit.needs):
            copy_unit(networks[key], store, target)
        run(target, [(_with_recorded_precision(unit, store), unit) for unit in chosen])
        rescored = tuple(_compare_score(unit, store, target) for unit in chosen)
        refitted = repeat_fits(refit_sample.chosen, [*networks.values(), *scores], store, run)
    damaged = tuple(examination.damaged.values())
    return Verification(len(done), damaged, rescored, refitted, refit_sample, stop.is_set())


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
    """Do the first unit of each pair in another store, with the threads and device that the second unit recorded."""
    sources = list(plugins) or [store.folder / name for name in plan.plugins]
    files = [file for source in sources for file in plugin_files(source)]
    for (threads, device_kind), group in _group_by_environment(units, store, plan, device).items():
        if not stop.is_set():
            built_in = Registry(packages=())
            supervise(Job(group, target, built_in, report, stop, threads, workers, device_kind, files=files))


def _with_recorded_precision(unit: Unit, store: Store) -> Unit:
    """Return a score unit with the precision of Jacobians that its record names."""
    precision = (store.done_record(unit) or {}).get("jacobian_precision")
    if precision not in ("float32", "bfloat16"):
        return unit
    return replace(unit, payload={**unit.payload, "jacobian_precision": precision})


def _group_by_environment(
    units: Iterable[tuple[Unit, Unit]], store: Store, plan: RecordedPlan, device: str | None
) -> dict[tuple[int, str], list[Unit]]:
    """Group the first units of pairs by the threads and the kind of device that the second units recorded."""
    groups: dict[tuple[int, str], list[Unit]] = defaultdict(list)
    for unit, stored in units:
        recorded = (store.done_record(stored) or {}).get("environment", {})
        device_kind = device or ("cpu" if recorded.get("device") == "cpu" else "auto")
        groups[int(recorded.get("threads") or plan.threads or 1), device_kind].append(unit)
    return groups


def _compare_score(unit: Unit, store: Store, target: Store) -> Repetition:
    """Compare a stored score with the score computed here."""
    if unit.folder not in target.finished():
        return Repetition(unit, "failed", target.failure(unit) or "was not computed")
    before, now = store.done_record(unit) or {}, target.done_record(unit) or {}
    if (difference := _find_difference(before, now, ("kind", "parameters"))) is not None:
        return Repetition(unit, "different", difference)
    is_same = before.get("environment") == now.get("environment")
    agreement, detail = compare(store.read_scores(unit), target.read_scores(unit), is_same)
    return Repetition(unit, agreement, detail)


def _find_difference(before: Mapping[str, Any], now: Mapping[str, Any], names: Iterable[str]) -> str | None:
    """Return how recorded fields or flags of a unit differ from computed values; ``None`` if they agree."""
    for name in names:
        if before.get(name) != now.get(name):
            return f"the field '{name}' is {before.get(name)} in the folder, and {now.get(name)} here"
    hidden = find_missing_flag(before.get("flags", ()), now.get("flags", ()))
    return None if hidden is None else f"is flagged here, but not in the folder: {hidden}"


#: By default, only fits that trained for fewer seconds are trained again.
MAX_SECONDS = 600.0
#: A fit is reported if its recorded duration and its duration here differ by more than this factor.
SECONDS_FACTOR = 5.0
#: Fits of fewer seconds are not reported, since their duration varies widely on a busy machine.
MIN_SECONDS = 2.0

#: A function that runs the first unit of each pair in a store, with the threads and device recorded by the second unit.
Run = Callable[[Store, Sequence[tuple[Unit, Unit]]], None]


def choose_fits(units: Sequence[Unit], store: Store, count: int | None, chooser: random.Random) -> Sample:
    """Choose fits whose PSNR on test images is stored, by default one that took less than :data:`MAX_SECONDS`."""
    scored = {unit.requires for unit in units if _is_psnr(unit)}
    fits = [unit for unit in units if unit.kind == "fit"]
    candidates = sorted((unit for unit in fits if unit.key in scored), key=lambda unit: unit.folder)
    if count is None:
        candidates = [unit for unit in candidates if _done_record(store, unit)["train_seconds"] < MAX_SECONDS]
    number = 1 if count is None else count
    return Sample(tuple(chooser.sample(candidates, min(number, len(candidates)))), len(candidates), len(fits))


def repeat_fits(fits: Sequence[Unit], units: Sequence[Unit], store: Store, run: Run) -> tuple[Repetition, ...]:
    """Train fits again in a temporary folder, and compare them with the stored fits."""
    with tempfile.TemporaryDirectory(prefix="gahbench-refits-") as scratch:
        target = Store(Path(scratch))
        refits = [_Refit(fit, units, store, target) for fit in fits]
        run(target, [(unit, refit.fit) for refit in refits for unit in (refit.with_recorded_settings(), refit.score)])
        run(target, [(unit, refit.fit) for refit in refits for unit in refit.further_seeds()])
        return tuple(refit.repetition() for refit in refits)


class _Refit:
    """One fit as stored and as trained again, with the PSNR of other seeds and rows."""

    def __init__(self, fit: Unit, units: Sequence[Unit], store: Store, target: Store) -> None:
        self.fit, self._store, self._target = fit, store, target
        psnr = [unit for unit in units if _is_psnr(unit)]
        self.score = next(unit for unit in psnr if unit.requires == fit.key)
        self._added_units: list[Unit] = []
        self._before = _done_record(store, fit)
        other_rows: dict[str, list[Levels]] = {}
        for unit in psnr:
            if unit.column == self.score.column and unit.requires != fit.key:
                other_rows.setdefault(unit.entrant, []).append(mean_levels(store.read_scores(unit)))
        self._own_row = other_rows.pop(self.score.entrant, [])
        self._other_rows = list(other_rows.values())

    def with_recorded_settings(self) -> Unit:
        """Return the fit with the precision and compilation in its record, and its steps instead of a time budget."""
        training = dict(self.fit.payload["training"])
        training |= {
            "precision": self._before["precision"],
            "compile": "always" if self._before["compiled"] else "never",
        }
        if training["seconds"] is not None:
            training |= {"seconds": None, "steps": self._before["steps"]}
        return replace(self.fit, payload={**self.fit.payload, "training": training})

    def further_seeds(self) -> list[Unit]:
        """Return fits with further seeds, and their scores, if too few seeds are stored to estimate their spread."""
        if self._find_problem() is not None or self._compare_with_stored() is not None:
            return []
        missing = MIN_DOF - Spread.pool([*self._other_rows, self._own_row]).dof
        for offset in range(1, missing + 1):
            seed = int(self.fit.payload["seed"]) + offset
            key = key_of([self.fit.key, seed])
            payload = {**self.with_recorded_settings().payload, "seed": seed}
            # The documents describe the units of the plan, which have other keys.
            fit = replace(self.fit, key=key, seed=seed, payload=payload, document=None)
            score = replace(self.score, key=key, seed=seed, requires=key, document=None)
            self._added_units += [fit, score]
        return self._added_units

    def repetition(self) -> Repetition:
        """Compare the stored fit with the fit trained here."""
        if (problem := self._find_problem()) is not None:
            return problem
        repetition = self._compare_with_stored()
        if repetition is None:
            psnr_units = [self.score, *(unit for unit in self._added_units if unit.kind == "score")]
            computed = [
                mean_levels(self._target.read_scores(unit))
                for unit in psnr_units
                if unit.folder in self._target.finished()
            ]
            if len(computed) < len(psnr_units):
                return Repetition(self.fit, "failed", "could not be trained with other seeds, to compare its PSNR")
            stored = mean_levels(self._store.read_scores(self.score))
            is_close, detail = compare_retrained(stored, self._own_row, computed, self._other_rows)
            repetition = Repetition(self.fit, "close" if is_close else "different", detail)
        return replace(repetition, detail="; ".join(filter(None, (repetition.detail, self._compare_durations()))))

    def _find_problem(self) -> Repetition | None:
        """Return a problem that is found before weights and scores are compared; ``None`` without a problem."""
        for unit in (self.fit, self.score):
            if unit.folder not in self._target.finished():
                return Repetition(self.fit, "failed", self._target.failure(unit) or "was not computed")
        payload, document = self.fit.payload, self.fit.document
        planned = {"training": Training.model_validate(payload["training"]).key_fields(), "seed": payload["seed"]}
        if document is not None and planned != {name: document.get(name) for name in planned}:
            return Repetition(self.fit, "different", "its training and seed in plan.json do not match its key")
        difference = _find_difference(self._before, _done_record(self._target, self.fit), ("steps", "parameters"))
        return None if difference is None else Repetition(self.fit, "different", difference)

    def _compare_with_stored(self) -> Repetition | None:
        """Return how weights and scores agree; ``None`` if the answer depends on the spread over seeds."""
        before, now = self._before, _done_record(self._target, self.fit)
        if _weight_checksums(before) == _weight_checksums(now):
            return Repetition(self.fit, "equal", "")
        stored, computed = self._store.read_scores(self.score), self._target.read_scores(self.score)
        if _must_be_equal(before, now) and self.fit.payload["training"]["seconds"] is None:
            psnr = f"PSNR {mean_levels(computed)[-1]:.2f} dB here and {mean_levels(stored)[-1]:.2f} dB in the folder"
            return Repetition(self.fit, "different", f"its weights differ in the same environment: {psnr}")
        agreement, detail = compare(stored, computed, is_same_environment=False)
        detail = f"PSNR differs {detail}" if detail else "its weights differ, but its PSNR does not"
        return Repetition(self.fit, "close", detail) if agreement != "different" else None

    def _compare_durations(self) -> str:
        """Return a sentence if training took far longer or shorter than recorded; otherwise an empty string."""
        before, now = self._before["train_seconds"], _done_record(self._target, self.fit)["train_seconds"]
        if max(before, now) <= max(SECONDS_FACTOR * min(before, now), MIN_SECONDS):
            return ""
        return f"its training took {format_duration(now)} here and {format_duration(before)} in the folder"


def _must_be_equal(before: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    """Return whether two fits must have equal weights: same environment, on CPU, and without interruption or notes."""
    is_same_computation = all(before.get(name) == now.get(name) for name in ("environment", "precision", "compiled"))
    return (
        is_same_computation
        and now["device"] == "cpu"
        and not (before.get("resumed") or before.get("notes") or now["notes"])
    )


def _weight_checksums(record: Mapping[str, Any]) -> dict[str, str]:
    """Return the checksums of the weights and snapshots of a fit."""
    return {name: facts["sha256"] for name, facts in record["files"].items() if is_network(name)}


def _is_psnr(unit: Unit) -> bool:
    return (unit.kind, unit.metric, unit.split) == ("score", "psnr", "test") and unit.requires is not None


def _done_record(store: Store, unit: Unit) -> dict[str, Any]:
    record = store.done_record(unit)
    assert record is not None
    return record
