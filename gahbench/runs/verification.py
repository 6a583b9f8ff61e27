"""Verification of a results folder: samples of its results are computed again, with one tolerance for each check.

Scores are computed from the stored weights: under the stored noise, under other noise, and on images of generated
families that nobody has seen. Fits are trained again from their recorded seeds and settings.
"""

from __future__ import annotations

import contextlib
import random
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from gahbench._util.errors import GahbenchError, ResultsError
from gahbench._util.keys import key_of
from gahbench.contracts.engines import Row
from gahbench.contracts.unit import Unit
from gahbench.planning.units import AUDITED, configure_recorded, describe_plugin
from gahbench.registry.plugin_files import plugin_files
from gahbench.registry.registry import built_in_registry
from gahbench.runs.execute import execute, stop_on_signals
from gahbench.runs.progress import Display
from gahbench.runs.reuse import copy_unit
from gahbench.runs.watch import Watch
from gahbench.store.plan_file import require_plan
from gahbench.store.store import Store
from gahbench.store.units import FinishedUnit, open_finished
from gahbench.training.file_names import WEIGHTS
from gahbench.training.recipe import Training

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

#: The tolerance of each check: the mean difference of scores relative to their mean absolute value; by how many
#: decibels the PSNR may be better under the stored noise and on the test images; the distance of weights relative to
#: their norm; the difference of the PSNR of a fit in decibels, which is less for most seeds. For honest rows of 24
#: images of 16 x 16 pixels, the second and third have standard deviations of 0.2 dB and 0.8 dB.
TOLERANCES = {"score": 1e-3, "other noise": 1.0, "new images": 3.0, "weights": 1e-6, "fit": 1.0}
#: The minimum number of images that are compared with new images, since images differ in difficulty.
MIN_IMAGES = 24
#: By default, only fits that trained for fewer seconds are trained again.
MAX_SECONDS = 600.0
#: The engine that computes units again.
ENGINE = "local"
REPRODUCED = "reproduced"


class Stored(NamedTuple):
    """A finished unit of the folder."""

    unit: Unit
    files: FinishedUnit


#: A unit to compute, the stored unit with which it is compared, and the check.
Task = tuple[Unit, Stored, str]


