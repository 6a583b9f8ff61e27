"""Training throughput, compared with the published trainer, and the overhead of a fit over its training steps.

Run ``python tests/bench/training_throughput.py --published DIR`` on an otherwise idle machine, where DIR is a folder
with the code of Kadkhodaie et al. 2024 (``network.py``, ``trainer.py`` and their imports). Without it, gahbench's
trainer is compared with itself in float32. ``--compile`` also times ``torch.compile``, and ``--only`` runs a single
section.

Both sides train the same network from the same weights on the same images in memory, with the published recipe: Adam,
squared error, noise levels whose square roots are uniform. The benchmark fails before timing unless the networks have
equal numbers of parameters and, with equal weights, equal outputs.
"""

import copy
import os
import statistics
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import harness
import published
import torch
from harness import SEED, time_call, unet, watch_memory
from training_overhead import print_overhead

import gahbench
from gahbench._util.resources import processor_name
from gahbench.devices.hardware import hardware
from gahbench.networks.precision import Choice
from gahbench.training.hardware import choose_acceleration, multiply_adds
from gahbench.training.recipe import Training
from gahbench.training.trainer import Trainer

TOLERANCE = 1e-4
#: Float32 with products rounded to ten bits, the default of convolutions on a GPU.
TF32 = "TF32"
#: Variants of gahbench's trainer: the setting ``compile`` of a fit, and whether to use CUDA graphs.
VARIANTS = {"ours, eager": ("never", False), "ours, compiled": ("always", False), "ours, CUDA graphs": ("always", True)}
#: Number of steps before timing, in which kernels are chosen, the optimiser is initialised and the network is compiled.
WARM_UP = 5
#: Maximum number of images in a leg, limited by the memory of a GPU.
MAX_IMAGES = 20_000
EXPLAINED = (
    "Published: train_epoch over a DataLoader. Ours: Trainer.step. Both draw batches and noise. Ratio: of each leg to "
    "the mean of the legs just before and after it of the first row of its width. Share of peak: 3 x the multiply-adds "
    "of a forward pass, over the fastest product of matrices in the row's precision (10^12 multiply-adds per second). "
    "Compile s: what compiling adds to the first steps, with nothing cached."
)
SMOKE = (
    "--widths 4 --size 8 --batch 4 --rounds 1 --leg-seconds 0.05 --peak-side 64 --overhead-width 4 --overhead-steps 3"
)


def main():
    options = harness.options(
        __doc__, SMOKE, on_devices=True, published=Path, widths=[16, 32, 64], size=40, batch=64, rounds=5,
        leg_seconds=2.0, compile=False, overhead_width=16, overhead_steps=60, peak_side=int,
        only=("throughput", "overhead"),
    )  # fmt: skip
    if options.size % 8:
        sys.exit("error: --size must be a multiple of 8: the network halves it three times")
    print(f"processor {processor_name()}; torch {torch.__version__}; {harness.device_text(options.device)}", flush=True)
    with tempfile.TemporaryDirectory() as scratch:
        if options.only != "overhead":
            # Use an empty cache, so that compile times do not depend on earlier runs.
            os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(Path(scratch) / "compiled")
            print_throughput(options)
        if options.only != "throughput":
            print_overhead(options, Path(scratch))


def default_precision(device):
    """Return the default precision of torch on a device, which the published trainer uses."""
    return TF32 if device.type == "cuda" else "float32"


class Peak:
    """The fastest measured matrix multiplications on a device, in multiply-adds per second, by precision."""

    def __init__(self, device, side):
        self.device = device
        self.side = side or (8192 if hardware(device).is_accelerator else 2048)
        self.best = dict.fromkeys(["float32", default_precision(device), "bfloat16"], 0.0)

    def measure(self, repeats=4):
        """Time a few matrix multiplications after a warm-up."""
        for name in self.best:
            left, right = torch.randn(2, self.side, self.side, device=self.device)
            if name == "bfloat16":
                left, right = left.bfloat16(), right.bfloat16()
            torch.backends.cuda.matmul.allow_tf32 = name == TF32
            torch.matmul(left, right)
            for _ in range(repeats):
                seconds, _ = time_call(lambda: torch.matmul(left, right), self.device)  # noqa: B023
                self.best[name] = max(self.best[name], self.side**3 / seconds)
            torch.backends.cuda.matmul.allow_tf32 = False


@dataclass
class Row:
    """Timings of one trainer at one width; ``run`` trains for one leg, an epoch."""

    name: str
    precision: str
    run: Callable
    memory: str = ""
    compile_seconds: str = ""
    notes: tuple[str, ...] = ()
    seconds: list[float] = field(default_factory=list)
    ratios: list[float] = field(default_factory=list)


def print_throughput(options):
    """Print the table of images per second."""
    dataset = gahbench.create("dataset", "discs", size=options.size)
    for width in options.widths if options.published is not None else ():
        verify(options.published, width, dataset)
    peak = Peak(options.device, options.peak_side)
    lines = [["channels", "trainer", "precision", "images/s", "", "ratio", "", "share of peak", "", "GiB", "compile s"]]
    reasons = []
    for width in options.widths:
        steps, rows = compare(width, dataset, peak, options)
        with torch.device("meta"):
            meta = unet(width)
        work = 3 * multiply_adds(meta.eval(), dataset.shape)
        for row in rows:
            rates = [steps * options.batch / seconds for seconds in row.seconds]
            best = peak.best[row.precision]
            share = [f"{100 * statistics.median(rates) * work / best:.1f} %", f"(of {best / 1e12:.3g})"]
            ratio = harness.format_spread(row.ratios, ".2f") if row.ratios else ["1.00", ""]
            rate = harness.format_spread(rates, ".1f")
            lines.append([str(width), row.name, row.precision, *rate, *ratio, *share, row.memory, row.compile_seconds])
            reasons += [f"Width {width}: {note}." for note in row.notes]
    if options.published is None:
        reasons.append("Without the published code, ratios are to ours in float32.")
    if options.compile and (missing := hardware(options.device).compiler_missing):
        reasons.append(f"Nothing is compiled: {missing}.")
    print("\nTraining throughput")
    sizes = f"3 levels, {options.size}x{options.size}, batch {options.batch}, medians of {options.rounds} (min to max)."
    harness.print_table(lines, options, sizes, EXPLAINED, harness.MEMORY, *dict.fromkeys(reasons))


