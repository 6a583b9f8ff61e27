"""Training throughput against the published trainer, and what the runner adds to a training step.

Not a test: run it as ``python tests/bench/training_throughput.py --published DIR`` on an otherwise idle machine, DIR
being a folder with the code of Kadkhodaie et al. 2024 (``network.py``, ``trainer.py`` and what they import). Without
it, our trainer is timed alone, against itself in float32.

Both sides train the same network from the same weights on the same images in memory, with the published recipe: Adam,
squared error, noise levels whose square roots are uniform. It ends with an error, before anything is timed, unless the
networks have equally many parameters and, with equal weights, equal outputs.
"""

from __future__ import annotations

import argparse
import copy
import os
import statistics
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import smoke
import torch
from published_trainer import Published, copy_weights, disagreement
from torch import nn
from training_common import (
    MEMORY,
    SEED,
    add_options,
    device_text,
    memory_watched,
    print_table,
    set_up,
    spread,
    timed,
    unet,
)
from training_overhead import print_overhead

import gahbench
from gahbench._util.resources import processor_name
from gahbench.contracts.datasets import Dataset
from gahbench.devices.hardware import hardware
from gahbench.networks.precision import Choice
from gahbench.training.hardware import choose, multiply_adds
from gahbench.training.recipe import Training
from gahbench.training.trainer import Trainer

TOLERANCE = 1e-4
#: Float32 whose products round to ten bits, as convolutions on a GPU do unless told otherwise.
TF32 = "TF32"
#: What a row of ours asks for: the setting ``compile`` of a fit, and whether CUDA graphs are used.
WAYS = {"ours, eager": ("never", False), "ours, compiled": ("always", False), "ours, CUDA graphs": ("always", True)}
#: Steps before anything is timed: kernels are chosen, the optimiser makes its state, the compiler compiles.
WARM_UP = 5
#: Images of a leg at most: a GPU would need more memory for them than there is.
MOST_IMAGES = 20_000
EXPLAINED = (
    "Published: train_epoch over a DataLoader. Ours: Trainer.step. Both draw batches and noise. Ratio: of each leg to "
    "the mean of the legs just before and after it of the first row of its width. Share of peak: 3 x the multiply-adds "
    "of a forward pass, over the fastest product of matrices in the row's precision (10^12 multiply-adds a second). "
    "Compile s: what compiling adds to the first steps, with nothing cached."
)
SMOKE = (
    "--widths 4 --size 8 --batch 4 --rounds 1 --leg-seconds 0.05 --peak-side 64 --overhead-width 4 --overhead-steps 3 "
    "--threads 1"
)


def default_precision(device: torch.device) -> str:
    """Return the precision of code that chooses none, which the published trainer is."""
    return TF32 if device.type == "cuda" else "float32"


class Peak:
    """The fastest matrix multiplications seen on a device, in multiply-adds a second by precision."""

    def __init__(self, device: torch.device, side: int | None) -> None:
        self.device = device
        self.side = side or (8192 if hardware(device).is_accelerator else 2048)
        self.best = dict.fromkeys(dict.fromkeys(["float32", default_precision(device), "bfloat16"]), 0.0)

    def measure(self, repeats: int = 4) -> None:
        """Multiply a few times; the first is not timed."""
        for name in self.best:
            left, right = torch.randn(2, self.side, self.side, device=self.device)
            if name == "bfloat16":
                left, right = left.bfloat16(), right.bfloat16()
            torch.backends.cuda.matmul.allow_tf32 = name == TF32
            torch.matmul(left, right)
            for _ in range(repeats):
                seconds = timed(lambda: torch.matmul(left, right), self.device)  # noqa: B023
                self.best[name] = max(self.best[name], self.side**3 / seconds)
            torch.backends.cuda.matmul.allow_tf32 = False


@dataclass
class Row:
    """The timings of one trainer at one width.

    Parameters
    ----------
    name, precision
        What is trained how.
    run
        Trains for one leg: once through the images.
    memory
        What it needs at most, in GiB.
    compile_seconds
        What compiling added to the warm-up; empty if it was not compiled.
    notes
        Why something that was asked for is not done.
    """

    name: str
    precision: str
    run: Callable[[], object]
    memory: str = ""
    compile_seconds: str = ""
    notes: tuple[str, ...] = ()
    seconds: list[float] = field(default_factory=list)
    ratios: list[float] = field(default_factory=list)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = _parser()
    options = smoke.parse(parser, SMOKE, arguments)
    if options.size % 8:
        parser.error("--size must be a multiple of 8: the network halves it three times")
    set_up(options)
    print(f"processor {processor_name()}; torch {torch.__version__}; {device_text(options.device)}", flush=True)
    with tempfile.TemporaryDirectory() as scratch:
        if options.only != "overhead":
            # An empty cache, or the compile seconds would depend on what ran before.
            os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(Path(scratch) / "compiled")
            print_throughput(options)
        if options.only != "throughput":
            print_overhead(options, Path(scratch))


