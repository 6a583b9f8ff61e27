"""Training throughput against the published trainer, and what the runner adds to a training step.

Not a test: run it as ``python tests/bench/training_throughput.py --published DIR`` on an otherwise idle machine, DIR
being a folder with the code of Kadkhodaie et al. 2024 (``network.py``, ``trainer.py`` and what they import). It
computes on the CPU.

Both sides train the same network from the same weights on the same images in memory, with the published recipe: Adam,
squared error, noise levels whose square roots are uniform. It ends with an error, before anything is timed, unless the
networks have equally many parameters and, with equal weights, equal outputs.
"""

from __future__ import annotations

import argparse
import copy
import functools
import json
import os
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from published_trainer import Published, copy_weights, disagreement
from torch import nn

import gahbench
from gahbench._util.resources import cpu_count
from gahbench.contracts.datasets import Dataset
from gahbench.networks.initialisation import build_network
from gahbench.registry.registry import Registry
from gahbench.runs.environment import environment
from gahbench.runs.worker import progress_message, validation_sigmas
from gahbench.training import trainer as trainer_module
from gahbench.training.hardware import choose, multiply_adds
from gahbench.training.recipe import Training
from gahbench.training.trainer import Progress, Trainer

CPU = torch.device("cpu")
TOLERANCE = 1e-4
SEED = 0
#: Steps before anything is timed: kernels are chosen, the optimiser makes its state, the compiler compiles.
WARM_UP = 3
TARGET_PERCENT = 3.0


class Peak:
    """The fastest matrix multiplications seen, in multiply-adds a second by precision."""

    def __init__(self, side: int = 2048) -> None:
        self.side = side
        self.best = {"float32": 0.0, "bfloat16": 0.0}

    def measure(self, repeats: int = 4) -> None:
        """Multiply a few times; the first is not timed."""
        for name in self.best:
            left, right = torch.randn(2, self.side, self.side).to(getattr(torch, name))
            torch.matmul(left, right)
            for _ in range(repeats):
                seconds = timed(lambda: torch.matmul(left, right))  # noqa: B023
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
    options = parser.parse_args(arguments)
    if options.size % 8:
        parser.error("--size must be a multiple of 8: the network halves it three times")
    if options.published is None and options.only != "overhead":
        parser.error("--published is needed; without the published code there is --only overhead")
    torch.set_num_threads(options.threads or cpu_count())
    processor = environment(Registry())["processor"]
    print(f"processor {processor}; torch {torch.__version__}; {torch.get_num_threads()} threads", flush=True)
    with tempfile.TemporaryDirectory() as scratch:
        if options.only != "overhead":
            # An empty cache, or the compile seconds would depend on what ran before.
            os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(Path(scratch) / "compiled")
            print_throughput(options)
        if options.only != "throughput":
            print_overhead(options, Path(scratch))


def print_throughput(options: argparse.Namespace) -> None:
    """Print the table of images a second."""
    published = Published(options.published)
    dataset = gahbench.create("dataset", "discs", size=options.size)
    for width in options.widths:
        verify(published, width, dataset)
    peak = Peak()
    tables = [(width, *compare(published, width, dataset, peak, options)) for width in options.widths]

    print("\nTraining throughput")
    shape = f"3 levels, {options.size}x{options.size}, batch {options.batch}"
    print(f"{shape}, {options.rounds} rounds; medians (min to max).")
    print("Ratio: each leg of ours against the mean of the published legs just before and after it.")
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
                    _range(rates, ".1f"),
                    f"{statistics.median(row.ratios):.2f}" if row.ratios else "1.00",
                    _range(row.ratios, ".2f") if row.ratios else "",
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
    published: Published, width: int, dataset: Dataset, peak: Peak, options: argparse.Namespace
) -> tuple[int, list[Row]]:
    """Time the trainers in turn: published, ours, published, ours, ..., published.

    Returns
    -------
    steps, rows
        Optimiser steps in a leg, and the published row followed by ours.
    """
    batch = options.batch
    theirs = published.fit(width, dataset.shape[0], SEED)
    initial = unet(width)
    copy_weights(theirs.network, initial)
    warm = dataset.images("train", batch)
    pace = min(timed(lambda: theirs.epoch(warm, batch)) for _ in range(WARM_UP))
    steps = max(2, round(options.leg_seconds / pace))
    images = dataset.images("train", steps * batch)
    first = Row("published", "float32", lambda: theirs.epoch(images, batch))
    rows = [first]
    kinds = [("ours, eager", "auto", "never"), ("ours, eager", "float32", "never")]
    if options.compile:
        kinds.append(("ours, compiled", "auto", "always"))
    for name, precision, compiling in kinds:
        row = prepare(initial, dataset, name, precision, compiling, steps, options)
        # Without bfloat16 units, auto is float32.
        if all((row.name, row.precision) != (other.name, other.precision) for other in rows):
            rows.append(row)
    before = timed(first.run)
    first.seconds.append(before)
    for number in range(options.rounds):
        peak.measure()
        for row in rows[1:]:
            seconds, after = timed(row.run), timed(first.run)
            row.seconds.append(seconds)
            first.seconds.append(after)
            row.ratios.append((before + after) / 2 / seconds)
            before = after
        told = ", ".join(f"{row.name} {row.precision} {row.ratios[-1]:.2f}" for row in rows[1:])
        print(f"width {width}, round {number + 1} of {options.rounds}: ratios {told}", file=sys.stderr, flush=True)
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
    trainer = Trainer(network, dataset, training, SEED, choose(training, 0.0, CPU, torch.get_num_threads()), device=CPU)
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

    warm_up = [timed(lambda: leg(1)) for _ in range(WARM_UP)]
    compiled = trainer.acceleration.compiled
    if compiling == "always" and not compiled:
        name = "ours, not compiled"
        print(f"compiling failed: {'; '.join(trainer.acceleration.notes)}", file=sys.stderr)
    added = sum(warm_up) - WARM_UP * min(warm_up)
    return Row(name, trainer.acceleration.precision, leg, added if compiled else None)


