"""Verification of a results folder: samples of its results are computed again, with one tolerance for each check.

Scores are computed from the stored weights: under the stored noise, under other noise, and on images of generated
families that nobody has seen. Fits are trained again from their recorded seeds and settings.
"""

from __future__ import annotations

import contextlib
import random
import tempfile
import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gahbench._util.errors import GahbenchError, ResultsError
from gahbench._util.keys import key_of
from gahbench.contracts.datasets import Dataset
from gahbench.contracts.engines import Event, Row
from gahbench.contracts.unit import Unit
from gahbench.planning.units import AUDITED, configure_recorded, describe_plugin
from gahbench.registry.plugin_files import plugin_files
from gahbench.registry.registry import Registry, built_in_registry
from gahbench.runs.execute import execute, stop_on_signals, watching
from gahbench.runs.reuse import copy_unit
from gahbench.runs.row import run_row
from gahbench.store.finished import is_network, open_finished
from gahbench.store.plan_file import require_plan
from gahbench.store.store import Store
from gahbench.training.recipe import Training

if TYPE_CHECKING:
    import pandas as pd

#: The mean difference of the values of a score, relative to their mean absolute value. Other processors sum in another
#: order: this is four orders of magnitude above the rounding of float32, and below the digits that a board shows.
SCORE = 1e-3
#: How many decibels the mean PSNR may be better under the stored noise than under other noise, and on the test images
#: than on new images. For a blur on 24 images of 16 x 16 pixels the differences have standard deviations of 0.2 dB, and
#: of 0.4 dB (c-alpha) and 0.8 dB (discs). A denoiser that removes 41 % of its error by what it knows gains 4.6 dB.
BETTER = {"other noise": 1.0, "new images": 3.0}
#: The minimum number of images that are compared with new images, since images differ in difficulty.
MIN_IMAGES = 24
#: The distance of the weights of a fit from those that are trained again on a CPU in the recorded environment, relative
#: to their norm; there, training repeats to the last bit. Elsewhere rounding moves weights by half of their norm within
#: 240 steps, almost as far as another seed does, so only scores are compared.
WEIGHTS = 1e-6
#: The difference in decibels of the mean PSNR of a fit and of a fit that is trained again, more than most seeds differ.
REFIT = 1.0
#: By default, only fits that trained for fewer seconds are trained again.
MAX_SECONDS = 600.0
#: The engine that computes units again.
ENGINE = "local"
REPRODUCED = "reproduced"
COLUMNS = ("unit", "check", "stored", "computed", "tolerance", "verdict")

#: A unit to compute, the stored unit with which it is compared, and the check.
Task = tuple[Unit, Unit, str]


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
) -> pd.DataFrame:
    """Compare the files of a results folder with their checksums, and compute samples of scores and fits again.

    The folder is not changed. Plugin files in the folder are executed.

    Parameters
    ----------
    folder
        Path of a results folder with its units.
    units
        Number of scores to compute again from the stored weights, at least 1; by default 10. The rows of these scores
        are also scored under other noise and, if there are 24 or more images of a generated family, on new images.
    fits
        Number of networks to train again from their seeds, from 0; by default one network that trained for less than
        ten minutes.
    seed
        Seed of the random choice of scores, fits, noise and images; by default a different choice each time.
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
    pandas.DataFrame
        A row for each comparison, with the columns ``unit``, ``check``, ``stored``, ``computed``, ``tolerance`` and
        ``verdict``: ``reproduced``, or ``different``, ``failed`` or ``damaged`` with the reason.

    Raises
    ------
    ResultsError
        If the folder is not a results folder, or has no finished score.
    KeyboardInterrupt
        If the verification is stopped.

    Examples
    --------
    >>> import tempfile
    >>> import gahbench
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     outcome = gahbench.run("quick", folder, datasets=["discs"], metrics=["psnr"], only=["identity"],
    ...                            settings={"scoring.images": 2}, engine="inline", report=lambda event: None)
    ...     table = gahbench.verify(folder, units=1, workers=1)
    >>> table[["check", "verdict"]].values.tolist()
    [['score', 'reproduced'], ['other noise', 'reproduced']]
    """
    import pandas as pd

    plan, store, stop = require_plan(Path(folder)), Store(Path(folder)), threading.Event()
    finished, chooser = store.finished(), random.Random(seed)
    done = {unit.folder: unit for unit in sorted(plan.units, key=lambda unit: unit.folder) if unit.folder in finished}
    if not any(unit.kind == "score" for unit in done.values()):
        raise ResultsError(
            f"{folder}: has no finished score; expected a results folder with its units, as a run leaves it"
        )
    examination = store.examine(done.values(), full=True)
    table = [_row(done[name], "files", f"damaged: {text}") for name, text in examination.damaged.items()]
    networks = {unit.key: unit for name, unit in done.items() if unit.kind == "fit" and name in examination.undamaged}
    scores = [unit for name, unit in done.items() if unit.kind == "score" and name in examination.undamaged]
    scores = [unit for unit in scores if networks.keys() >= set(unit.needs)]
    rescored, refitted = _choose(scores, networks, store, units, fits, chooser)
    sources = list(map(Path, plugins)) or [store.folder / name for name in plan.plugins]
    files = [file for source in sources for file in plugin_files(source)]
    template = Row(store.folder, (), tuple(files), plan.threads or 1, device or "auto")
    for tasks in (rescored, refitted):
        with tempfile.TemporaryDirectory(prefix="gahbench-verify-") as scratch, stop_on_signals(stop):
            target = Store(Path(scratch))
            for key in {key for unit, _, _ in tasks if tasks is rescored for key in unit.needs}:
                copy_unit(networks[key], store, target)
            for row in _rows(tasks, template, device):
                with watching(row.units, target, report, stop) as note:
                    engine, here = built_in_registry().create("engine", ENGINE), replace(row, folder=target.folder)
                    execute(row.units, engine, here, run_row, stop, note, workers)
            table += [row for task in tasks for row in _compare(*task, store, target)]
    if stop.is_set():
        raise KeyboardInterrupt
    return pd.DataFrame(table)


