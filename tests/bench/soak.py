"""Stress test that kills processes at random: no result may be lost, overwritten or changed.

    python tests/bench/soak.py [--kills 1000] [--races 1000] [--workers 1 4] [--seed 0]

For each number of workers, a small suite is run repeatedly while the command, or processes of its rows, are killed with
SIGKILL at random; the same command resumes the run. Each folder is checked: all units are done, no finished file was
written again, and the leaderboard equals that of an undisturbed run to the last digit. In a race, two processes finish
the same unit at the same moment.
"""

import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from multiprocessing import get_context
from pathlib import Path

import harness

import gahbench
from gahbench._util.records import key_of
from gahbench.contracts.metrics import Scores
from gahbench.contracts.unit import Unit
from gahbench.runs.collect import collect
from gahbench.runs.process import ORPHAN_SECONDS
from gahbench.store.plan_file import require_plan
from gahbench.store.store import Store
from gahbench.store.units import write_scores

SUITE = """
name: soak
datasets: [{discs: {size: 16}}]
entrants:
  - unet: {width: [2, 3], levels: 1}
  - bf-cnn: {width: 2, layers: 3}
  - identity
  - oracle-threshold: {basis: [haar, dct]}
training: {steps: 400, batch_size: 4, compile: never, validations: 2, validation_images: 2}
scoring: {sigmas: [0.1, 0.3], images: 3, metrics: [psnr, slope, ssim]}
seeds: [0, 1]
"""


def main():
    small = "--kills 1 --races 10 --workers 1 --steps 5"
    options = harness.options(__doc__, small, kills=1000, races=1000, workers=[1, 4], seed=0, steps=400)
    random.seed(options.seed)
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        races(home / "race", options.races)
        suite = home / "soak.yaml"
        suite.write_text(SUITE.replace("steps: 400", f"steps: {options.steps}"))
        gahbench.run(suite, home / "whole", threads=1, workers=1)
        expected = board(home / "whole")
        for count in options.workers:
            kills = folders = 0
            started = time.monotonic()
            while kills < options.kills // len(options.workers):
                folder = home / f"soak-{count}-{folders}"
                kills += complete_with_kills(suite, folder, count, options.kills // len(options.workers) - kills)
                folders += 1
                check(folder, expected)
                seconds = time.monotonic() - started
                print(f"{count} workers: {kills} kills, {folders} folders, {seconds:.0f} s", flush=True)


def complete_with_kills(suite, folder, count, most):
    """Run a suite until it is complete, kill some of its processes at random, and return the number of kills."""
    store, kills, seen, status = Store(folder), 0, {}, None
    while status != 0:
        process = start(suite, folder, count)
        while process.poll() is None:
            time.sleep(random.uniform(0.2, 10.0 / count))
            seen = check_unchanged(store, seen)
            rows = [row for child in children(process.pid) for row in children(child)]
            if kills < most and rows and random.random() < 0.5:
                os.kill(random.choice(rows), signal.SIGKILL)
                kills += 1
            elif kills < most and process.poll() is None:
                process.kill()
                kills += 1
        # A run tries units again that failed since their rows were lost too often.
        status = process.wait()
    check_unchanged(store, seen)
    return kills


def start(suite, folder, count):
    """Start the command that runs the suite, or resumes its run."""
    command = [sys.executable, "-m", "gahbench", "run", str(suite), "--out", str(folder), "--threads", "1"]
    quick = {**os.environ, "GAHBENCH_CHECKPOINT_SECONDS": "0.1"}
    output = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    return subprocess.Popen([*command, "--workers", str(count)], env=quick, **output)


def children(pid):
    """Return the child processes of a process; those of the fork server run rows."""
    output = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True)
    return [int(line) for line in output.stdout.split()]


def check_unchanged(store, seen):
    """Check that finished units have not changed, and return the state of all finished units."""
    stamps = {name: (store.units / name / "done.json").stat() for name in store.finished()}
    now = {name: (stamp.st_ino, stamp.st_mtime_ns) for name, stamp in stamps.items()}
    changed = [name for name, stamp in seen.items() if now.get(name) != stamp]
    if changed:
        raise SystemExit(f"finished units were written again: {changed}")
    return now


def check(folder, expected):
    """Check that all units are done and undamaged, and that the leaderboard is as expected."""
    # Rows of a command that was killed end within some seconds.
    time.sleep(ORPHAN_SECONDS)
    store, units = Store(folder), require_plan(folder).units
    undamaged = store.examine(units, full=True).undamaged
    if lost := [unit.label for unit in units if unit.folder not in undamaged]:
        raise SystemExit(f"{folder}: lost: {lost}")
    if not board(folder).equals(expected):
        raise SystemExit(f"{folder}: its leaderboard differs")
    if list(store.units.glob("*.partial*")):
        raise SystemExit(f"{folder}: attempts are left")


def board(folder):
    """Return the leaderboard without the training times."""
    return collect(folder).leaderboard(full=True).drop(columns=["train_seconds", "seconds_per_megapixel"])


def races(folder, count):
    """Let two processes finish the same units at the same moments."""
    context = get_context("fork")
    barrier = context.Barrier(2)
    processes = [context.Process(target=_racer, args=(folder, barrier, count)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    store, units = Store(folder), [numbered(number) for number in range(count)]
    whole = store.examine(units, full=True).undamaged
    if len(whole) < count:
        raise SystemExit(f"races: {count - len(whole)} units of {count} are not done, or damaged")
    print(
        f"races: {count}, units not done or damaged: {count - len(whole)}, attempts left: "
        f"{len(list(store.units.glob('*.partial*')))}, errors: {sum(process.exitcode != 0 for process in processes)}"
    )


def numbered(number):
    """Return a dummy unit whose key matches its document, which a store checks."""
    document = {"number": number}
    key, labels = key_of(document), ("d", f"e{number % 100}")
    return Unit("score", key, *labels, "reference", None, "test", "psnr", None, 0.0, {}, document=document)


def _racer(folder, barrier, count):
    store = Store(folder)
    for number in range(count):
        attempt = store.begin(numbered(number))
        write_scores(attempt.folder, Scores([float(os.getpid())] * 50))
        barrier.wait()
        attempt.finish({"kind": "classical"}, keep=("scores.csv",))


if __name__ == "__main__":
    main()
