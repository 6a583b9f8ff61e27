"""How fast C^alpha images are drawn, against one image at a time, and what a long stream of them needs.

Not a test: run it as ``python tests/bench/c_alpha_generation.py`` on an otherwise idle machine. It computes on the CPU.
With ``--published DIR``, DIR being a folder with the code of Kadkhodaie et al. 2024 (``synthetic_data_generators.py``
and what it imports), their own code is timed too.
"""

from __future__ import annotations

import argparse
import importlib
import resource
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import smoke
import torch
from torch import Tensor
from torch.nn import functional

import gahbench
from gahbench._util.noise import BLOCK
from gahbench._util.resources import cpu_count

TARGET_RATIO = 10
TARGET_SECONDS = 300
SEED = 0


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="How fast C^alpha images are drawn (CPU only).")
    parser.add_argument("--published", type=Path, metavar="DIR", help="folder with the published .py files")
    parser.add_argument("--alpha", type=float, default=2.0)
    parser.add_argument("--size", type=int, default=80, help="side of the images")
    parser.add_argument("--rounds", type=int, default=5, help="how often each generator is timed")
    parser.add_argument("--images", type=int, default=512, help="images in a round, a multiple of 64")
    parser.add_argument("--stream", type=int, default=100_000, help="images in the stream")
    parser.add_argument("--threads", type=int, default=cpu_count(), help="threads of torch")
    options = smoke.parse(parser, "--size 16 --images 64 --rounds 1 --stream 640 --threads 1", arguments)
    torch.set_num_threads(options.threads)
    print(
        f"torch {torch.__version__}, {options.threads} threads, alpha {options.alpha:g}, {options.size}x{options.size}"
    )
    # The stream comes first: what a process needed at most never falls again.
    print_stream(options)
    print_comparison(options)


def print_stream(options: argparse.Namespace) -> None:
    """Draw images block by block, keep none, and print what it took."""
    print(f"\nA stream of {options.stream} images, {BLOCK} at a time (target: {TARGET_SECONDS} s)")
    held = 4 * options.stream * options.size**2
    print(f"Held together they would be {held / 2**20:.0f} MiB.")
    for parameters in ({"construction": "paper"}, {"contour": "line"}, {"contour": "closed"}):
        dataset = gahbench.create("dataset", "c-alpha", alpha=options.alpha, size=options.size, **parameters)
        dataset.images("train", BLOCK)
        before = peak()
        wall, cpu = time.perf_counter(), time.process_time()
        total = 0.0
        for start in range(0, options.stream, BLOCK):
            total += float(dataset.images("train", min(BLOCK, options.stream - start), start).sum())
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        print(
            f"{next(iter(parameters.values())):>8}: {wall:6.1f} s, {cpu:6.1f} CPU s, "
            f"{options.stream / wall:6.0f} images/s; peak {peak() / 2**20:.0f} MiB of the process, "
            f"{(peak() - before) / 2**20:.0f} more than after one block; "
            f"mean grey value {total / options.stream / options.size**2:.3f}"
        )


def print_comparison(options: argparse.Namespace) -> None:
    """Time the generators in turn and print their rates, and the ratio to ours within each round."""
    ours = gahbench.create("dataset", "c-alpha", alpha=options.alpha, size=options.size, construction="paper")
    few = max(1, options.images // TARGET_RATIO)
    calls: dict[str, tuple[int, Callable[[], object]]] = {
        "ours": (options.images, lambda: stream(ours, options.images)),
        "one at a time": (few, lambda: one_at_a_time(few, options.size, options.alpha)),
    }
    if options.published is not None:
        calls["published"] = (few, published(options.published, few, options.size, options.alpha))
    rates: dict[str, list[float]] = {name: [] for name in calls}
    busy: dict[str, list[float]] = {name: [] for name in calls}
    torch.manual_seed(SEED)
    for number in range(options.rounds + 1):
        for name, (count, call) in calls.items():
            wall, cpu = time.perf_counter(), time.process_time()
            call()
            wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
            # The first round is a warm-up.
            if number:
                rates[name].append(count / wall)
                busy[name].append(count / cpu)
    print(f"\nThe paper's construction, medians of {options.rounds} rounds (target: {TARGET_RATIO} times faster)")
    for name in calls:
        ratios = [mine / other for mine, other in zip(rates["ours"], rates[name], strict=True)]
        print(
            f"{name:>13}: {statistics.median(rates[name]):7.0f} images/s, "
            f"{statistics.median(busy[name]):7.0f} images/CPU s; "
            f"ours is {statistics.median(ratios):.1f} times faster ({min(ratios):.1f} to {max(ratios):.1f})"
        )


def stream(dataset: gahbench.Dataset, count: int) -> None:
    """Draw images by blocks."""
    for start in range(0, count, BLOCK):
        dataset.images("train", BLOCK, start)


def one_at_a_time(count: int, size: int, alpha: float) -> Tensor:
    """Return images of the published procedure, made as it makes them: one after the other, column by column."""
    waves = torch.fft.fftfreq(size, 1 / size)
    line, plane = (_falling(moduli, alpha) for moduli in (waves.abs(), torch.hypot(waves[:, None], waves[None])))
    kernel = torch.full((1, 1, 2, 2), 0.25)
    images = []
    for _ in range(count):
        contour = torch.fft.ifft(torch.fft.fft(2 * torch.rand(size) - 1) * line).real
        tops = torch.round(contour * size).int() + size // 2
        fields = [torch.fft.ifft2(torch.fft.fft2(2 * torch.rand(size, size) - 1) * plane).real for _ in range(2)]
        bottom, top = torch.rand(1).item(), torch.rand(1).item()
        limits = [(bottom, 1.0), (0.0, top)]
        if torch.randint(2, (1,)).item():
            limits.reverse()
        for place, (low, high) in enumerate(limits):
            field = fields[place]
            fields[place] = low + (high - low) * (field - field.min()) / (field.max() - field.min())
        mask = torch.ones(size, size)
        for column in range(size):
            mask[: max(int(tops[column]), 0), column] = 0
        share = functional.conv2d(functional.pad(mask[None, None], (1, 0, 1, 0), mode="reflect"), kernel)[0, 0]
        images.append(share * fields[0] + (1 - share) * fields[1])
    return torch.stack(images)[:, None]


def _falling(moduli: Tensor, alpha: float) -> Tensor:
    return torch.where(moduli == 0, torch.ones(()), moduli).pow(-alpha)


def published(folder: Path, count: int, size: int, alpha: float) -> Callable[[], object]:
    """Return a call of the published generator, with the options of their script that makes the data set."""
    if not (folder / "synthetic_data_generators.py").is_file():
        raise SystemExit("error: no synthetic_data_generators.py; --published names the wrong folder")
    keep, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    sys.path.insert(0, str(folder.resolve()))
    try:
        make = importlib.import_module("synthetic_data_generators").make_C_alpha_images
    finally:
        sys.path.pop(0)
        sys.dont_write_bytecode = keep

    def call() -> object:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return make(alpha, alpha, im_size=size, num_samples=count, factor=(2, 2))

    return call


def peak() -> int:
    """Return the most memory that this process has held, in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


if __name__ == "__main__":
    main()