def print_throughput(options: argparse.Namespace) -> None:
    """Print the table of images a second."""
    published = None if options.published is None else Published(options.published)
    dataset = gahbench.create("dataset", "discs", size=options.size)
    for width in options.widths if published is not None else ():
        verify(published, width, dataset)
    peak = Peak(options.device, options.peak_side)
    tables = [(width, *compare(published, width, dataset, peak, options)) for width in options.widths]

    print("\nTraining throughput")
    lines = [["channels", "trainer", "precision", "images/s", "", "ratio", "", "share of peak", "", "GiB", "compile s"]]
    for width, steps, rows in tables:
        with torch.device("meta"):
            meta = unet(width)
        work = 3 * multiply_adds(meta.eval(), dataset.shape)
        for row in rows:
            rates = [steps * options.batch / seconds for seconds in row.seconds]
            rate = statistics.median(rates)
            lines.append(
                [
                    str(width),
                    row.name,
                    row.precision,
                    f"{rate:.1f}",
                    spread(rates, ".1f"),
                    f"{statistics.median(row.ratios):.2f}" if row.ratios else "1.00",
                    spread(row.ratios, ".2f") if row.ratios else "",
                    f"{100 * rate * work / peak.best[row.precision]:.1f} %",
                    f"(of {peak.best[row.precision] / 1e12:.3g})",
                    row.memory,
                    row.compile_seconds,
                ]
            )
    reasons = [f"Width {width}: {note}." for width, _, rows in tables for row in rows for note in row.notes]
    if published is None:
        reasons.append("Without the published code, ratios are to ours in float32.")
    if options.compile and (missing := hardware(options.device).compiler_missing):
        reasons.append(f"Nothing is compiled: {missing}.")
    sizes = f"3 levels, {options.size}x{options.size}, batch {options.batch}, medians of {options.rounds} (min to max)."
    print_table(lines, options, sizes, EXPLAINED, MEMORY, *dict.fromkeys(reasons))


def verify(published: Published, width: int, dataset: Dataset) -> None:
    """Make sure that the two networks are the same.

    Raises
    ------
    SystemExit
        If they are not.
    """
    theirs, ours = published.fit(width, dataset.shape[0], SEED).network, unet(width)
    counts = [sum(parameter.numel() for parameter in network.parameters()) for network in (theirs, ours)]
    if counts[0] != counts[1]:
        raise SystemExit(f"error: width {width}: {counts[0]} parameters published, {counts[1]} in ours")
    clean = dataset.images("train", 4)
    noisy = clean + 0.3 * torch.randn(clean.shape, generator=torch.Generator().manual_seed(SEED))
    try:
        apart = disagreement(theirs, ours, noisy)
    except ValueError as error:
        raise SystemExit(f"error: width {width}: the networks do not correspond: {error}") from error
    if not max(apart.values()) <= TOLERANCE:
        raise SystemExit(f"error: width {width}: the networks disagree, by {apart} of the largest residual")
    print(
        f"width {width}: {counts[0]} parameters in both; with equal weights the outputs differ by "
        + ", ".join(f"{value:.1e} ({mode})" for mode, value in apart.items()),
        flush=True,
    )


