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
from dataclasses import dataclass, field
from pathlib import Path

import smoke
import torch
from published_trainer import Published, copy_weights, disagreement
from torch import nn
from training_common import SEED, aligned, device_text, spread, timed, unet
from training_overhead import print_overhead

import gahbench
from gahbench._util.resources import cpu_count
from gahbench.contracts.datasets import Dataset
from gahbench.devices.hardware import hardware
from gahbench.networks.precision import Choice
from gahbench.runs.environment import environment
from gahbench.training.hardware import choose, multiply_adds
from gahbench.training.recipe import Training
from gahbench.training.trainer import Trainer

TOLERANCE = 1e-4
#: Steps before anything is timed: kernels are chosen, the optimiser makes its state, the compiler compiles.
WARM_UP = 5
#: Images of a leg at most: a GPU would need more memory for them than there is.
MOST_IMAGES = 20_000
SMOKE = (
    "--widths 4 --size 8 --batch 4 --rounds 1 --leg-seconds 0.05 --peak-side 64 --overhead-width 4 --overhead-steps 3 "
    "--threads 1"
)


class Peak:
    """The fastest matrix multiplications seen on a device, in multiply-adds a second by precision."""

    def __init__(self, device: torch.device, side: int | None) -> None:
        self.device = device
        self.side = side or (8192 if device.type == "cuda" else 2048)
        self.best = {"float32": 0.0, "bfloat16": 0.0}

    def measure(self, repeats: int = 4) -> None:
        """Multiply a few times; the first is not timed."""
        for name in self.best:
            left, right = torch.randn(2, self.side, self.side, device=self.device).to(getattr(torch, name))
            torch.matmul(left, right)
            for _ in range(repeats):
                seconds = timed(lambda: torch.matmul(left, right), self.device)  # noqa: B023
                self.best[name] = max(self.best[name], self.side**3 / seconds)


@dataclass
class Row:
    """The timings of one trainer at one width.

    Parameters
    ----------
    name, precision
        What is trained how.
    run
        Trains for one leg: once through the images.
    compile_seconds
        What compiling added to the warm-up; ``None`` if it was not compiled.
    """

    name: str
    precision: str
    run: Callable[[], object]
    compile_seconds: float | None = None
    seconds: list[float] = field(default_factory=list)
    ratios: list[float] = field(default_factory=list)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = _parser()
    options = smoke.parse(parser, SMOKE, arguments)
    if options.size % 8:
        parser.error("--size must be a multiple of 8: the network halves it three times")
    torch.set_num_threads(options.threads or cpu_count())
    processor = environment()["processor"]
    print(f"processor {processor}; torch {torch.__version__}; {device_text(options.device)}", flush=True)
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
    shape = f"3 levels, {options.size}x{options.size}, batch {options.batch}"
    print(f"{shape}, {options.rounds} rounds; medians (min to max).")
    print("Ratio: each leg against the mean of the legs of the width's first row just before and after it.")
    print("Published: train_epoch over a DataLoader. Ours: Trainer.step. Both with drawing batches and noise.")
    print(
        f"Matrix-multiply peak, {peak.side}x{peak.side}, best of the run: "
        + ", ".join(f"{name} {rate / 1e9:.0f}" for name, rate in peak.best.items())
        + " G multiply-adds/s."
    )
    print("Share: 3 x the multiply-adds of a forward pass, over the peak of the row's precision.")
    if options.compile:
        print("Compile s: what it adds to the first steps, nothing cached; the first width also imports the compiler.")
    print()
    lines = [["width", "trainer", "precision", "images/s", "", "ratio", "", "share of peak", "steps/leg", "compile s"]]
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
                    str(steps),
                    "" if row.compile_seconds is None else f"{row.compile_seconds:.1f}",
                ]
            )
    print(aligned(lines))


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
        trial = prepare(initial, dataset, "ours, eager", "float32", "never", 2, options)
        pace = timed(trial.run, device) / 2
    else:
        theirs = published.fit(width, dataset.shape[0], SEED, device)
        copy_weights(theirs.network, initial)
        warm = dataset.images("train", batch)
        pace = min(timed(lambda: theirs.epoch(warm, batch), device) for _ in range(WARM_UP))
    steps = max(2, min(round(options.leg_seconds / pace), MOST_IMAGES // batch))
    if published is None:
        rows = [prepare(initial, dataset, "ours, eager", "float32", "never", steps, options)]
    else:
        images = dataset.images("train", steps * batch)
        rows = [Row("published", "float32", lambda: theirs.epoch(images, batch))]
    first = rows[0]
    precisions = ["float32", "bfloat16"] if hardware(device).has_bfloat16 else ["float32"]
    kinds = [
        ("ours, eager", precision, "never")
        for precision in precisions
        if published is not None or rows[0].precision != precision
    ]
    if options.compile:
        kinds += [("ours, compiled", precision, "always") for precision in precisions]
    rows += [prepare(initial, dataset, *kind, steps, options) for kind in kinds]
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


def prepare(
    initial: nn.Module,
    dataset: Dataset,
    name: str,
    precision: str,
    compiling: str,
    steps: int,
    options: argparse.Namespace,
) -> Row:
    """Return our trainer, warmed up, from the weights of ``initial``; a leg is an epoch, shuffled anew."""
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
    chosen = choose(training, Choice(), 0.0, options.device)
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
    compiled = trainer.acceleration.compiled
    if compiling == "always" and not compiled:
        name = "ours, not compiled"
    if trainer.acceleration.graphs:
        name = "ours, compiled, CUDA graphs"
    for note in trainer.acceleration.notes:
        print(f"{name}: {note}", file=sys.stderr)
    added = sum(warm_up) - WARM_UP * min(warm_up)
    return Row(name, trainer.acceleration.precision, leg, added if compiled else None)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description="Training throughput against the published trainer, and the overhead of the runner.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--published", type=Path, metavar="DIR", help="folder with the published .py files")
    parser.add_argument("--device", type=torch.device, default=torch.device("cpu"), help="where both train")
    parser.add_argument("--widths", type=_positive, nargs="+", default=[16, 32, 64], help="channels, finest level")
    parser.add_argument("--size", type=_positive, default=40, help="side of the images, a multiple of 8")
    parser.add_argument("--batch", type=_positive, default=64, help="images in a batch")
    parser.add_argument("--rounds", type=_positive, default=5, help="how often each trainer is timed")
    parser.add_argument("--leg-seconds", type=float, default=2.0, help="about how long a published leg takes")
    parser.add_argument("--threads", type=_positive, help="threads of torch; all processors if not given")
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
