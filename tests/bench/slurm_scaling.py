"""How much faster two nodes of one core each finish a suite than one: on a Slurm cluster here, each slurmd pinned.

    python tests/bench/slurm_scaling.py [--fits 8] [--steps 500]

Needs two idle cores, root, and Debian's slurmctld slurmd slurm-client munge. Times are from the beginning of the first
unit to the end of the last; the start of workers before is printed apart.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import smoke
from slurm_cluster import NODES, Cluster, why_not

import gahbench
from gahbench.store.plan_file import recorded_plan
from gahbench.store.store import Store

SUITE = """
name: scaling
datasets: [{{discs: {{size: 32}}}}]
entrants: [{{unet: {{width: 16, levels: 2}}}}]
training: {{steps: {steps}, batch_size: 16, compile: never, validations: 1, validation_images: 2}}
scoring: {{sigmas: [0.1], images: 2, metrics: [psnr]}}
seeds: {seeds}
"""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fits", type=int, default=8)
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=2)
    options = smoke.parse(parser, "--fits 2 --steps 5 --rounds 1")
    if (missing := why_not()) and options.smoke:
        print(f"skipped: {missing}")
        return
    if missing:
        raise SystemExit(missing)
    with tempfile.TemporaryDirectory(prefix="gs") as name:
        home = Path(name)
        (home / "scaling.yaml").write_text(SUITE.format(steps=options.steps, seeds=list(range(options.fits))))
        (home / "c").mkdir()
        cluster = Cluster(home / "c")
        os.environ["SLURM_CONF"] = str(cluster.configuration)
        try:
            cluster.start()
            for place, node in enumerate(NODES):
                cluster.kill(node)
                cluster.start_node(node, "taskset", "-c", str(place))
            cluster.wait_until_idle()
            times = {tasks: finish(home, tasks) for tasks in (1, 2) * options.rounds}
        finally:
            cluster.stop()
    print(f"two nodes are {times[1] / times[2]:.2f} times as fast as one")


def finish(home: Path, tasks: int) -> float:
    """Finish the suite with some tasks, one a node; return the seconds from its first begin to its last end."""
    folder = home / f"out-{tasks}-{time.monotonic_ns()}"
    began = time.time()
    # Both processors of a node, of which the task has one core: no two tasks share a node.
    gahbench.run(home / "scaling.yaml", folder, threads=1, engine=f"slurm[workers={tasks},cpus=2]")
    store = Store(folder)
    ends, starts, seconds = [], [], []
    for unit in recorded_plan(folder).shown:
        file = store.path(unit) / "done.json"
        done = json.loads(file.read_bytes())
        seconds.append(done["train_seconds"] if unit.kind == "fit" else done["seconds"])
        ends.append(file.stat().st_mtime)
        starts.append(ends[-1] - seconds[-1])
    total = max(ends) - min(starts)
    fits = sorted(seconds, reverse=True)[: len(recorded_plan(folder).shown) // 2]
    print(
        f"{tasks} of two nodes: {total:.1f} s; the first unit began after {min(starts) - began:.1f} s; fits of "
        f"{min(fits):.1f} to {max(fits):.1f} s",
        flush=True,
    )
    return total


if __name__ == "__main__":
    main()