def _rows(tasks: Iterable[Task], template: Row, device: str | None) -> Iterator[Row]:
    """Yield the units to compute by the number of threads and the kind of device of the stored units."""
    groups: dict[tuple[int, str], list[Unit]] = defaultdict(list)
    for unit, stored, _ in tasks:
        recorded = _done(Store(template.folder), stored).get("environment", {})
        kind = device or ("cpu" if recorded.get("device") == "cpu" else "auto")
        groups[int(recorded.get("threads") or template.threads), kind].append(unit)
    for (threads, kind), units in groups.items():
        yield replace(template, units=tuple(units), threads=threads, device=kind)


def _choose(
    scores: Sequence[Unit],
    networks: Mapping[str, Unit],
    store: Store,
    units: int,
    fits: int | None,
    chooser: random.Random,
) -> tuple[list[Task], list[Task]]:
    """Choose scores and fits at random; return what is computed from the stored weights, and what is trained."""
    psnr = {(unit.dataset, unit.entrant, unit.seed): unit for unit in scores if (unit.metric, unit.split) == AUDITED}
    chosen = chooser.sample(scores, min(units, len(scores)))
    rescored = [(_as_computed(unit, store), unit, "score") for unit in chosen]
    for row in dict.fromkeys((unit.dataset, unit.entrant, unit.seed) for unit in chosen):
        rescored += _changed(psnr[row], chooser) if row in psnr else ()
    trained = [unit for unit in psnr.values() if unit.requires is not None]
    if fits is None:
        short = {key for key, fit in networks.items() if _done(store, fit)["train_seconds"] < MAX_SECONDS}
        trained = [unit for unit in trained if unit.requires in short]
    refitted = []
    for unit in chooser.sample(trained, min(1 if fits is None else fits, len(trained))):
        fit = networks[str(unit.requires)]
        refitted += [(_as_computed(fit, store), fit, "weights"), (unit, unit, "fit")]
    return rescored, refitted


def _as_computed(unit: Unit, store: Store) -> Unit:
    """Return a unit with the precision, compilation and steps of its record, which the plan may leave open."""
    done, payload = _done(store, unit), dict(unit.payload)
    if unit.kind == "score":
        payload["jacobian_precision"] = done.get("jacobian_precision", payload["jacobian_precision"])
        return replace(unit, payload=payload)
    training = {"precision": done["precision"], "compile": "always" if done["compiled"] else "never"}
    if payload["training"]["seconds"] is not None:
        training |= {"seconds": None, "steps": done["steps"]}
    return replace(unit, payload={**payload, "training": {**payload["training"], **training}})