def compare(
    published: Published | None, width: int, dataset: Dataset, peak: Peak, options: argparse.Namespace
) -> tuple[int, list[Row]]:
    """Time the trainers in turn: published, ours, published, ours, ..., published.

    Returns
    -------
    steps, rows
        Optimiser steps in a leg, and the published row, or without one ours in float32, followed by the others.
    """
    batch, device = options.batch, options.device
    initial = unet(width)
    if published is None:
        trial = prepare(initial, dataset, "ours, eager", "float32", 2, options)
        pace = timed(trial.run, device) / 2
    else:
        memory = memory_watched(device)
        theirs = published.fit(width, dataset.shape[0], SEED, device)
        copy_weights(theirs.network, initial)
        warm = dataset.images("train", batch)
        pace = min(timed(lambda: theirs.epoch(warm, batch), device) for _ in range(WARM_UP))
        needed = memory()
    steps = max(2, min(round(options.leg_seconds / pace), MOST_IMAGES // batch))
    precisions = ["float32", "bfloat16"] if hardware(device).has_bfloat16 else ["float32"]
    kinds = [(name, precision) for name in ways(options) for precision in precisions]
    rows = [prepare(initial, dataset, *kind, steps, options) for kind in kinds]
    if published is not None:
        images = dataset.images("train", steps * batch)

        def epoch() -> None:
            torch.backends.cudnn.allow_tf32 = True
            theirs.epoch(images, batch)
            hardware(device).use_float32()

        rows.insert(0, Row("published", default_precision(device), epoch, needed))
    first = rows[0]
    before = timed(first.run, device)
    first.seconds.append(before)
    for number in range(options.rounds):
        peak.measure()
        for row in rows[1:]:
            seconds, after = timed(row.run, device), timed(first.run, device)
            row.seconds.append(seconds)
            first.seconds.append(after)
            row.ratios.append((before + after) / 2 / seconds)
            before = after
        ratios = ", ".join(f"{row.name} {row.precision} {row.ratios[-1]:.2f}" for row in rows[1:])
        print(f"width {width}, round {number + 1} of {options.rounds}: ratios {ratios}", file=sys.stderr, flush=True)
    return steps, rows


def ways(options: argparse.Namespace) -> list[str]:
    """Return how our trainer is timed."""
    there = hardware(options.device)
    if not options.compile or there.compiler_missing:
        return ["ours, eager"]
    return [name for name, (_, graphs) in WAYS.items() if there.has_graphs or not graphs]


def prepare(
    initial: nn.Module, dataset: Dataset, name: str, precision: str, steps: int, options: argparse.Namespace
) -> Row:
    """Return our trainer, warmed up, from the weights of ``initial``; a leg is an epoch, shuffled anew."""
    memory = memory_watched(options.device)
    compiling, graphs = WAYS[name]
    network = copy.deepcopy(initial)
    count = steps * options.batch
    training = Training.model_validate(
        {
            "recipe": "paper",
            "steps": WARM_UP + (options.rounds + 1) * steps,
            "batch_size": options.batch,
            "train_images": count,
            "epoch_images": count,
            "precision": precision,
            "compile": compiling,
            "validations": 1,
        }
    )
    chosen = replace(choose(training, Choice(), 0.0, options.device), graphs=graphs)
    trainer = Trainer(network, dataset, training, SEED, chosen, device=options.device)
    network.train()
    position = 0

    def leg(length: int = steps) -> None:
        nonlocal position
        loss = torch.zeros(())
        for _ in range(length):
            loss = trainer.step(position, position / (trainer.steps or 1))
            position += 1
        if not loss.isfinite():
            raise SystemExit(f"error: {name} {trainer.acceleration.precision}: the loss is {loss.item()}")

    warm_up = [timed(lambda: leg(1), options.device) for _ in range(WARM_UP)]
    done = trainer.acceleration
    if (done.compiled, done.graphs) != (chosen.compiled, chosen.graphs):
        name += ", but not compiled" if not done.compiled else ", but without graphs"
    added = f"{sum(warm_up) - WARM_UP * min(warm_up):.1f}" if done.compiled else ""
    return Row(name, done.precision, leg, memory(), added, done.notes)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description="Training throughput against the published trainer, and the overhead of the runner.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--published", type=Path, metavar="DIR", help="folder with the published .py files")
    add_options(parser)
    parser.add_argument("--widths", type=_positive, nargs="+", default=[16, 32, 64], help="channels, finest level")
    parser.add_argument("--size", type=_positive, default=40, help="side of the images, a multiple of 8")
    parser.add_argument("--batch", type=_positive, default=64, help="images in a batch")
    parser.add_argument("--rounds", type=_positive, default=5, help="how often each trainer is timed")
    parser.add_argument("--leg-seconds", type=float, default=2.0, help="about how long a published leg takes")
    parser.add_argument("--compile", action="store_true", help="time our trainer with torch.compile too")
    parser.add_argument("--overhead-width", type=_positive, default=16, help="width for the runner overhead")
    parser.add_argument("--overhead-steps", type=_positive, default=60, help="steps of a leg of the runner overhead")
    parser.add_argument("--peak-side", type=_positive, help="of the matrices that are multiplied for the peak")
    parser.add_argument("--only", choices=("throughput", "overhead"), help="leave out the other section")
    return parser


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise ValueError(text)
    return value


if __name__ == "__main__":
    main()
