"""Runs plugins that misbehave beside honest entrants: ``python -m tests.attack.plugins``.

The scores of honest entrants must be those of a run without the others, to the last bit; the reason must be on the
board; the exit status must be that of what the store holds; no process may be left.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from uuid import uuid4

import pandas as pd

import gahbench

from .misbehaving import KINDS
from .plugin_files import HONEST, label, write_suite

#: By this environment variable all processes of a run are found.
_MARK = "GAHBENCH_ATTACK"


@contextlib.contextmanager
def engine_of(name):
    """Yield options of a run by an engine, and variables of its processes: of a cluster that is there meanwhile."""
    if name == "slurm":
        with importlib.import_module("slurm_cluster").cluster() as one:
            yield ["--engine", "slurm[partition=low,workers=2,time=30]"], {"SLURM_CONF": str(one.configuration)}
    elif name == "dask":
        with tempfile.TemporaryDirectory() as home, contextlib.ExitStack() as stack:
            one = importlib.import_module("dask_cluster").Cluster(Path(home))
            stack.callback(one.stop)
            for worker in ("w1", "w2"):
                one.start_worker(worker)
            yield ["--engine", f"dask[scheduler={one.address}]"], {}
    else:
        yield ["--workers", "2"], {}


def run(kinds, folder, unit, construction, seconds, options=("--workers", "2"), variables=None):
    """Run kinds beside the honest entrants; return the exit status, ``None`` for none in time, and what was written."""
    suite = write_suite(kinds, folder, unit, construction)
    mark = uuid4().hex
    command = [sys.executable, "-m", "gahbench", "run", str(suite), "--out", str(folder / "out"), *options]
    command += ["--threads", "1", "--plugins-dir", str(folder / "plugins")]
    own = {_MARK: mark, "GAHBENCH_CACHE": str(folder / "cache"), "GAHBENCH_SILENT_SECONDS": "20"}
    environment = {**os.environ, **(variables or {}), **own}
    with (folder / "errors.txt").open("wb") as errors:
        try:
            done = subprocess.run(
                command, env=environment, cwd=folder, stdout=subprocess.DEVNULL, stderr=errors, timeout=seconds
            )
            status = done.returncode
        except subprocess.TimeoutExpired:
            status = None
    if left := _left(mark):
        raise AssertionError(f"{len(left)} processes are left: {left}")
    return status, (folder / "errors.txt").read_text(encoding="utf-8", errors="replace")


def problems(kinds, folder, clean, status, errors):
    """Return what is not as it should be after a run: for each kind, or under ``""`` for all."""
    found: dict[str, str] = {}
    if status is None:
        return {"": "not done in time"}
    if any(kind.when == "planning" and kind.fails is not None for kind in kinds):
        is_clear = status in (1, 2) and "Traceback" not in errors and all(str(kind.fails) in errors for kind in kinds)
        return {} if is_clear else {"": f"status {status}: {errors[-500:]}"}
    try:
        results = gahbench.load_results(folder / "out")
    except gahbench.GahbenchError as error:
        return {"": f"no board, status {status}: {error}; {errors[-500:]}"}
    if not honest_scores(folder).equals(clean):
        found[""] = "the scores of honest entrants differ"
    if status != (1 if len(results.failures) else 0):
        found[""] = f"exit status {status} with {len(results.failures)} failures; {errors[-500:]}"
    if "Traceback" in errors:
        found[""] = f"a traceback: {errors[-800:]}"
    for kind in kinds:
        column = {"metric": "metric", "dataset": "dataset"}.get(kind.noun, "entrant")
        reasons = results.failures.loc[results.failures[column] == label(kind), "error"].tolist()
        if kind.fails is not None and not any(kind.fails in str(reason) for reason in reasons):
            found[kind.name] = f"'{kind.fails}' is not among the reasons: {[str(one)[:200] for one in reasons]}"
    return found


def honest_scores(folder):
    """Return the scores of the honest entrants, by the built-in metric, on the built-in dataset."""
    scores = pd.read_parquet(folder / "out" / "scores.parquet")
    own = scores["entrant"].isin(HONEST) & (scores["metric"] == "psnr") & (scores["dataset"] == "discs[size=16]")
    return scores[own].sort_values(["entrant", "sigma", "image"]).reset_index(drop=True)


def attack(groups, folder, unit=60.0, construction=20.0, seconds=1800.0, engine="processes"):
    """Run groups of kinds, each group in one run; return what is wrong, by kind."""
    (folder / "clean").mkdir(parents=True)
    status, errors = run((), folder / "clean", 600.0, 60.0, seconds)
    assert status == 0, errors
    clean = honest_scores(folder / "clean")
    assert set(clean["entrant"]) == set(HONEST)
    wrong = {}
    with engine_of(engine) as (options, variables):
        for place, kinds in enumerate(groups):
            own = folder / str(place)
            own.mkdir()
            began = time.monotonic()
            try:
                found = problems(kinds, own, clean, *run(kinds, own, unit, construction, seconds, options, variables))
            except AssertionError as error:
                found = {"": str(error)}
            for kind in kinds:
                reason = found.get(kind.name) or found.get("")
                if reason is not None:
                    wrong[kind.name] = reason
                print(f"{kind.name}: {reason or 'holds'} ({time.monotonic() - began:.0f} s)", flush=True)
    return wrong


def _left(mark):
    """Return the commands of processes that bear a mark, once they have had a moment to end."""
    for _ in range(20):
        found = []
        for file in Path("/proc").glob("[0-9]*/environ"):
            with contextlib.suppress(OSError):
                if f"{_MARK}={mark}".encode() in file.read_bytes().split(b"\0"):
                    found.append((file.parent / "cmdline").read_bytes().replace(b"\0", b" ").decode()[:100])
        if not found:
            break
        time.sleep(0.1)
    return found


def main(arguments=None):
    """Run kinds of misbehaviour; return 0 if all hold."""
    parser = argparse.ArgumentParser(prog="python -m tests.attack.plugins", description=__doc__)
    parser.add_argument("names", nargs="*", help="kinds; by default all")
    parser.add_argument("--together", type=int, default=1, help="kinds in one run")
    parser.add_argument("--unit", type=float, default=60.0, help="seconds that a unit may take")
    parser.add_argument("--construction", type=float, default=20.0, help="seconds that a construction may take")
    parser.add_argument("--engine", choices=("processes", "slurm", "dask"), default="processes", help="that runs them")
    parser.add_argument("--folder", type=Path, help="where results are left; by default nowhere")
    options = parser.parse_args(arguments)
    kinds = [KINDS[name] for name in options.names or KINDS]
    # A run that is refused as it is planned is refused for all.
    many, alone = ([kind for kind in kinds if (kind.when == "planning") is own] for own in (False, True))
    groups = [many[first : first + options.together] for first in range(0, len(many), options.together)]
    groups += [[kind] for kind in alone]
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary) / "attack"
        # Clusters are those of the tests.
        sys.path.insert(0, str(Path(__file__).parents[1]))
        wrong = attack(groups, folder, options.unit, options.construction, engine=options.engine)
    print(f"{len(kinds) - len(wrong)} of {len(kinds)} hold; {time.monotonic() - began:.0f} s")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