def _changed(unit: Unit, chooser: random.Random) -> Iterator[Task]:
    """Yield the score of a row under other noise and, if its images are drawn from a seed, on new images."""
    noise, dataset = {"noise_seed": chooser.getrandbits(62)}, unit.payload["dataset"]
    changes: dict[str, dict[str, Any]] = {} if unit.payload.get("captured") else {"other noise": noise}
    # Plugins of the folder run in processes of their own only.
    if "seed" in dataset["parameters"] and not dataset["origins"] and unit.payload["images"] >= MIN_IMAGES:
        drawn = {**dataset, "parameters": {**dataset["parameters"], "seed": chooser.getrandbits(31)}}
        with contextlib.suppress(GahbenchError):
            configured = configure_recorded(Registry(packages=(), trust=False), "dataset", drawn)
            family: Dataset = configured.build()
            if family.available("test") is None:
                changes["new images"] = noise | {"dataset": describe_plugin(configured)}
    for check, change in changes.items():
        key = key_of([unit.key, check])
        # The document describes the stored unit.
        yield replace(unit, key=key, payload={**unit.payload, **change}, document=None), unit, check


def _compare(unit: Unit, stored: Unit, check: str, store: Store, target: Store) -> list[dict[str, Any]]:
    """Return the rows of the table that compare a computed unit with a stored unit."""
    if unit.folder not in target.finished():
        return [_row(stored, check, f"failed: {target.failure(unit) or 'was not computed'}")]
    before, now = _done(store, stored), _done(target, unit)
    if check == "weights":
        planned = {"training": Training.model_validate(stored.payload["training"]).key_fields(), "seed": stored.seed}
        problem = _difference(stored.document or planned, planned, planned)
        problem = problem or _difference(before, now, ("steps", "parameters"))
        repeats = _difference(before, now, ("environment", "precision", "compiled")) is None and now["device"] == "cpu"
        if not repeats or before.get("resumed") or before.get("notes") or stored.payload["training"]["seconds"]:
            return [_row(stored, check, problem)] if problem else []
        return [_row(stored, check, problem, 0.0, _distance(stored, store, target), WEIGHTS)]
    old, new = store.read_scores(stored), target.read_scores(unit)
    if check != "score":
        means = [float(np.mean([value for *_, value, part in rows if not part])) for rows in (old, new)]
        # Only a row that does better on what is stored knows it.
        error = 0.0 if np.isnan(means).all() else means[0] - means[1] if check in BETTER else abs(means[0] - means[1])
        return [_row(stored, check, None, means[0], means[1], BETTER.get(check, REFIT), error)]
    problem, flags = _difference(before, now, ("kind", "parameters")), now.get("flags", ())
    if len(flags) > len(before.get("flags", ())):
        problem = f"different: is flagged here: {'; '.join(flags)}"
    if [(*row[:2], row[3]) for row in old] != [(*row[:2], row[3]) for row in new]:
        problem = "different: other noise levels, images or parts are stored"
        return [_row(stored, check, problem)]
    table = []
    for part in dict.fromkeys(row[3] for row in old):
        a, b = (np.array([row[2] for row in rows if row[3] == part]) for rows in (old, new))
        error = np.where((a == b) | (np.isnan(a) & np.isnan(b)), 0.0, np.abs(a - b)).mean()
        tolerance = SCORE * np.nan_to_num(np.abs(a), posinf=0.0).mean() + 1e-6
        table.append(_row(stored, f"{check} {part}".strip(), problem, a.mean(), b.mean(), tolerance, error))
    return table


def _row(
    unit: Unit,
    check: str,
    problem: str | None,
    stored: float = np.nan,
    computed: float = np.nan,
    tolerance: float = np.nan,
    error: float | None = None,
) -> dict[str, Any]:
    """Return a row of the table; ``error`` is by default the difference of the values."""
    error = abs(computed - stored) if error is None else error
    verdict = problem or (REPRODUCED if error <= tolerance else f"different: by {error:.2g}")
    return dict(zip(COLUMNS, (unit.label, check, stored, computed, tolerance, verdict), strict=True))


def _difference(before: Mapping[str, Any], now: Mapping[str, Any], names: Iterable[str]) -> str | None:
    for name in names:
        if before.get(name) != now.get(name):
            return f"different: the field '{name}' is {before.get(name)} in the folder, and {now.get(name)} here"
    return None


def _distance(fit: Unit, store: Store, target: Store) -> float:
    """Return the largest distance between stored and computed weights and snapshots, relative to the computed norm."""
    from safetensors.numpy import load

    finished, distances = [open_finished(each.path(fit)) for each in (store, target)], []
    for name in filter(is_network, finished[1].names):
        stored, computed = (load(each.read(name)) for each in finished)
        if {key: value.shape for key, value in stored.items()} != {key: value.shape for key, value in computed.items()}:
            return np.inf
        squares = sum(((stored[key] - value) ** 2).sum() for key, value in computed.items())
        distances.append(float(np.sqrt(squares / sum((value**2).sum() for value in computed.values()))))
    return max(distances)


def _done(store: Store, unit: Unit) -> Mapping[str, Any]:
    return store.done_record(unit) or {}
