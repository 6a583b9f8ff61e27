"""Verification of a results folder: samples of its results are computed again, with one tolerance for each check."""

from __future__ import annotations

import contextlib
import random
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from gahbench._util.errors import GahbenchError, ResultsError
from gahbench._util.records import key_of
from gahbench.contracts.engines import Row
from gahbench.contracts.unit import Unit
from gahbench.planning.units import AUDITED, configure_recorded, describe_plugin
from gahbench.registry.registry import built_in_registry, plugin_files
from gahbench.runs.execute import run_in_processes, stop_on_signals
from gahbench.runs.progress import Display
from gahbench.runs.reuse import copy_unit
from gahbench.runs.watch import Watch
from gahbench.store.plan_file import require_plan
from gahbench.store.store import Store
from gahbench.store.units import FinishedUnit, open_finished
from gahbench.training.file_names import WEIGHTS
from gahbench.training.recipe import Training

#: The tolerance of each check: the mean difference of scores relative to their mean absolute value; by how many
#: decibels the PSNR may be better under the stored noise and on the test images, with standard deviations of 0.2 dB and
#: 0.8 dB for 24 images of 16 x 16 pixels; the difference of the PSNR of a fit. Weights must be equal to the last bit.
TOLERANCES = {"score": 1e-3, "other noise": 1.0, "new images": 3.0, "fit": 1.0}
#: Fields of records that must be equal, as far as a unit has them.
FIELDS = ("kind", "parameters", "steps", "flagged", "training", "seed", "weights")
#: The fewest images that are compared with new ones, and the longest training in seconds that is repeated by default.
MIN_IMAGES, MAX_SECONDS = 24, 600.0
REPRODUCED = "reproduced"
#: A unit to compute, the unit of the folder with which it is compared, and the check.
Task = tuple[Unit, Unit, str]
Files = Mapping[str, FinishedUnit]


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
    plan, store, stop = require_plan(Path(folder)), Store(Path(folder)), threading.Event()
    planned, examination = {unit.folder: unit for unit in plan.units}, store.examine(plan.units, full=True)
    table = [_row(planned[name], "files", f"damaged: {reason}") for name, reason in examination.damaged.items()]
    files = examination.undamaged
    tasks = list(_choose([planned[name] for name in files], files, units, fits, random.Random(seed)))
    if not tasks and not table:
        raise ResultsError(f"{folder}: has no finished score; expected a results folder with its units")
    plugins = tuple(file for name in plan.plugins for file in plugin_files(store.folder / name))
    device = "cpu" if all(each.done["environment"]["device"] == "cpu" for each in files.values()) else "auto"
    with tempfile.TemporaryDirectory(prefix="gahbench-verify-") as scratch:
        target, todo = Store(Path(scratch)), tuple(unit for unit, _, _ in tasks)
        for name in files.keys() & {f"fit-{key}" for unit in todo for key in unit.needs}:
            copy_unit(planned[name], store, target)
        manager = built_in_registry().manager
        with stop_on_signals(stop), Display(len(todo), quiet=quiet) as display, Watch(todo, target, display, manager):
            run_in_processes(Row(target.folder, todo, plugins, plan.threads or 1, device), stop)
        table += [row for task in tasks for row in _compare(*task, files, target)]
    if stop.is_set():
        raise KeyboardInterrupt
    return pd.DataFrame(table, columns=["unit", "check", "stored", "computed", "tolerance", "verdict"])


