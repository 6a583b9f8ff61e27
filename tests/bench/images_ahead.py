"""Whether a thread that makes training images ahead pays: fits with and without it, in turn.

Not a test: run it as ``python tests/bench/images_ahead.py`` on an otherwise idle machine. On a CPU, the thread computes
on the cores that the fit computes on; a GPU leaves them idle. Both fits must end with the same weights, or it ends with
an error. Drawing alone is timed too: it is what the thread can gain at most.
"""

from __future__ import annotations

import argparse
import functools
import statistics
import sys
from collections.abc import Sequence

import smoke
import torch
from torch import Tensor
from training_common import SEED, add_options, device_text, print_table, set_up, spread, timed, unet

import gahbench
from gahbench.networks.initialisation import build_network
from gahbench.networks.precision import Choice
from gahbench.training.hardware import choose
from gahbench.training.recipe import Training
from gahbench.training.trainer import Trainer

#: Weights of two fits may differ by this much. Other images would move them a hundred times as far.
ATOL = 1e-3


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    add_options(parser)
    parser.add_argument("--datasets", nargs="+", default=["discs[size=40]", "c-alpha[alpha=2,size=40]"])
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--steps", type=int, default=30, help="of a fit")
    parser.add_argument("--rounds", type=int, default=5)
    options = smoke.parse(
        parser, "--width 4 --batch 4 --steps 3 --rounds 1 --datasets discs[size=16] --threads 1", arguments
    )
    set_up(options)
    # Otherwise the convolutions of a GPU add in another order every time, and the weights of long fits part.
    torch.backends.cudnn.deterministic = True
    note = (
        f"UNet of {options.width} channels and 3 levels, batch {options.batch}, {options.steps} steps on "
        f"{device_text(options.device)}; ms a step, medians of {options.rounds} (min to max)."
    )
    lines = [["images", "drawing", "", "in the step", "", "ahead", "", "ahead is faster by", ""]]
    lines += [measured(name, options) for name in options.datasets]
    print_table(lines, options, note)


def measured(name: str, options: argparse.Namespace) -> list[str]:
    """Return the row of a dataset."""
    times: dict[str, list[float]] = {"drawing": [], "in the step": [], "ahead": []}
    for number in range(options.rounds + 1):
        weights = []
        drawing = timed(functools.partial(_draw, trainer(name, options), options.steps), options.device)
        seconds = {"drawing": drawing}
        # Whichever comes second does so in every other round.
        for threaded in (True, False) if number % 2 else (False, True):
            fit = trainer(name, options)
            fit.images.threaded = threaded
            seconds["ahead" if threaded else "in the step"] = timed(fit.fit, options.device)
            weights.append(torch.cat([value.flatten() for value in fit.network.state_dict().values()]))
        if not torch.allclose(*weights, rtol=0, atol=ATOL):
            sys.exit(f"error: {name}: images made ahead lead to other weights")
        # The first round is a warm-up.
        for place in times if number else ():
            times[place].append(1e3 * seconds[place] / options.steps)
    ratios = [100 * (plain / ahead - 1) for plain, ahead in zip(times["in the step"], times["ahead"], strict=True)]
    cells = [cell for each in times.values() for cell in (f"{statistics.median(each):.1f}", spread(each, ".1f"))]
    return [name, *cells, f"{statistics.median(ratios):+.1f} %", spread(ratios, "+.1f")]


def trainer(name: str, options: argparse.Namespace) -> Trainer:
    """Return a new trainer on a stream of images, validating at its end only."""
    training = Training.model_validate(
        {"steps": options.steps, "batch_size": options.batch, "compile": "never", "validations": 1}
    )
    network = build_network(functools.partial(unet, options.width), SEED)
    chosen = choose(training, Choice(), 0.0, options.device)
    dataset = gahbench.create("dataset", name)
    return Trainer(network, dataset, training, SEED, chosen, device=options.device)


def _draw(fit: Trainer, steps: int) -> Tensor:
    return torch.stack([fit.images.batch(step).mean() for step in range(steps)])


if __name__ == "__main__":
    main()
