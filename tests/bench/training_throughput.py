"""Training throughput, compared with the published trainer.

Run ``python tests/bench/training_throughput.py --published DIR`` on an otherwise idle machine, where DIR is a folder
with the code of Kadkhodaie et al. 2024 (``network.py``, ``trainer.py`` and their imports). Without it, gahbench's
trainer is compared with itself in float32. ``--compile`` also times compiled steps, on a GPU with CUDA graphs.

Both sides train the same network from the same weights on the same images in memory, with the published recipe: Adam,
squared error, noise levels whose square roots are uniform. The benchmark fails before timing unless the networks have
equal numbers of parameters and, with equal weights, equal outputs.
"""

import copy
import sys
from pathlib import Path

import harness
import published
import torch
from harness import SEED, time_call, unet

import gahbench
from gahbench.devices.hardware import hardware
from gahbench.training.hardware import Acceleration
from gahbench.training.recipe import Training
from gahbench.training.trainer import Trainer

TOLERANCE = 1e-4
#: Number of steps before timing, in which kernels are chosen, the optimiser is initialised and the network is compiled.
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
        widths=[16, 32, 64], size=40, batch=64, rounds=5, leg_seconds=2.0, compile=False,
    )  # fmt: skip
    if options.size % 8:
        sys.exit("error: --size must be a multiple of 8: the network halves it three times")
    dataset = gahbench.create("dataset", "discs", size=options.size)
    for width in options.widths if options.published is not None else ():
        verify(options.published, width, dataset)
    lines = [["channels", "trainer", "images/s", "", "ratio", "", "GiB"]]
    for width in options.widths:
        steps, legs = compare(width, dataset, options)
        for name, (seconds, ratios, memory) in legs.items():
            rate = harness.format_spread([steps * options.batch / value for value in seconds], ".1f")
            ratio = harness.format_spread(ratios, ".2f") if ratios else ["", ""]
            lines.append([str(width), name, *rate, *ratio, memory])
    setting = (
        f"3 levels, {options.size}x{options.size}, batch {options.batch}, on {harness.device_text(options.device)}"
    )
    harness.print_table(lines, f"{setting}, medians of {options.rounds} (min to max).", EXPLAINED, harness.MEMORY)


def verify(folder, width, dataset):
    """Exit with an error unless the two networks are equivalent."""
    theirs, ours = published.Fit(folder, width, SEED).network, unet(width)
    counts = [sum(parameter.numel() for parameter in network.parameters()) for network in (theirs, ours)]
    if counts[0] != counts[1]:
        sys.exit(f"error: width {width}: {counts[0]} parameters published, {counts[1]} in ours")
    clean = dataset.images("train", 4)
    noisy = clean + 0.3 * torch.randn(clean.shape, generator=torch.Generator().manual_seed(SEED))
    errors = published.disagreement(theirs, ours, noisy)
    if not max(errors.values()) <= TOLERANCE:
        sys.exit(f"error: width {width}: the networks differ, by {errors} of the largest residual")
    print(f"width {width}: {counts[0]} parameters in both; with equal weights the outputs differ by {errors}")


def compare(width, dataset, options):
    """Time the trainers in turn, with the first between all others; return the steps per leg, and the trainers' times.

    The first is the published trainer, or else gahbench's trainer in float32. The times are the seconds of each leg,
    the ratios to the first, and the peak memory.
    """
    device, initial = options.device, unet(width)
    pace = time_call(trainer_of(initial, dataset, "float32", "never", 2, options)[0], device)[0] / 2
    steps = max(2, min(round(options.leg_seconds / pace), MAX_IMAGES // options.batch))
    legs, memories = {}, {}
    if options.published is not None:
        memory = harness.watch_memory(device)
        theirs = published.Fit(options.published, width, SEED, device)
        published.copy_weights(theirs.network, initial)
        images = dataset.images("train", steps * options.batch)

        def epoch():
            # The published trainer uses torch's defaults, which are TF32 for convolutions on a GPU.
            torch.backends.cudnn.allow_tf32 = True
            theirs.epoch(images, options.batch)
            hardware(device).use_float32()

        epoch()
        legs["published"], memories["published"] = epoch, memory()
    for compiling in ("never", "always") if options.compile else ("never",):
        for precision in ("float32", "bfloat16") if hardware(device).has_bfloat16 else ("float32",):
            name = f"ours, {precision}{', compiled' if compiling == 'always' else ''}"
            legs[name], memories[name] = trainer_of(initial, dataset, precision, compiling, steps, options)
    first, *others = legs
    seconds, ratios = {name: [] for name in legs}, {name: [] for name in legs}
    seconds[first].append(time_call(legs[first], device)[0])
    for _ in range(options.rounds):
        for name in others:
            seconds[name].append(time_call(legs[name], device)[0])
            seconds[first].append(time_call(legs[first], device)[0])
            ratios[name].append(sum(seconds[first][-2:]) / 2 / seconds[name][-1])
    return steps, {name: (seconds[name], ratios[name], memories[name]) for name in legs}


def trainer_of(initial, dataset, precision, compiling, steps, options):
    """Return a function that trains gahbench's network for some steps, after a warm-up, and the peak memory."""
    memory, count = harness.watch_memory(options.device), steps * options.batch
    training = Training.model_validate(
        {"recipe": "paper", "validations": 1, "precision": precision, "compile": compiling}
        | {"batch_size": options.batch, "train_images": count, "epoch_images": count}
        | {"steps": WARM_UP + (2 + options.rounds * 4) * steps}
    )
    if compiling == "always" and hardware(options.device).compiler_missing:
        sys.exit(f"error: nothing is compiled: {hardware(options.device).compiler_missing}")
    network, chosen = copy.deepcopy(initial), Acceleration(precision == "bfloat16", compiling == "always")
    trainer = Trainer(network, dataset, training, SEED, chosen, device=options.device)
    network.train()
    position = 0

    def leg(length=steps):
        nonlocal position
        for _ in range(length):
            loss = trainer.step(position, position / (trainer.steps or 1))
            position += 1
        if not loss.isfinite():
            sys.exit(f"error: {precision}: the loss is {loss.item()}")

    leg(WARM_UP)
    return leg, memory()


if __name__ == "__main__":
    main()
