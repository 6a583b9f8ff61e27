"""Training throughput, compared with the published trainer.

Run ``python tests/bench/training_throughput.py --published DIR`` on an otherwise idle machine, where DIR is a folder
with the code of Kadkhodaie et al. 2024 (``network.py``, ``trainer.py`` and their imports). Without it, gahbench's
trainer is compared with itself in float32.

Both sides train the same network on the same images in memory, with the published recipe: Adam, squared error, noise
levels whose square roots are uniform. ``tests/plugins/references/test_paper_weights.py`` tests that the networks are
equal.
"""

import sys
from pathlib import Path

import harness
import published
import torch
from harness import SEED, time_call

import gahbench
from gahbench.devices.hardware import hardware
from gahbench.training.hardware import Acceleration
from gahbench.training.recipe import Training
from gahbench.training.trainer import Trainer

LEVELS = 3
#: Number of steps before timing, in which kernels are chosen and the optimiser is initialised.
WARM_UP = 5
#: Maximum number of images in a leg, limited by the memory of a GPU.
MAX_IMAGES = 20_000
EXPLAINED = (
    "Published: train_epoch over a DataLoader. Ours: Trainer.step. Both draw batches and noise. Ratio: of each leg to "
    "the mean of the legs just before and after it of the first row of its width."
)


def main():
    options = harness.options(
        __doc__, "--widths 4 --size 8 --batch 4 --rounds 1 --leg-seconds 0.05", on_devices=True, published=Path,
        widths=[16, 32, 64], size=40, batch=64, rounds=5, leg_seconds=2.0,
    )  # fmt: skip
    dataset = gahbench.create("dataset", "discs", size=options.size)
    lines = [["channels", "trainer", "images/s", "", "ratio", ""]]
    for width in options.widths:
        steps, legs = compare(width, dataset, options)
        for name, (seconds, ratios) in legs.items():
            rate = harness.format_spread([steps * options.batch / value for value in seconds], ".1f")
            ratio = harness.format_spread(ratios, ".2f") if ratios else ["", ""]
            lines.append([str(width), name, *rate, *ratio])
    size = f"{options.size}x{options.size}"
    setting = f"{LEVELS} levels, {size}, batch {options.batch}, on {harness.device_text(options.device)}"
    harness.print_table(lines, f"{setting}, medians of {options.rounds} (min to max).", EXPLAINED)


def compare(width, dataset, options):
    """Time the trainers in turn, with the first between all others; return the steps per leg, and the trainers' times.

    The first is the published trainer, or else gahbench's trainer in float32. The times are the seconds of each leg,
    and the ratios to the first.
    """
    device, legs = options.device, {}
    pace = time_call(trainer_of(width, dataset, "float32", 2, options), device)[0] / 2
    steps = max(2, min(round(options.leg_seconds / pace), MAX_IMAGES // options.batch))
    if options.published is not None:
        theirs = published.Fit(options.published, width, SEED, device, levels=LEVELS)
        images = dataset.images("train", steps * options.batch)

        def epoch():
            # The published trainer uses torch's defaults, which are TF32 for convolutions on a GPU.
            torch.backends.cudnn.allow_tf32 = True
            theirs.epoch(images, options.batch)
            hardware(device).use_float32()

        epoch()
        legs["published"] = epoch
    for precision in ("float32", "bfloat16") if hardware(device).has_bfloat16 else ("float32",):
        legs[f"ours, {precision}"] = trainer_of(width, dataset, precision, steps, options)
    first, *others = legs
    seconds, ratios = {name: [] for name in legs}, {name: [] for name in legs}
    seconds[first].append(time_call(legs[first], device)[0])
    for _ in range(options.rounds):
        for name in others:
            seconds[name].append(time_call(legs[name], device)[0])
            seconds[first].append(time_call(legs[first], device)[0])
            ratios[name].append(sum(seconds[first][-2:]) / 2 / seconds[name][-1])
    return steps, {name: (seconds[name], ratios[name]) for name in legs}


def trainer_of(width, dataset, precision, steps, options):
    """Return a function that trains gahbench's network for some steps, after a warm-up."""
    count = steps * options.batch
    training = Training.model_validate(
        {"recipe": "paper", "validations": 1, "precision": precision, "compile": "never", "batch_size": options.batch}
        | {"train_images": count, "epoch_images": count, "steps": WARM_UP + (2 + options.rounds * 4) * steps}
    )
    network = gahbench.create("architecture", "unet", channels=1, width=width, levels=LEVELS)
    chosen = Acceleration(bfloat16=precision == "bfloat16", compiled=False)
    trainer = Trainer(network, dataset, training, SEED, chosen, device=options.device)
    network.train()
    position = 0

    def leg(length=steps):
        nonlocal position
        for _ in range(length):
            loss = trainer.step(position, position / trainer.steps)
            position += 1
        if not loss.isfinite():
            sys.exit(f"error: {precision}: the loss is {loss.item()}")

    leg(WARM_UP)
    return leg


if __name__ == "__main__":
    main()