def print_overhead(options: argparse.Namespace, scratch: Path) -> None:
    """Print what ``Trainer.fit`` takes on top of its optimiser steps."""
    steps = options.overhead_steps
    fits, bares, inside, validations, writes = [], [], [], [], []
    overhead_trainer(options, None, lambda progress: None).step(0, 0.0)
    for number in range(options.rounds + 1):
        trainer = overhead_trainer(options, scratch / f"{number}.pt", _report_to(os.devnull))
        validation, inner = _clock(trainer, "_validate"), _clock(trainer, "step")
        bare = overhead_trainer(options, None, lambda progress: None)
        # Whichever comes second does so in every other round.
        legs: dict[str, Callable[[], object]] = {"fit": trainer.fit, "bare": functools.partial(_bare_loop, bare, steps)}
        order = ("fit", "bare") if number % 2 else ("bare", "fit")
        seconds = {name: timed(legs[name]) for name in order}
        if number == 0:
            continue
        fit = seconds["fit"] - sum(validation)
        fits.append(fit)
        bares.append(seconds["bare"])
        inside.append(100 * (fit - sum(inner)) / sum(inner))
        validations.append(sum(validation))
        writes.append(timed(trainer._checkpoint))
    against = [100 * (fit / bare - 1) for fit, bare in zip(fits, bares, strict=True)]
    write = statistics.median(writes)
    # The next checkpoint is due so long after the last one began.
    saving = 100 * write / max(trainer_module.CHECKPOINT_SECONDS - write, 1e-9)
    total = statistics.median(inside) + saving

    print("\nRunner overhead")
    print(
        f"Width {options.overhead_width}, 32x32, batch 64, {trainer.acceleration.precision}, {steps} steps a leg, "
        f"{options.rounds} rounds; medians (min to max); "
        f"a step takes {1e3 * statistics.median(bares) / steps:.1f} ms.\n"
    )
    lines = [["part", "per cent of the steps", ""]]
    lines.append(["(a) inside the fit", f"{statistics.median(inside):.2f} %", _range(inside, ".2f")])
    rate = f"{1e3 * write:.0f} ms every {trainer_module.CHECKPOINT_SECONDS:.0f} s"
    lines.append(["(b) checkpoints", f"{saving:.2f} %", rate])
    lines.append(
        [f"(a) + (b), target <= {TARGET_PERCENT:g} %", f"{total:.2f} %", "met" if total <= TARGET_PERCENT else "missed"]
    )
    lines.append(["(c) fit against bare loop", f"{statistics.median(against):+.2f} %", _range(against, "+.2f")])
    print(aligned(lines))
    print(
        "\n(a) The time of one fit() outside of step(), by the fit's own clock: looking for a checkpoint, the loop,\n"
        "    a report every half second written as a line of JSON, asking whether to stop.\n"
        "(b) The time to write a checkpoint to the temporary folder, at the rate at which a fit writes them; these\n"
        "    fits are too short for one.\n"
        "(c) fit(), less its validation, against a loop that calls step() only, each on a new trainer: (a), and what\n"
        "    fit() might do to the speed of a step. As noisy as the machine.\n"
        "Not included: validation (one takes "
        f"{1e3 * statistics.median(validations):.0f} ms; a fit has ten by default), building the network and\n"
        "the trainer, and writing the weights."
    )