def verify(
    folder: str | Path,
    *,
    units: int = 10,
    fits: int | None = None,
    seed: int | None = None,
    quiet: bool = False,
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
    quiet
        Whether to show no progress.

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
    ...                            settings={"scoring.images": 2}, engine="inline", quiet=True)
    ...     table = gahbench.verify(folder, units=1, quiet=True)
    >>> table[["check", "verdict"]].values.tolist()
    [['score', 'reproduced'], ['other noise', 'reproduced']]
    """
    import pandas as pd

    plan, store, stop = require_plan(Path(folder)), Store(Path(folder)), threading.Event()
    planned = {unit.folder: unit for unit in sorted(plan.units, key=lambda unit: unit.folder)}
    examination = store.examine(planned.values(), full=True)
    done, damaged = [Stored(planned[name], each) for name, each in examination.undamaged.items()], examination.damaged
    if not any(name.startswith("score-") for name in (*examination.undamaged, *damaged)):
        raise ResultsError(f"{folder}: has no finished score; expected a results folder with its units")
    table = [_row(unit, "files", f"damaged: {damaged[unit.folder]}") for unit in plan.units if unit.folder in damaged]
    plugins = tuple(file for name in plan.plugins for file in plugin_files(store.folder / name))
    devices = {each.files.done.get("environment", {}).get("device") for each in done}
    tasks = _choose(done, units, fits, random.Random(seed))
    with tempfile.TemporaryDirectory(prefix="gahbench-verify-") as scratch, stop_on_signals(stop):
        target, todo = Store(Path(scratch)), tuple(unit for unit, _, _ in tasks)
        for stored in done:
            if any(stored.unit.key in unit.needs for unit in todo):
                copy_unit(stored.unit, store, target)
        engine = built_in_registry().create("engine", ENGINE)
        row = Row(target.folder, todo, plugins, plan.threads or 1, "cpu" if devices == {"cpu"} else "auto")
        with Display(len(todo), quiet=quiet) as display, Watch(todo, target, display) as watch:
            execute(row, engine, stop, watch.note)
        table += [row for task in tasks for row in _compare(*task, target)]
    if stop.is_set():
        raise KeyboardInterrupt
    return pd.DataFrame(table, columns=["unit", "check", "stored", "computed", "tolerance", "verdict"])


def _choose(done: Sequence[Stored], units: int, fits: int | None, chooser: random.Random) -> list[Task]:
    """Choose scores to compute from the stored weights, and fits to train with the PSNR of each, at random."""
    networks = {each.unit.key: each for each in done if each.unit.kind == "fit"}
    scores = [each for each in done if each.unit.kind == "score" and networks.keys() >= set(each.unit.needs)]
    psnr = {each.unit.row: each for each in scores if (each.unit.metric, each.unit.split) == AUDITED}
    chosen = chooser.sample(scores, min(units, len(scores)))
    tasks = [_task(each, "score") for each in chosen]
    for row in dict.fromkeys(each.unit.row for each in chosen):
        tasks += _changed(psnr[row], chooser) if row in psnr else ()
    pairs = [(each, networks[each.unit.requires]) for each in psnr.values() if each.unit.requires is not None]
    if fits is None:
        pairs, fits = [pair for pair in pairs if pair[1].files.done["train_seconds"] < MAX_SECONDS], 1
    for score, fit in chooser.sample(pairs, min(fits, len(pairs))):
        tasks.append(_task(fit, "weights"))
        unit, _, check = _task(score, "fit")
        tasks.append((replace(unit, requires=tasks[-1][0].key), score, check))
    return tasks


def _task(stored: Stored, check: str, **changes: Any) -> Task:
    """Return the task to compute a unit under a key of its own, with changes of its payload.

    Precision, compilation and steps are those of its record, since the plan may leave them open.
    """
    done, payload = stored.files.done, stored.unit.payload
    if stored.unit.kind == "score":
        changes = {"jacobian_precision": done.get("jacobian_precision", payload["jacobian_precision"])} | changes
    else:
        training = {"precision": done["precision"], "compile": "always" if done["compiled"] else "never"}
        if payload["training"]["seconds"] is not None:
            training |= {"seconds": None, "steps": done["steps"]}
        changes = {"training": payload["training"] | training}
    key = key_of([stored.unit.key, check])
    return replace(stored.unit, key=key, payload=payload | changes, document=None), stored, check


def _changed(stored: Stored, chooser: random.Random) -> Iterator[Task]:
    """Yield the score of a row under other noise and, if its images are drawn from a seed, on new images."""
    payload, noise_seed = stored.unit.payload, chooser.getrandbits(62)
    if not payload.get("captured"):
        yield _task(stored, "other noise", noise_seed=noise_seed)
    # Plugins of the folder run in processes of their own only.
    dataset = payload["dataset"]
    if "seed" in dataset["parameters"] and not dataset["origins"] and payload["images"] >= MIN_IMAGES:
        drawn = dataset | {"parameters": dataset["parameters"] | {"seed": chooser.getrandbits(31)}}
        with contextlib.suppress(GahbenchError):
            configured = configure_recorded(built_in_registry(), "dataset", drawn)
            if configured.build().available("test") is None:
                yield _task(stored, "new images", noise_seed=noise_seed, dataset=describe_plugin(configured))


def _compare(unit: Unit, stored: Stored, check: str, target: Store) -> Iterator[tuple[Any, ...]]:
    """Yield the rows of the table that compare a computed unit with a stored unit."""
    if unit.folder not in target.finished():
        yield _row(stored.unit, check, f"failed: {target.failure_of(unit.folder)}")
        return
    computed = open_finished(target.path(unit))
    if check == "weights":
        yield from _compare_fits(stored, computed)
        return
    old, new = (np.array(finished.scores(), dtype=object).reshape(-1, 4) for finished in (stored.files, computed))
    if check != "score":
        psnr = [float(np.mean(rows[rows[:, 3] == "", 2])) for rows in (old, new)]
        # Only a row that does better on what is stored knows it.
        error = 0.0 if np.isnan(psnr).all() else abs(psnr[0] - psnr[1]) if check == "fit" else psnr[0] - psnr[1]
        yield _row(stored.unit, check, None, (*psnr, error, TOLERANCES[check]))
        return
    problem = _difference(stored.files.done, computed.done, "kind", "parameters")
    if len(flags := computed.done.get("flags", ())) > len(stored.files.done.get("flags", ())):
        problem = f"different: is flagged here: {'; '.join(flags)}"
    if not np.array_equal(old[:, [0, 1, 3]], new[:, [0, 1, 3]]):
        yield _row(stored.unit, check, "different: other noise levels, images or parts are stored")
        return
    for part in dict.fromkeys(old[:, 3]):
        a, b = (rows[rows[:, 3] == part, 2].astype(float) for rows in (old, new))
        error = np.where((a == b) | (np.isnan(a) & np.isnan(b)), 0.0, np.abs(a - b)).mean()
        tolerance = TOLERANCES[check] * np.nan_to_num(np.abs(a), posinf=0.0).mean() + 1e-6
        yield _row(stored.unit, f"{check} {part}".strip(), problem, (a.mean(), b.mean(), error, tolerance))


def _compare_fits(stored: Stored, computed: FinishedUnit) -> Iterator[tuple[Any, ...]]:
    """Compare the settings of a fit, and its weights and snapshots where training repeats to the last bit."""
    from safetensors.numpy import load

    def weights(finished: FinishedUnit) -> NDArray[Any]:
        files = [load(finished.read(name)) for name in sorted([WEIGHTS, *finished.snapshots.values()])]
        return np.concatenate([np.zeros(0), *(array.ravel() for file in files for _, array in sorted(file.items()))])

    training, before, now = stored.unit.payload["training"], stored.files.done, computed.done
    planned = {"training": Training.model_validate(training).key_fields(), "seed": stored.unit.seed}
    problem = _difference(stored.unit.document or planned, planned, *planned)
    problem = problem or _difference(before, now, "steps", "parameters")
    # On other machines rounding moves weights by half of their norm within 240 steps, so only scores are compared.
    is_repeated = now["device"] == "cpu" and not (before.get("resumed") or before.get("notes") or training["seconds"])
    if is_repeated and not _difference(before, now, "environment", "precision", "compiled"):
        old, new = weights(stored.files), weights(computed)
        is_comparable = old.shape == new.shape
        distance = float(np.linalg.norm(old - new) / (np.linalg.norm(new) or 1.0)) if is_comparable else np.inf
        yield _row(stored.unit, "weights", problem, (0.0, distance, distance, TOLERANCES["weights"]))
    elif problem:
        yield _row(stored.unit, "weights", problem)


def _row(unit: Unit, check: str, problem: str | None, numbers: Sequence[float] = (np.nan,) * 4) -> tuple[Any, ...]:
    """Return a row of the table, given a problem, or the stored and computed value, their error and its tolerance."""
    stored, computed, error, tolerance = numbers
    verdict = problem or (REPRODUCED if error <= tolerance else f"different: by {error:.2g}")
    return unit.label, check, stored, computed, tolerance, verdict


def _difference(before: Mapping[str, Any], now: Mapping[str, Any], *names: str) -> str | None:
    for name in names:
        if before.get(name) != now.get(name):
            return f"different: the field '{name}' is {before.get(name)} in the folder, and {now.get(name)} here"
    return None