def verify(folder, width, dataset):
    """Exit with an error unless the two networks are equivalent."""
    theirs, ours = published.Fit(folder, width, SEED).network, unet(width)
    counts = [sum(parameter.numel() for parameter in network.parameters()) for network in (theirs, ours)]
    if counts[0] != counts[1]:
        sys.exit(f"error: width {width}: {counts[0]} parameters published, {counts[1]} in ours")
    clean = dataset.images("train", 4)
    noisy = clean + 0.3 * torch.randn(clean.shape, generator=torch.Generator().manual_seed(SEED))
    try:
        errors = published.disagreement(theirs, ours, noisy)
    except ValueError as error:
        sys.exit(f"error: width {width}: the networks do not correspond: {error}")
    if not max(errors.values()) <= TOLERANCE:
        sys.exit(f"error: width {width}: the networks differ, by {errors} of the largest residual")
    differences = ", ".join(f"{value:.1e} ({mode})" for mode, value in errors.items())
    print(f"width {width}: {counts[0]} parameters in both; with equal weights the outputs differ by {differences}")


def compare(width, dataset, peak, options):
    """Time the trainers in turn, with the first row between all others; return the steps per leg and the rows.

    The first row is the published trainer, or else gahbench's trainer in float32.
    """
    batch, device = options.batch, options.device
    initial = unet(width)
    if options.published is None:
        trial = prepare(initial, dataset, "ours, eager", "float32", 2, options)
        pace = time_call(trial.run, device)[0] / 2
    else:
        memory = watch_memory(device)
        theirs = published.Fit(options.published, width, SEED, device)
        published.copy_weights(theirs.network, initial)
        warm = dataset.images("train", batch)
        pace = min(time_call(lambda: theirs.epoch(warm, batch), device)[0] for _ in range(WARM_UP))
        peak_memory = memory()
    steps = max(2, min(round(options.leg_seconds / pace), MAX_IMAGES // batch))
    precisions = ["float32", "bfloat16"] if hardware(device).has_bfloat16 else ["float32"]
    kinds = [(name, precision) for name in variants(options) for precision in precisions]
    rows = [prepare(initial, dataset, *kind, steps, options) for kind in kinds]
    if options.published is not None:
        images = dataset.images("train", steps * batch)

        def epoch():
            torch.backends.cudnn.allow_tf32 = True
            theirs.epoch(images, batch)
            hardware(device).use_float32()

        rows.insert(0, Row("published", default_precision(device), epoch, peak_memory))
    first = rows[0]
    first.seconds.append(time_call(first.run, device)[0])
    for number in range(options.rounds):
        peak.measure()
        for row in rows[1:]:
            row.seconds.append(time_call(row.run, device)[0])
            first.seconds.append(time_call(first.run, device)[0])
            row.ratios.append(sum(first.seconds[-2:]) / 2 / row.seconds[-1])
        ratios = ", ".join(f"{row.name} {row.precision} {row.ratios[-1]:.2f}" for row in rows[1:])
        print(f"width {width}, round {number + 1} of {options.rounds}: ratios {ratios}", file=sys.stderr, flush=True)
    return steps, rows


def variants(options):
    """Return the names of the variants of gahbench's trainer to time."""
    device_hardware = hardware(options.device)
    if not options.compile or device_hardware.compiler_missing:
        return ["ours, eager"]
    return [name for name, (_, graphs) in VARIANTS.items() if device_hardware.is_accelerator or not graphs]


def prepare(initial, dataset, name, precision, steps, options):
    """Return gahbench's trainer with the weights of ``initial``, after a warm-up; a leg is a reshuffled epoch."""
    memory = watch_memory(options.device)
    compiling, graphs = VARIANTS[name]
    network, count = copy.deepcopy(initial), steps * options.batch
    recipe = {"recipe": "paper", "validations": 1, "precision": precision, "compile": compiling}
    sizes = {"batch_size": options.batch, "train_images": count, "epoch_images": count}
    training = Training.model_validate({**recipe, **sizes, "steps": WARM_UP + (options.rounds + 1) * steps})
    chosen = replace(choose_acceleration(training, Choice(), 0.0, options.device), graphs=graphs)
    trainer = Trainer(network, dataset, training, SEED, chosen, device=options.device)
    network.train()
    position = 0

    def leg(length=steps):
        nonlocal position
        loss = torch.zeros(())
        for _ in range(length):
            loss = trainer.step(position, position / (trainer.steps or 1))
            position += 1
        if not loss.isfinite():
            sys.exit(f"error: {name} {trainer.acceleration.precision}: the loss is {loss.item()}")

    warm_up = [time_call(lambda: leg(1), options.device)[0] for _ in range(WARM_UP)]
    used = trainer.acceleration
    if (used.compiled, used.graphs) != (chosen.compiled, chosen.graphs):
        name += ", but not compiled" if not used.compiled else ", but without graphs"
    added = f"{sum(warm_up) - WARM_UP * min(warm_up):.1f}" if used.compiled else ""
    return Row(name, used.precision, leg, memory(), added, used.notes)


if __name__ == "__main__":
    main()
