"""Runs of misbehaving plugins together with honest entrants: ``python -m tests.attack.plugins``.

The scores of honest entrants must be identical to those of a run without misbehaving plugins, the board must show the
reason of each failure, the exit status must agree with the store, and no process may remain.
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

#: Environment variable that marks all processes of a run.
_MARK = "GAHBENCH_ATTACK"


@contextlib.contextmanager
def engine_of(name):
    """Yield options of a run on an engine, and environment variables; start a cluster if the engine needs it."""
    if name == "slurm":
        with importlib.import_module("slurm_cluster").cluster() as cluster:
            variables = {"SLURM_CONF": str(cluster.configuration)}
            yield ["--engine", "slurm[partition=low,workers=2,time=30]"], variables
    elif name == "dask":
        with tempfile.TemporaryDirectory() as home, contextlib.ExitStack() as stack:
            cluster = importlib.import_module("dask_cluster").Cluster(Path(home))
            stack.callback(cluster.stop)
            for worker in ("w1", "w2"):
                cluster.start_worker(worker)
            yield ["--engine", f"dask[scheduler={cluster.address}]"], {}
    else:
        yield ["--workers", "2"], {}


def run(kinds, folder, unit, seconds, options=("--workers", "2"), variables=None):
    """Run kinds with the honest entrants; return the exit status (``None`` after a timeout) and standard error."""
    suite = write_suite(kinds, folder, unit)
    mark = uuid4().hex
    command = [sys.executable, "-m", "gahbench", "run", str(suite), "--out", str(folder / "out"), *options]
    command += ["--threads", "1", "--plugins-dir", str(folder / "plugins")]
    settings = {_MARK: mark, "GAHBENCH_CACHE": str(folder / "cache")}
    environment = {**os.environ, **(variables or {}), **settings}
    with (folder / "errors.txt").open("wb") as errors:
        try:
            done = subprocess.run(
                command, env=environment, cwd=folder, stdout=subprocess.DEVNULL, stderr=errors, timeout=seconds
            )
            status = done.returncode
        except subprocess.TimeoutExpired:
            status = None
    if remaining := _remaining_processes(mark):
        raise AssertionError(f"{len(remaining)} processes remain: {remaining}")
    return status, (folder / "errors.txt").read_text(encoding="utf-8", errors="replace")


def problems(kinds, folder, clean, status, errors):
    """Return the faults after a run by name of the kind, with the key ``""`` for faults of the whole run."""
    faults: dict[str, str] = {}
    if status is None:
        return {"": "the run did not end in time"}
    try:
        results = gahbench.load_results(folder / "out")
    except gahbench.GahbenchError as error:
        return {"": f"no board, status {status}: {error}; {errors[-500:]}"}
    if not honest_scores(folder).equals(clean):
        faults[""] = "the scores of honest entrants differ"
    if status != (1 if len(results.failures) else 0):
        faults[""] = f"exit status {status} with {len(results.failures)} failures; {errors[-500:]}"
    if "Traceback" in errors:
        faults[""] = f"a traceback: {errors[-800:]}"
    for kind in kinds:
        column = {"metric": "metric", "dataset": "dataset"}.get(kind.plugin_kind, "entrant")
        reasons = results.failures.loc[results.failures[column] == label(kind), "error"].tolist()
        if kind.fails is not None and not any(kind.fails in str(reason) for reason in reasons):
            faults[kind.name] = f"'{kind.fails}' is not among the reasons: {[str(reason)[:200] for reason in reasons]}"
    return faults


def honest_scores(folder):
    """Return the scores of the honest entrants for the built-in metric on the built-in dataset."""
    scores = pd.read_parquet(folder / "out" / "scores.parquet")
    is_honest = scores["entrant"].isin(HONEST) & (scores["metric"] == "psnr") & (scores["dataset"] == "discs[size=16]")
    return scores[is_honest].sort_values(["entrant", "sigma", "image"]).reset_index(drop=True)


def attack(groups, folder, unit=60.0, seconds=1800.0, engine="local"):
    """Run groups of kinds, each group in one run; return the faults by kind."""
    (folder / "clean").mkdir(parents=True)
    status, errors = run((), folder / "clean", 600.0, seconds)
    assert status == 0, errors
    clean = honest_scores(folder / "clean")
    assert set(clean["entrant"]) == set(HONEST)
    faults = {}
    with engine_of(engine) as (options, variables):
        for index, kinds in enumerate(groups):
            home = folder / str(index)
            home.mkdir()
            started = time.monotonic()
            try:
                status, errors = run(kinds, home, unit, seconds, options, variables)
                run_faults = problems(kinds, home, clean, status, errors)
            except AssertionError as error:
                run_faults = {"": str(error)}
            for kind in kinds:
                reason = run_faults.get(kind.name) or run_faults.get("")
                if reason is not None:
                    faults[kind.name] = reason
                print(f"{kind.name}: {reason or 'passed'} ({time.monotonic() - started:.0f} s)", flush=True)
    return faults


def _remaining_processes(mark):
    """Return the commands of processes with a mark, after waiting up to 10 s for them to end."""
    for _ in range(100):
        commands = []
        for file in Path("/proc").glob("[0-9]*/environ"):
            with contextlib.suppress(OSError):
                if f"{_MARK}={mark}".encode() in file.read_bytes().split(b"\0"):
                    commands.append((file.parent / "cmdline").read_bytes().replace(b"\0", b" ").decode()[:100])
        if not commands:
            break
        time.sleep(0.1)
    return commands


def main(arguments=None):
    """Run kinds of misbehaviour; return 0 without faults, and otherwise 1."""
    parser = argparse.ArgumentParser(prog="python -m tests.attack.plugins", description=__doc__)
    parser.add_argument("names", nargs="*", help="kinds of misbehaviour; all by default")
    parser.add_argument("--together", type=int, default=1, help="number of kinds in a run")
    parser.add_argument("--unit", type=float, default=60.0, help="time limit of a unit in seconds")
    parser.add_argument("--engine", choices=("local", "slurm", "dask"), default="local", help="engine of the runs")
    parser.add_argument("--folder", type=Path, help="folder in which to keep results; by default they are deleted")
    options = parser.parse_args(arguments)
    kinds = [KINDS[name] for name in options.names or KINDS]
    groups = [kinds[first : first + options.together] for first in range(0, len(kinds), options.together)]
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary) / "attack"
        # The modules of the clusters are in the folder of the tests.
        sys.path.insert(0, str(Path(__file__).parents[1]))
        faults = attack(groups, folder, options.unit, engine=options.engine)
    print(f"{len(kinds) - len(faults)} of {len(kinds)} passed; {time.monotonic() - started:.0f} s")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
