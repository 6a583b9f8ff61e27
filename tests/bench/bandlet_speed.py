"""Seconds that bandlets take to adapt to images and analyse them, beside the wavelet underneath, and what they gain.

Not a test: run it as ``python tests/bench/bandlet_speed.py``. It takes a minute. Risks are those of oracle thresholding
in squares of up to 16 samples with few directions, and in squares up to the whole subband with as many as it takes.
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Sequence

import smoke
import torch
from torch import Tensor

import gahbench
from gahbench import Basis
from gahbench._util.resources import cpu_count

SIGMA = 8 / 255
GROWING = "largest=null,directions=fine,count=parameters"
BASES = ("sym4", "bandlet", f"bandlet[{GROWING}]", f"bandlet[{GROWING},flow=quadratic]", "bandlet[wavelet=null]")


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Speed of bandlets, for each noise level.")
    parser.add_argument("--bases", nargs="+", default=BASES)
    parser.add_argument("--batches", nargs="+", default=["64x64", "1x512", "1x2048"], help="images and their sides")
    parser.add_argument("--repeats", type=int, default=3, help="runs, of which the quickest counts")
    parser.add_argument("--threads", type=int, default=cpu_count(), help="threads of torch")
    options = smoke.parse(parser, "--batches 2x16 --repeats 1 --threads 1", arguments)
    torch.set_num_threads(options.threads)
    print(f"float32, sigma {SIGMA:.3f}, {options.threads} threads, c-alpha[alpha=4,construction=paper]")
    for count, size in (map(int, batch.split("x")) for batch in options.batches):
        images = gahbench.create("dataset", "c-alpha", alpha=4, size=size, construction="paper").images("test", count)
        for name in options.bases:
            basis = gahbench.create("basis", name)
            # The first run also computes the transforms of every direction, which are kept.
            first, best = (_seconds(basis, images, repeats) for repeats in (1, options.repeats))
            psnr = float((-10 * _risk(basis, images).log10()).mean())
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            print(
                f"{count:3} of {size}x{size}  {name:72} {best:7.3f} s, {first:7.3f} s the first time; "
                f"{psnr:.2f} dB; at most {peak:.0f} MiB so far"
            )


def _risk(basis: Basis, images: Tensor) -> Tensor:
    """Return the oracle thresholding risk of each image."""
    return basis.adapt(images, SIGMA).analysis(images).square().clamp(max=SIGMA**2).flatten(1).mean(1)


def _seconds(basis: Basis, images: Tensor, repeats: int) -> float:
    taken = []
    for _ in range(repeats):
        start = time.perf_counter()
        _risk(basis, images)
        taken.append(time.perf_counter() - start)
    return min(taken)


if __name__ == "__main__":
    main()
