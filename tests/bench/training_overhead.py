"""Overhead of a fit over its training steps, the second section of ``training_throughput.py``."""

import functools
import json
import os
import statistics
import threading
import time
from dataclasses import asdict
from pathlib import Path

import harness

import gahbench
from gahbench._util.readable import pluralize
from gahbench.networks.initialisation import build_network
from gahbench.networks.precision import Choice
from gahbench.training import checkpoint
from gahbench.training.fitting import validation_sigmas
from gahbench.training.hardware import choose_acceleration
from gahbench.training.recipe import Training
from gahbench.training.trainer import Trainer

TARGET_PERCENT = 3.0
EXPLAINED = (
    "(a) is the time of fit() outside of step(): looking for a checkpoint, the loop, a report every half second, as "
    "a line of JSON, and asking whether to stop. (b) is the time to write a checkpoint to the temporary folder, as "
    "often as a fit writes them. (c) compares fit(), less its validation, with a loop that calls step() only: (a), and "
    "what fit() might do to the speed of a step; it is as noisy as the machine. Building the network and writing the "
    "weights are not included."
)


def print_overhead(options, scratch):
    """Print the time that ``Trainer.fit`` adds to its optimiser steps."""
    steps = options.overhead_steps
    fits, bares, inside, validations, writes = [], [], [], [], []
    overhead_trainer(options, None, lambda progress: None).step(0, 0.0)
    for number in range(options.rounds + 1):
        trainer = overhead_trainer(options, scratch, report)
        validation, inner = clock(trainer, "_validate"), clock(trainer, "step")
        bare = overhead_trainer(options, None, lambda progress: None)
        # Alternate the order, since the second leg may be faster or slower.
        legs = {"fit": trainer.fit, "bare": functools.partial(bare_loop, bare, steps)}
        order = ("fit", "bare") if number % 2 else ("bare", "fit")
        seconds = {name: harness.time_call(legs[name], options.device)[0] for name in order}
        if number == 0:
            continue
        fit = seconds["fit"] - sum(validation)
        fits.append(fit)
        bares.append(seconds["bare"])
        inside.append(100 * (fit - sum(inner)) / sum(inner))
        validations.append(sum(validation))
        writes.append(harness.time_call(trainer._checkpoint)[0])
    against = [100 * (ratio - 1) for ratio in harness.ratios(fits, bares)]
    write = statistics.median(writes)
    pace = checkpoint.Pace(0.0)
    pace.record_write(checkpoint.MAX_PAUSE - write, checkpoint.MAX_PAUSE)
    pause = pace._due - checkpoint.MAX_PAUSE
    saving = 100 * write / pause
    total = statistics.median(inside) + saving
    print("\nRunner overhead")
    lines = [
        ["part", "share of the steps", ""],
        ["(a) inside the fit", *harness.format_spread(inside, ".2f", " %")],
        ["(b) checkpoints", f"{saving:.2f} %", f"({1e3 * write:.0f} ms, then {pause:.0f} s without)"],
        [
            f"(a) + (b), target: at most {TARGET_PERCENT:g} %",
            f"{total:.2f} %",
            "(met)" if total <= TARGET_PERCENT else "(missed)",
        ],
        ["(c) fit against bare loop", *harness.format_spread(against, "+.2f", " %")],
    ]
    setting = (
        f"{harness.device_text(options.device)}, width {options.overhead_width}, 32x32, batch 64, "
        f"{trainer.acceleration.precision}, {pluralize(steps, 'step')} a leg, medians of {options.rounds} (min to "
        f"max). A step takes {1e3 * statistics.median(bares) / steps:.1f} ms, and one of the ten validations of a fit "
        f"{1e3 * statistics.median(validations):.0f} ms."
    )
    harness.print_table(lines, options, setting, EXPLAINED)


def overhead_trainer(options, folder, report):
    """Return a new trainer, constructed as in a worker."""
    recipe = {"recipe": "paper", "batch_size": 64, "train_images": 64 * 16, "compile": "never", "validations": 1}
    training = Training.model_validate({**recipe, "steps": options.overhead_steps})
    build = functools.partial(harness.unet, options.overhead_width)
    trainer = Trainer(
        network=build_network(build, harness.SEED, training.initialisation, training.weights_stream),
        dataset=gahbench.create("dataset", "discs", size=32),
        training=training,
        seed=harness.SEED,
        acceleration=choose_acceleration(training, Choice(), 0.0, options.device),
        sigmas=validation_sigmas(training),
        device=options.device,
        checkpoints=None if folder is None else checkpoint.Checkpoints(folder, "bench", folder / "damaged", print),
        report=report,
        should_stop=threading.Event().is_set,
    )
    # Draw the order of the first epoch here, since its cost is shared by thousands of steps.
    trainer.images.batch(0)
    return trainer


def bare_loop(trainer, steps):
    """Call only ``step``."""
    trainer.network.train()
    for step in range(steps):
        trainer.step(step, step / steps)


def clock(trainer, name):
    """Time every call of a method of a trainer; return the list to which seconds are appended."""
    method, seconds = getattr(trainer, name), []

    def call(*arguments):
        started = time.perf_counter()
        result = method(*arguments)
        seconds.append(time.perf_counter() - started)
        return result

    setattr(trainer, name, call)
    return seconds


def report(progress):
    """Write progress as a worker does."""
    with Path(os.devnull).open("w", encoding="utf-8") as out:
        out.write(json.dumps({"event": "progress", **asdict(progress)}, default=str) + "\n")
