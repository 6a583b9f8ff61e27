"""What the runner adds to a training step: the second section of ``training_throughput.py``."""

from __future__ import annotations

import argparse
import functools
import json
import os
import statistics
import threading
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from training_common import SEED, device_text, print_table, spread, timed, unet

import gahbench
from gahbench._util.readable import counted
from gahbench.networks.initialisation import build_network
from gahbench.networks.precision import Choice
from gahbench.training import checkpoint
from gahbench.training.fitting import validation_sigmas
from gahbench.training.hardware import choose
from gahbench.training.recipe import Training
from gahbench.training.trainer import Progress, Trainer

TARGET_PERCENT = 3.0
EXPLAINED = (
    "(a) is the time of fit() outside of step(): looking for a checkpoint, the loop, a report every half second, as "
    "a line of JSON, and asking whether to stop. (b) is the time to write a checkpoint to the temporary folder, as "
    "often as a fit writes them. (c) compares fit(), less its validation, with a loop that calls step() only: (a), and "
    "what fit() might do to the speed of a step; it is as noisy as the machine. Building the network and writing the "
    "weights are not included."
)


def print_overhead(options: argparse.Namespace, scratch: Path) -> None:
    """Print what ``Trainer.fit`` takes on top of its optimiser steps."""
    steps = options.overhead_steps
    fits, bares, inside, validations, writes = [], [], [], [], []
    overhead_trainer(options, None, lambda progress: None).step(0, 0.0)
    for number in range(options.rounds + 1):
        trainer = overhead_trainer(options, scratch, _report_to(os.devnull))
        validation, inner = _clock(trainer, "_validate"), _clock(trainer, "step")
        bare = overhead_trainer(options, None, lambda progress: None)
        # Whichever comes second does so in every other round.
        legs: dict[str, Callable[[], object]] = {"fit": trainer.fit, "bare": functools.partial(_bare_loop, bare, steps)}
        order = ("fit", "bare") if number % 2 else ("bare", "fit")
        seconds = {name: timed(legs[name], options.device) for name in order}
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
    pause = checkpoint.pause(write, write, checkpoint.MAX_PAUSE)
    saving = 100 * write / pause
    total = statistics.median(inside) + saving

    print("\nRunner overhead")
    lines = [["part", "share of the steps", ""]]
    lines.append(["(a) inside the fit", f"{statistics.median(inside):.2f} %", spread(inside, ".2f")])
    rate = f"({1e3 * write:.0f} ms, then {pause:.0f} s without)"
    lines.append(["(b) checkpoints", f"{saving:.2f} %", rate])
    met = "(met)" if total <= TARGET_PERCENT else "(missed)"
    lines.append([f"(a) + (b), target: at most {TARGET_PERCENT:g} %", f"{total:.2f} %", met])
    lines.append(["(c) fit against bare loop", f"{statistics.median(against):+.2f} %", spread(against, "+.2f")])
    setting = (
        f"{device_text(options.device)}, width {options.overhead_width}, 32x32, batch 64, "
        f"{trainer.acceleration.precision}, {counted(steps, 'step')} a leg, medians of {options.rounds} (min to max). "
        f"A step takes {1e3 * statistics.median(bares) / steps:.1f} ms, and one of the ten validations of a fit "
        f"{1e3 * statistics.median(validations):.0f} ms."
    )
    print_table(lines, options, setting, EXPLAINED)


def overhead_trainer(options: argparse.Namespace, folder: Path | None, report: Callable[[Progress], None]) -> Trainer:
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
    build = functools.partial(unet, options.overhead_width)
    network = build_network(build, SEED, training.initialisation, training.weights_stream)
    trainer = Trainer(
        network=network,
        dataset=gahbench.create("dataset", "discs", size=32),
        training=training,
        seed=SEED,
        acceleration=choose(training, Choice(), 0.0, options.device),
        sigmas=validation_sigmas(training),
        device=options.device,
        checkpoints=None if folder is None else checkpoint.Checkpoints(folder, "bench", folder / "damaged", print),
        report=report,
        should_stop=threading.Event().is_set,
    )
    # The order of the first epoch is drawn here: it belongs to thousands of steps, not to those of a leg.
    trainer.images.batch(0)
    return trainer


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
            out.write(json.dumps({"event": "progress", **asdict(progress)}, default=str) + "\n")

    return report
