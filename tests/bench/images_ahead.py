"""Whether a thread that makes training images ahead pays: fits with and without it, in turn.

Not a test: run it as ``python tests/bench/images_ahead.py`` on an otherwise idle machine. On a CPU, the thread computes
on the cores that the fit computes on; a GPU leaves them idle. Both fits must end with the same weights, or it ends with
an error. Drawing alone is timed too: it is what the thread can gain at most.
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

#: Weights of two fits may differ by this much. Other images would move them a hundred times as far.
ATOL = 1e-3


def main():
    options = harness.options(
        __doc__, "--width 4 --batch 4 --steps 3 --rounds 1 --datasets discs[size=16]", on_devices=True,
        datasets=["discs[size=40]", "c-alpha[alpha=2,size=40]"], width=16, batch=64, steps=30, rounds=5,
    )  # fmt: skip
    # Otherwise the convolutions of a GPU add in another order every time, and the weights of long fits part.
    torch.backends.cudnn.deterministic = True
    note = (
        f"UNet of {options.width} channels and 3 levels, batch {options.batch}, {options.steps} steps on "
        f"{harness.device_text(options.device)}; ms a step, medians of {options.rounds} (min to max)."
    )
    heading = ["images", "drawing", "", "in the step", "", "ahead", "", "ahead is faster by", ""]
    harness.print_table([heading, *(measure(name, options) for name in options.datasets)], options, note)


def measure(name, options):
    """Return the row of a dataset."""
    weights = {}

    def draw():
        images = trainer(name, options).images
        return torch.stack([images.batch(step).mean() for step in range(options.steps)])

    def fit(is_threaded):
        one = trainer(name, options)
        one.images.use_thread = is_threaded
        one.fit()
        weights[is_threaded] = torch.cat([value.flatten() for value in one.network.state_dict().values()])

    calls = {"drawing": draw, "in the step": functools.partial(fit, False), "ahead": functools.partial(fit, True)}
    times = harness.timed_in_turn(calls, options.rounds, options.device)
    if not torch.allclose(*weights.values(), rtol=0, atol=ATOL):
        sys.exit(f"error: {name}: images made ahead lead to other weights")
    gains = [100 * (ratio - 1) for ratio in harness.ratios(times["in the step"], times["ahead"])]
    paces = ([1e3 * one / options.steps for one in each] for each in times.values())
    cells = [cell for pace in paces for cell in harness.with_spread(pace, ".1f")]
    return [name, *cells, *harness.with_spread(gains, "+.1f", " %")]


def trainer(name, options):
    """Return a new trainer on a stream of images, validating at its end only."""
    training = Training.model_validate(
        {"steps": options.steps, "batch_size": options.batch, "compile": "never", "validations": 1}
    )
    network = build_network(functools.partial(harness.unet, options.width), SEED)
    chosen = choose_acceleration(training, Choice(), 0.0, options.device)
    return Trainer(network, gahbench.create("dataset", name), training, SEED, chosen, device=options.device)


if __name__ == "__main__":
    main()
