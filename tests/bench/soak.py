"""Stress test that kills processes at random: no result may be lost, overwritten or changed.

    python tests/bench/soak.py [--kills 1000] [--races 1000] [--work 1 4] [--seed 0]

For each number of concurrent `work` processes, a small suite is completed repeatedly while `work` processes or their
workers are killed with SIGKILL at random. Each folder is checked: all units are done, no finished file was written
again, and the leaderboard equals that of an undisturbed run to the last digit. In a race, two processes finish the same
unit at the same moment.
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

from gahbench._util.keys import key_of
from gahbench.contracts.metrics import Scores
from gahbench.contracts.unit import Unit
from gahbench.registry.registry import open_registry
from gahbench.runs.collect import collect
from gahbench.runs.opening import plan_with
from gahbench.runs.running import record_plan
from gahbench.runs.work import work
from gahbench.store.finished import write_scores
from gahbench.store.plan_file import require_plan
from gahbench.store.store import Store

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
    small = "--kills 1 --races 10 --work 1 --steps 5"
    options = harness.options(__doc__, small, kills=1000, races=1000, work=[1, 4], seed=0, steps=400)
    random.seed(options.seed)
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        races(home / "race", options.races)
        (home / "soak.yaml").write_text(SUITE.replace("steps: 400", f"steps: {options.steps}"))
        plan(home / "soak.yaml", home / "whole")
        work(home / "whole", workers=1)
        expected = board(home / "whole")
        for count in options.work:
            kills = folders = 0
            started = time.monotonic()
            while kills < options.kills // len(options.work):
                folder = home / f"soak-{count}-{folders}"
                plan(home / "soak.yaml", folder)
                kills += complete_with_kills(folder, count, options.kills // len(options.work) - kills)
                folders += 1
                check(folder, expected)
                print(f"{count} work: {kills} kills, {folders} folders, {time.monotonic() - started:.0f} s", flush=True)


def plan(suite, folder):
    """Plan a suite in a folder, with one thread per worker."""
    registry = open_registry()
    record_plan(plan_with(registry, suite, folder), folder, registry, threads=1)


def complete_with_kills(folder, count, most):
    """Complete a folder with concurrent processes, kill some at random, and return the number of kills."""
    store, kills, seen = Store(folder), 0, {}
    units = require_plan(folder).units
    processes = [start(folder) for _ in range(count)]
    while len(store.finished()) < len({unit.folder for unit in units}):
        time.sleep(random.uniform(0.2, 10.0 / count))
        seen = check_unchanged(store, seen)
        index = random.randrange(count)
        victim = processes[index]
        workers = children(victim.pid) if kills < most else []
        if workers and random.random() < 0.5:
            os.kill(random.choice(workers), signal.SIGKILL)
            kills += 1
        elif victim.poll() is None and kills < most:
            victim.kill()
            victim.wait()
            kills += 1
        if processes[index].poll() is not None:
            # Restarted processes retry units that failed because their workers were lost too often.
            processes[index] = start(folder)
    for process in processes:
        process.wait(timeout=120)
    check_unchanged(store, seen)
    return kills


def start(folder):
    """Start a `work` process."""
    command = [sys.executable, "-m", "gahbench", "work", str(folder), "--workers", "1", "--retry"]
    quick = {"GAHBENCH_CHECKPOINT_SECONDS": "0.1"}
    return subprocess.Popen(command, stderr=subprocess.DEVNULL, env={**os.environ, **quick})


def children(pid):
    """Return the worker processes of a process."""
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
    store, units = Store(folder), require_plan(folder).units
    lost = [unit.label for unit in units if unit.folder not in store.undamaged(units)]
    if lost:
        raise SystemExit(f"{folder}: lost: {lost}")
    for unit in units:
        store.verify(store.path(unit))
    # Wait for workers whose `work` process was killed, which continue for a moment.
    running = ["pgrep", "-f", "--", f"worker_process [0-9]+ {folder} "]
    while subprocess.run(running, stdout=subprocess.DEVNULL).returncode == 0:
        time.sleep(0.5)
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
    whole = store.undamaged(units)
    if len(whole) < count:
        raise SystemExit(f"races: {count - len(whole)} units of {count} are not done, or damaged")
    for unit in units:
        store.verify(store.path(unit))
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
