"""The first hour of a newcomer: how long ``gahbench run quick`` takes, and whether ``precision: auto`` is the faster.

Not a test: run it as ``python tests/bench/first_run.py`` on an otherwise idle machine. It runs the suite ``quick`` and
the suite that it was before (1800 steps, one seed), each in a scratch folder, and prints seconds, the seconds until a
board with all references of the first dataset could be printed, and the PSNR of networks. Then it times training,
Jacobians and sampling in float32, in bfloat16, and as ``auto`` chooses, in turn, and ends with an error where ``auto``
takes 10 % longer than the faster of the two. What ``auto`` measures before it chooses is timed apart.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import smoke
import torch
from training_common import CPU, SEED, aligned, timed, unet

import gahbench
from gahbench._util.resources import cpu_count, processor_name
from gahbench.contracts.datasets import Dataset
from gahbench.evaluation import Evaluation
from gahbench.networks import Trained
from gahbench.networks.precision import Choice, Choices
from gahbench.sampling import Sampling, draw_samples, of_network
from gahbench.training.fitting import acceleration
from gahbench.training.hardware import Acceleration
from gahbench.training.recipe import Training
from gahbench.training.trainer import Trainer

#: The changes of ``quick`` that make it what it was before.
BEFORE = [
    "training.steps=1800",
    "training.batch_size=32",
    "training.optimizer=adam",
    "training.learning_rate=0.005",
    "training.warmup=100",
]
#: A leg of ``auto`` may take this many times as long as one of the faster precision.
ALLOWED = 1.10
PRECISIONS = ("float32", "bfloat16", "auto")


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="The suite quick, and precision: auto against both precisions.")
    parser.add_argument("--suite", default="quick", help="the suite that is run")
    parser.add_argument("--before", nargs="*", default=BEFORE, help="settings that make it the suite of before")
    parser.add_argument("--seeds-before", type=int, default=1, help="seeds of the suite of before")
    parser.add_argument("--widths", type=int, nargs="+", default=[16, 32, 64], help="channels of the UNets")
    parser.add_argument("--size", type=int, default=40, help="side of the images, a multiple of 8")
    parser.add_argument("--batch", type=int, default=64, help="images in a batch of training")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=4, help="steps of training in a leg")
    parser.add_argument("--threads", type=int, default=cpu_count(), help="threads of torch")
    parser.add_argument("--only", choices=("suite", "precision"), help="leave out the other section")
    small = lambda: f"--suite {_tiny()} --before --widths 2 --size 8 --batch 2 --rounds 1 --steps 1 --threads 1"  # noqa: E731
    options = smoke.parse(parser, small, arguments)
    torch.set_num_threads(options.threads)
    print(f"processor {processor_name()}; {options.threads} threads; torch {torch.__version__}", flush=True)
    if options.only != "precision":
        print_suites(options)
    if options.only != "suite":
        print_precisions(options)


def print_suites(options: argparse.Namespace) -> None:
    """Print seconds and PSNR of the suite as it was before and as it is."""
    lines, fits = [["suite", "dataset", "entrant", "seeds", "PSNR"]], []
    kinds: list[tuple[str, list[str], int | None]] = [("before", options.before, options.seeds_before)]
    for name, settings, seeds in [*kinds, ("now", [], None)]:
        with tempfile.TemporaryDirectory() as scratch:
            seconds, references, results = run_suite(options.suite, settings, seeds, Path(scratch) / "out")
        fits.append(f"{name}: {seconds:.0f} s; the references of the first dataset after {references:.0f} s")
        scores = results.scores[(results.scores.metric == "psnr") & (results.scores.kind == "trained")]
        for (dataset, entrant), rows in scores.groupby(["dataset", "entrant"], sort=False):
            each = rows.groupby("seed").value.mean()
            lines.append([name, str(dataset), str(entrant), str(len(each)), f"{each.mean():.2f}"])
    print(aligned(lines))
    print("\n".join(fits), flush=True)


def run_suite(suite: str, settings: list[str], seeds: int | None, out: Path) -> tuple[float, float, Any]:
    """Run a suite; return its seconds, those until the references of its first dataset were scored, and its results."""
    changes: dict[str, Any] = {}
    for setting in settings:
        name, _, value = setting.partition("=")
        changes[name] = value
    started, ends = time.monotonic(), {}

    def report(event: gahbench.Event) -> None:
        if event.kind == "finished" and event.unit is not None and event.unit.entrant_kind == "reference":
            ends.setdefault(event.unit.dataset, []).append(time.monotonic() - started)

    outcome = gahbench.run(suite, out, settings=settings, seeds=range(seeds or 0), report=report)
    if outcome.failed:
        sys.exit(f"error: {outcome.failed} units failed")
    results = gahbench.load_results(out)
    first = results.scores.dataset.iloc[0]
    return time.monotonic() - started, max(ends[first]), results


def print_precisions(options: argparse.Namespace) -> None:
    """Print how long each precision takes, and what ``auto`` chooses; end with an error where it is the slower."""
    lines = [["work", "width", "float32", "bfloat16", "auto", "chosen", "auto / faster", "probe"]]
    slow = []
    for width in options.widths:
        for name, prepare in (("training", training), ("Jacobian", jacobian), ("sampling", sampling)):
            choices, legs, probe = Choices(), {}, 0.0
            for precision in PRECISIONS:
                started = time.perf_counter()
                legs[precision], choice = prepare(width, precision, choices, options)
                probe = time.perf_counter() - started if precision == "auto" else probe
            seconds: dict[str, list[float]] = {precision: [] for precision in PRECISIONS}
            for _ in range(options.rounds):
                for precision in PRECISIONS:
                    seconds[precision].append(timed(legs[precision]))
            medians = {precision: statistics.median(each) for precision, each in seconds.items()}
            ratio = medians["auto"] / min(medians["float32"], medians["bfloat16"])
            if ratio > ALLOWED and not options.smoke:
                slow.append(f"{name} of {width} channels")
            times = [f"{medians[precision]:.2f} s" for precision in PRECISIONS]
            lines.append([name, str(width), *times, choice.precision, f"{ratio:.2f}", f"{probe:.1f} s"])
            print(" ".join(lines[-1]), choice.reason, file=sys.stderr, flush=True)
    print(aligned(lines))
    if slow:
        sys.exit(f"error: auto takes {ALLOWED - 1:.0%} longer than the faster precision: {', '.join(slow)}")


Leg = tuple[Callable[[], object], Choice]


def training(width: int, precision: str, choices: Choices, options: argparse.Namespace) -> Leg:
    """Return a leg of training steps, warmed up."""
    dataset = _dataset(options)
    recipe = {"steps": 1_000_000, "batch_size": options.batch, "compile": "never", "validations": 1}
    settings = Training.model_validate({**recipe, "precision": precision})
    network = unet(width)
    chosen = acceleration(network, dataset, settings, CPU, choices)
    trainer = Trainer(network, dataset, settings, SEED, Acceleration(chosen.bfloat16, compiled=False))
    network.train()

    def leg() -> None:
        for step in range(options.steps):
            trainer.step(step, 0.0)

    leg()
    return leg, chosen.choice


def jacobian(width: int, precision: str, choices: Choices, options: argparse.Namespace) -> Leg:
    """Return a leg that finds the Jacobian at one image."""
    dataset = _dataset(options)
    denoiser, clean = Trained(unet(width).eval()), dataset.images("test", 1)

    def evaluation(images: torch.Tensor, levels: list[float]) -> Evaluation:
        return Evaluation(denoiser, images, levels, jacobian_precision=precision, choices=choices)

    if precision == "auto":
        # Boards with many images choose once, so the probe is timed apart.
        many = evaluation(clean.expand(1000, -1, -1, -1), [0.1] * 10)
        maps: Any = many.jacobian(0.1)
        choice = Choice(many.local._precision(maps), many.local.choice.reason)
        precision = choice.precision
    else:
        choice = Choice()
    evaluation(clean, [0.1]).local.matrices(0.1)
    return lambda: evaluation(clean, [0.1]).local.matrices(0.1), choice


def sampling(width: int, precision: Any, choices: Choices, options: argparse.Namespace) -> Leg:
    """Return a leg that samples images."""
    denoise = of_network(unet(width), precision=precision, calls=1_000_000, choices=choices)
    settings = Sampling(count=4, sampler="flow", levels=8)
    leg = lambda: draw_samples(denoise, _dataset(options).shape, settings)  # noqa: E731
    leg()
    return leg, next(iter(choices._known.values())) if precision == "auto" and choices._known else Choice()


def _dataset(options: argparse.Namespace) -> Dataset:
    found: Dataset = gahbench.create("dataset", "discs", size=options.size)
    return found


def _tiny() -> Path:
    file = smoke.folder() / "tiny.yaml"
    file.write_text(
        "name: tiny\ndatasets: [discs: {size: 8}]\nentrants: [bf-cnn: {width: 2, layers: 3}, identity]\n"
        "baseline: identity\ntraining: {steps: 4, batch_size: 2, compile: never}\n"
        "scoring: {images: 2, sigmas: [0.1]}\n"
    )
    return file


if __name__ == "__main__":
    main()