def _choose(done: Sequence[Unit], files: Files, units: int, fits: int | None, chooser: random.Random) -> Iterator[Task]:
    """Yield random scores to compute from the stored weights, and fits to train, with the PSNR of each."""

    def task(unit: Unit, check: str, **changes: Any) -> Task:
        # The plan may leave open the precision and the compilation, which are those of the record.
        record, training = files[unit.folder].done, unit.payload.get("training")
        if training is not None:
            choices = {"precision": record["precision"], "compile": "always" if record["compiled"] else "never"}
            changes["training"] = training | choices
        elif "jacobian_precision" in record:
            changes["jacobian_precision"] = record["jacobian_precision"]
        again = replace(unit, key=key_of([unit.key, check]), payload=unit.payload | changes, document=None)
        return again, unit, check

    networks = {unit.key: unit for unit in done if unit.kind == "fit"}
    scores = [unit for unit in done if unit.kind == "score" and networks.keys() >= set(unit.needs)]
    psnr = {unit.row: unit for unit in scores if (unit.metric, unit.split) == AUDITED}
    chosen = chooser.sample(scores, min(units, len(scores)))
    yield from (task(unit, "score") for unit in chosen)
    for score in {unit.row: psnr[unit.row] for unit in chosen if unit.row in psnr}.values():
        noise, dataset = {"noise_seed": chooser.getrandbits(62)}, score.payload["dataset"]
        if not score.payload.get("captured"):
            yield task(score, "other noise", **noise)
        # Plugins of the folder run in processes of their own only.
        if "seed" in dataset["parameters"] and not dataset["origins"] and score.payload["images"] >= MIN_IMAGES:
            drawn = dataset | {"parameters": dataset["parameters"] | {"seed": chooser.getrandbits(31)}}
            with contextlib.suppress(GahbenchError):
                configured = configure_recorded(built_in_registry(), "dataset", drawn)
                if configured.build().available("test") is None:
                    yield task(score, "new images", dataset=describe_plugin(configured), **noise)
    trained = [(unit, networks[unit.requires]) for unit in psnr.values() if unit.requires is not None]
    if fits is None:
        trained, fits = [each for each in trained if files[each[1].folder].done["train_seconds"] < MAX_SECONDS], 1
    for score, fit in chooser.sample(trained, min(fits, len(trained))):
        yield (again := task(fit, "training"))
        yield task(replace(score, requires=again[0].key), "fit")


def _compare(unit: Unit, stored: Unit, check: str, files: Files, target: Store) -> Iterator[tuple[Any, ...]]:
    """Yield the rows of the table that compare a computed unit with a stored unit."""
    if unit.folder not in target.finished():
        yield _row(stored, check, f"failed: {target.failure_of(unit.folder)}")
        return
    both = (files[stored.folder], open_finished(target.path(unit)))
    before, now = (_facts(each.done) for each in both)
    if check == "training":
        training = stored.payload["training"]
        before |= stored.document or {}
        now |= {"training": Training.model_validate(training).key_fields(), "seed": stored.seed}
        # Rounding of other machines moves weights by half of their norm within 240 steps, so only scores are compared.
        is_repeated = all(before[name] == now[name] for name in ("environment", "precision", "compiled"))
        if not is_repeated or now["device"] != "cpu" or before["notes"] or before["resumed"]:
            now["weights"] = before["weights"]
    differing = [name for name in FIELDS if before.get(name) != now.get(name)]
    states = (", ".join(f"{name}={facts.get(name)}" for name in differing) for facts in (before, now))
    problem = "different: {} in the folder, and {} here".format(*states) if differing else ""
    if check == "training":
        yield _row(stored, check, problem)
        return
    old, new = (np.array(each.scores(), dtype=object).reshape(-1, 4) for each in both)
    if not np.array_equal(old[:, [0, 1, 3]], new[:, [0, 1, 3]]):
        problem, new = "different: other noise levels, images or parts are stored", old
    for part in dict.fromkeys(old[:, 3]) if check == "score" else ("",):
        a, b = (rows[rows[:, 3] == part, 2].astype(float) for rows in (old, new))
        gaps = np.where((a == b) | (np.isnan(a) & np.isnan(b)), 0.0, a - b)
        # Only a row that does better on what is stored knows it.
        error = {"score": np.abs(gaps).mean(), "fit": abs(gaps.mean())}.get(check, gaps.mean())
        scale = np.nan_to_num(np.abs(a), posinf=0.0).mean() + 1e-3 if check == "score" else 1.0
        yield _row(stored, f"{check} {part}".strip(), problem, a.mean(), b.mean(), error, scale * TOLERANCES[check])


def _facts(done: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is recorded about a unit, and a digest of its networks."""
    networks = {name: file for name, file in done["files"].items() if name.endswith(Path(WEIGHTS).suffix)}
    return {**done, "flagged": bool(done.get("flags")), "weights": key_of(networks)}


def _row(unit: Unit, check: str, problem: str, *numbers: float) -> tuple[Any, ...]:
    """Return a row of the table, given a problem, or the stored and computed value, their error and its tolerance."""
    stored, computed, error, tolerance = numbers or (np.nan, np.nan, 0.0, np.nan)
    verdict = problem or (REPRODUCED if not numbers or error <= tolerance else f"different: by {error:.2g}")
    return unit.label, check, stored, computed, tolerance, verdict
