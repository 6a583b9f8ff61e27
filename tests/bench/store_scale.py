"""Measure the store: many processes on one results folder, and the times of `plan`, `run`, `status` and `work`.

    python tests/bench/store_scale.py [--units 10000] [--loops 64] [--work 8]

Loops claim and finish trivial units without torch; `work` processes compute real scores of tiny images. Both parts run
on this machine, one after the other. ``--delay`` is the time in seconds between the start of the `work` processes and
the timing of `status`.
"""

import statistics
import subprocess
import sys
import tempfile
import time
from multiprocessing import get_context
from pathlib import Path

import harness
from soak import numbered

from gahbench.contracts.metrics import Scores
from gahbench.runs.queue import Queue
from gahbench.runs.status import status
from gahbench.store.finished import write_scores
from gahbench.store.plan_file import RecordedPlan, require_plan, write_plan
from gahbench.store.store import Store

#: Number of times that the status of the folder is computed while loops share its units.
STATUS_COUNT = 9


def main():
    small = "--units 4 --loops 2 --work 1 --delay 1"
    options = harness.options(__doc__, small, units=10_000, loops=64, work=8, delay=20.0)
    with tempfile.TemporaryDirectory() as name:
        if options.loops:
            claim_loops(Path(name) / "loops", options.units, options.loops)
        if options.work:
            real_work(Path(name), options.units, options.work, options.delay)


def claim_loops(folder, count, loops):
    """Let many loops share trivial units, and print the throughput."""
    units = [numbered(number) for number in range(count)]
    folder.mkdir()
    board = {"baseline": None, "trainings": {}, "needs": {}}
    board |= {key: [] for key in ("entrants", "datasets", "metrics", "ratios", "citations", "refused")}
    write_plan(folder, RecordedPlan("scale", tuple(units), board))
    context = get_context("fork")
    ready, done = context.Barrier(loops + 1), context.Queue()
    processes = [context.Process(target=_loop, args=(folder, ready, done)) for _ in range(loops)]
    for process in processes:
        process.start()
    ready.wait()
    started = time.monotonic()
    status_times = [time_status(folder) for _ in range(STATUS_COUNT)]
    counts = [done.get() for _ in processes]
    seconds = time.monotonic() - started
    for process in processes:
        process.join()
    print(f"{loops} loops, {count} units: {seconds:.1f} s, {count / seconds:.0f} units/s")
    print(
        f"  finished units {sum(own for own, _ in counts)}, duplicated work {sum(repeated for _, repeated in counts)}"
    )
    median, slowest = statistics.median(status_times), max(status_times)
    print(f"  status meanwhile, {STATUS_COUNT} times: {median:.2f} s, at most {slowest:.2f} s")
    assert len(Store(folder).undamaged(units)) == count


def time_status(folder):
    """Return the seconds that the status of a folder takes."""
    time.sleep(2.0)
    return harness.time_call(lambda: status(folder))[0]


def _loop(folder, ready, done):
    store, finished, duplicated = Store(folder), 0, 0
    queue = Queue(require_plan(folder).units, store)
    ready.wait()
    queue.refresh()
    while queue.left:
        unit = queue.take()
        if unit is None:
            time.sleep(0.2)
            queue.refresh()
            continue
        attempt = store.begin(unit)
        write_scores(attempt.folder, Scores([0.0]))
        if attempt.finish({"kind": "classical", "seconds": 0.0}, keep=("scores.csv",)):
            finished += 1
        else:
            duplicated += 1
        queue.finish(unit)
    queue.close()
    done.put((finished, duplicated))


def real_work(home, count, processes, delay):
    """Plan a suite of references on tiny images, complete it with `work` processes, and run it again."""
    datasets = min(20, count // 2)
    entrants = count // (2 * datasets)
    shares = ", ".join(f"{(number + 1) / (entrants + 1):.6f}" for number in range(entrants))
    sizes = ", ".join(str(8 + size) for size in range(datasets))
    (home / "scale.yaml").write_text(
        f"name: scale\ndatasets:\n  - discs: {{size: [{sizes}]}}\nentrants:\n  - low-pass: {{share: [{shares}]}}\n"
        "scoring: {sigmas: [0.1, 0.2], images: 1, metrics: [psnr, slope]}\n"
    )
    folder = home / "work"
    plan = time_command("plan --out", ["plan", str(home / "scale.yaml"), "--out", str(folder), "--threads", "1"])
    print("  " + next(line for line in plan.splitlines() if "to do" in line))
    started = time.monotonic()
    command = [sys.executable, "-m", "gahbench", "work", str(folder), "--workers", "1"]
    running = [subprocess.Popen(command, stderr=subprocess.DEVNULL) for _ in range(processes)]
    time.sleep(delay)
    time_command("status, while they run", ["status", str(folder)])
    for process in running:
        process.wait()
    seconds = time.monotonic() - started
    units = require_plan(folder).units
    print(f"{processes} work processes: {seconds:.0f} s, {len(units) / seconds:.0f} units/s, including their start")
    assert len(Store(folder).undamaged(units)) == len(units)
    time_command("status, all done", ["status", str(folder)])
    time_command("collect", ["collect", str(folder)])
    time_command("plan again", ["plan", str(home / "scale.yaml"), "--out", str(folder)])
    time_command("idle run", ["run", str(home / "scale.yaml"), "--out", str(folder)])


def time_command(title, command):
    """Run a command of gahbench, print its time, and return its output."""
    command = [sys.executable, "-m", "gahbench", *command]
    seconds, done = harness.time_call(lambda: subprocess.run(command, capture_output=True, text=True, check=True))
    print(f"{title}: {seconds:.1f} s")
    return done.stdout


if __name__ == "__main__":
    main()
