"""Runs of misbehaving plugins together with honest entrants: ``python -m tests.attack.plugins``.

The scores of honest entrants must be identical to those of a run without misbehaving plugins, the board must show the
reason of each failure, the exit status must agree with the store, and no process may remain.
"""

from __future__ import annotations

import argparse
import contextlib
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


def run(kinds, folder, unit):
    """Run kinds with the honest entrants; return the exit status (``None`` after a timeout) and standard error."""
    suite, mark = write_suite(kinds, folder, unit), uuid4().hex
    command = [sys.executable, "-m", "gahbench", "run", str(suite), "--out", str(folder / "out"), "--workers", "2"]
    command += ["--threads", "1", "--plugins-dir", str(folder / "plugins")]
    environment = {**os.environ, _MARK: mark, "GAHBENCH_CACHE": str(folder / "cache")}
    status = None
    with (folder / "errors.txt").open("wb") as errors, contextlib.suppress(subprocess.TimeoutExpired):
        output = {"stdout": subprocess.DEVNULL, "stderr": errors}
        status = subprocess.run(command, env=environment, cwd=folder, timeout=1800, **output).returncode
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


def attack(groups, folder, unit=60.0):
    """Run groups of kinds, each group in one run; return the faults by kind."""
    (folder / "clean").mkdir(parents=True)
    status, errors = run((), folder / "clean", 600.0)
    assert status == 0, errors
    clean = honest_scores(folder / "clean")
    assert set(clean["entrant"]) == set(HONEST)
    faults = {}
    for index, kinds in enumerate(groups):
        home = folder / str(index)
        home.mkdir()
        started = time.monotonic()
        try:
            run_faults = problems(kinds, home, clean, *run(kinds, home, unit))
        except AssertionError as error:
            run_faults = {"": str(error)}
        for kind in kinds:
            reason = run_faults.get(kind.name) or run_faults.get("")
            if reason is not None:
                faults[kind.name] = reason
            print(f"{kind.name}: {reason or 'passed'} ({time.monotonic() - started:.0f} s)", flush=True)
    return faults


def _remaining_processes(mark):
    """Return the commands of processes with a mark, after waiting up to a minute for them to end."""
    for _ in range(600):
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
    options = parser.parse_args(arguments)
    kinds = [KINDS[name] for name in options.names or KINDS]
    groups = [kinds[first : first + options.together] for first in range(0, len(kinds), options.together)]
    with tempfile.TemporaryDirectory() as folder:
        faults = attack(groups, Path(folder) / "attack", options.unit)
    print(f"{len(kinds) - len(faults)} of {len(kinds)} passed")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