def overhead_trainer(
    options: argparse.Namespace, checkpoint: Path | None, report: Callable[[Progress], None]
) -> Trainer:
    """Return a new trainer, made as a worker makes it."""
    training = Training.model_validate(
        {
            "recipe": "paper",
            "steps": options.overhead_steps,
            "batch_size": 64,
            "train_images": 64 * 16,
            "compile": "never",
            "validations": 1,
        }
    )
    network = build_network(functools.partial(unet, options.overhead_width), training, SEED)
    trainer = Trainer(
        network,
        gahbench.create("dataset", "discs", size=32),
        training,
        SEED,
        choose(training, 0.0, CPU, torch.get_num_threads()),
        validation_sigmas(training),
        CPU,
        checkpoint,
        report,
        threading.Event().is_set,
    )
    # The order of the first epoch is drawn here: it belongs to thousands of steps, not to those of a leg.
    trainer.images.batch(0)
    return trainer


def unet(width: int) -> nn.Module:
    """Return our UNet of 3 levels for images of one channel."""
    network: nn.Module = gahbench.create("architecture", "unet", channels=1, width=width, levels=3)
    return network


def timed(call: Callable[[], object]) -> float:
    """Return the seconds that a call takes."""
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def aligned(lines: list[list[str]]) -> str:
    """Return rows of cells as text in columns, the first row as a heading."""
    widths = [max(len(line[place]) for line in lines) for place in range(len(lines[0]))]
    # Words to the left, numbers to the right.
    left = [all(not line[place][:1].isdigit() for line in lines[1:]) for place in range(len(lines[0]))]
    texts = [
        "  ".join(
            cell.ljust(width) if flush else cell.rjust(width)
            for cell, width, flush in zip(line, widths, left, strict=True)
        ).rstrip()
        for line in lines
    ]
    return "\n".join([texts[0], "-" * max(map(len, texts)), *texts[1:]])


def _range(values: Sequence[float], form: str) -> str:
    return f"({min(values):{form}} to {max(values):{form}})"


def _bare_loop(trainer: Trainer, steps: int) -> None:
    trainer.network.train()
    for step in range(steps):
        trainer.step(step, step / steps)


def _clock(trainer: Trainer, name: str) -> list[float]:
    """Time every call of a method of a trainer; return the list that the seconds go to."""
    method = getattr(trainer, name)
    seconds: list[float] = []

    def call(*arguments: Any) -> Any:
        started = time.perf_counter()
        result = method(*arguments)
        seconds.append(time.perf_counter() - started)
        return result

    setattr(trainer, name, call)
    return seconds


def _report_to(file: str) -> Callable[[Progress], None]:
    """Return a report that writes what a worker sends."""

    def report(progress: Progress) -> None:
        with Path(file).open("w", encoding="utf-8") as out:
            out.write(json.dumps({"event": "progress", **progress_message(progress)}, default=str) + "\n")

    return report


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description="Training throughput against the published trainer, and the overhead of the runner (CPU only).",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--published", type=Path, metavar="DIR", help="folder with the published .py files")
    parser.add_argument("--widths", type=_positive, nargs="+", default=[16, 32, 64], help="channels, finest level")
    parser.add_argument("--size", type=_positive, default=40, help="side of the images, a multiple of 8")
    parser.add_argument("--batch", type=_positive, default=64, help="images in a batch")
    parser.add_argument("--rounds", type=_positive, default=5, help="how often each trainer is timed")
    parser.add_argument("--leg-seconds", type=float, default=2.0, help="about how long a published leg takes")
    parser.add_argument("--threads", type=_positive, help="threads of torch; all processors if not given")
    parser.add_argument("--compile", action="store_true", help="time our trainer with torch.compile too")
    parser.add_argument("--overhead-width", type=_positive, default=16, help="width for the runner overhead")
    parser.add_argument("--overhead-steps", type=_positive, default=60, help="steps of a leg of the runner overhead")
    parser.add_argument("--only", choices=("throughput", "overhead"), help="leave out the other section")
    return parser


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise ValueError(text)
    return value


if __name__ == "__main__":
    main()
