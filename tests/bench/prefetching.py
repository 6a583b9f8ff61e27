"""Speedup by prefetching training images in a thread: fits with and without prefetching, in turn.

Run ``python tests/bench/prefetching.py`` on an otherwise idle machine. On a CPU, the thread and the fit share the
cores; a GPU leaves the cores idle. The benchmark fails unless both fits end with the same weights. The time to draw
images without training is measured, too, since the gain cannot exceed it.
"""

import functools
import sys

import harness
import torch
from harness import SEED

import gahbench
from gahbench.networks.initialisation import build_network
from gahbench.networks.precision import Choice
from gahbench.training.hardware import choose_acceleration
from gahbench.training.recipe import Training
from gahbench.training.trainer import Trainer

#: Maximum difference of the weights of two fits; different images would change weights a hundred times as much.
ATOL = 1e-3


def main():
    options = harness.options(
        __doc__, "--width 4 --batch 4 --steps 3 --rounds 1 --datasets discs[size=16]", on_devices=True,
        datasets=["discs[size=40]", "c-alpha[alpha=2,size=40]"], width=16, batch=64, steps=30, rounds=5,
    )  # fmt: skip
    # Otherwise convolutions on a GPU sum in random order, and the weights of long fits diverge.
    torch.backends.cudnn.deterministic = True
    note = (
        f"UNet of {options.width} channels and 3 levels, batch {options.batch}, {options.steps} steps on "
        f"{harness.device_text(options.device)}; ms per step, medians of {options.rounds} (min to max)."
    )
    heading = ["images", "drawing", "", "in the step", "", "prefetched", "", "gain", ""]
    harness.print_table([heading, *(measure(name, options) for name in options.datasets)], options, note)


def measure(name, options):
    """Return the row of a dataset."""
    weights = {}

    def draw():
        images = trainer(name, options).images
        return torch.stack([images.batch(step).mean() for step in range(options.steps)])

    def fit(use_thread):
        fit_trainer = trainer(name, options)
        fit_trainer.images.use_thread = use_thread
        fit_trainer.fit()
        weights[use_thread] = torch.cat([value.flatten() for value in fit_trainer.network.state_dict().values()])

    calls = {"drawing": draw, "in the step": functools.partial(fit, False), "prefetched": functools.partial(fit, True)}
    times = harness.timed_in_turn(calls, options.rounds, options.device)
    if not torch.allclose(*weights.values(), rtol=0, atol=ATOL):
        sys.exit(f"error: {name}: prefetching leads to different weights")
    gains = [100 * (ratio - 1) for ratio in harness.ratios(times["in the step"], times["prefetched"])]
    paces = ([1e3 * seconds / options.steps for seconds in values] for values in times.values())
    cells = [cell for pace in paces for cell in harness.format_spread(pace, ".1f")]
    return [name, *cells, *harness.format_spread(gains, "+.1f", " %")]


def trainer(name, options):
    """Return a new trainer on a stream of images, which validates only at its end."""
    training = Training.model_validate(
        {"steps": options.steps, "batch_size": options.batch, "compile": "never", "validations": 1}
    )
    network = build_network(functools.partial(harness.unet, options.width), SEED)
    chosen = choose_acceleration(training, Choice(), 0.0, options.device)
    return Trainer(network, gahbench.create("dataset", name), training, SEED, chosen, device=options.device)


if __name__ == "__main__":
    main()
