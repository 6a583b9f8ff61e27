"""What the runner adds to one long fit: the same training steps by ``gahbench run`` and by a bare loop, side by side.

    python tests/bench/runner_overhead.py [--steps 2400] [--smoke]

Each has a processor of its own and one thread, at the same time; then they change places, so that neither a slow
processor nor other work of the machine favours one. The runner's time is that from the start of its fit unit to its
end: reading the plan's parameters, the network, steps, reports, checkpoints, checksums and the store. Its processes
start before, which takes the same few seconds for any fit, and is printed apart.
"""

import argparse
import math
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

import gahbench
from gahbench._util.resources import keep_freed_blocks
from gahbench.networks.initialisation import build_network
from gahbench.networks.precision import Choice
from gahbench.training.fitting import validation_sigmas
from gahbench.training.hardware import choose
from gahbench.training.recipe import Training
from gahbench.training.trainer import Trainer

DATASET = "discs[size=32]"
ENTRANT = "unet[width=16]"
TRAINING = {
    "batch_size": 64,
    "train_images": 1024,
    "compile": "never",
    "precision": "float32",
    "validations": 1,
    "validation_images": 1,
}
SUITE = """
name: overhead
datasets: [{{discs: {{size: 32}}}}]
entrants: [{{unet: {{width: 16}}}}]
training: {training}
scoring: {{sigmas: [0.1], images: 1, metrics: [psnr]}}
"""
TARGET_PERCENT = 3.0


def main() -> None:
    """Time both, twice, and print; or be one of both."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=2400)
    parser.add_argument("--smoke", action="store_true", help="a few steps only, to see that it runs")
    parser.add_argument("--leg", choices=["run", "bare"], help=argparse.SUPPRESS)
    options = parser.parse_args()
    steps = 4 if options.smoke else options.steps
    if options.leg:
        torch.set_num_threads(1)
        print(*(run_leg if options.leg == "run" else bare_leg)(steps))
        return
    first, second = sorted(os.sched_getaffinity(0))[:2] if os.cpu_count() != 1 else (0, 0)
    ratios = []
    for places in ((first, second), (second, first)):
        unit, start, bare = one_round(steps, places)
        ratios.append(unit / bare)
        print(
            f"runner on processor {places[0]}: {unit:.1f} s (its processes started in {start:.1f} s); "
            f"bare loop on {places[1]}: {bare:.1f} s",
            flush=True,
        )
    percent = 100 * (math.sqrt(ratios[0] * ratios[1]) - 1)
    verdict = (
        "" if options.smoke else f", target <= {TARGET_PERCENT:g} %: {'met' if percent <= TARGET_PERCENT else 'missed'}"
    )
    print(f"overhead of the runner: {percent:+.2f} %{verdict}")


def one_round(steps: int, places: tuple[int, int]) -> tuple[float, float, float]:
    """Run both legs at once; return the seconds of the unit, of the start before it, and of the bare loop."""
    legs = [_start(leg, steps, place) for leg, place in zip(("run", "bare"), places, strict=True)]
    (unit, start), (bare,) = ([float(word) for word in leg.communicate()[0].split()] for leg in legs)
    return unit, start, bare


def _start(leg: str, steps: int, place: int) -> "subprocess.Popen[str]":
    command = [sys.executable, __file__, "--leg", leg, "--steps", str(steps)]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, preexec_fn=lambda: os.sched_setaffinity(0, {place})
    )


def run_leg(steps: int) -> tuple[float, float]:
    """Return the seconds of the fit unit of a run, and of all before it."""
    times: dict[str, float] = {}

    def report(event: gahbench.Event) -> None:
        if event.unit is not None and event.unit.kind == "fit":
            times.setdefault(event.kind, time.monotonic())

    with tempfile.TemporaryDirectory() as name:
        suite = Path(name) / "overhead.yaml"
        suite.write_text(SUITE.format(training={**TRAINING, "steps": steps}))
        started = time.monotonic()
        gahbench.run(suite, Path(name) / "results", workers=1, threads=1, report=report)
    return times["finished"] - times["started"], times["started"] - started


def bare_leg(steps: int) -> tuple[float]:
    """Return the seconds of building the same network and of the same steps, without anything else."""
    # As in a worker: it takes an eighth from the time of either, and is no part of what the runner adds.
    keep_freed_blocks()
    started = time.monotonic()
    training = Training.model_validate({**TRAINING, "steps": steps})
    device = torch.device("cpu")
    dataset = gahbench.create("dataset", DATASET)
    network = build_network(
        lambda: gahbench.create("architecture", ENTRANT, shape=dataset.shape),
        0,
        training.initialisation,
        training.weights_stream,
    )
    trainer = Trainer(
        network,
        dataset,
        training,
        0,
        choose(training, Choice(), 0.0, device),
        validation_sigmas(training),
        device,
        None,
    )
    trainer.network.train()
    for step in range(steps):
        trainer.step(step, step / steps)
    return (time.monotonic() - started,)


if __name__ == "__main__":
    main()
