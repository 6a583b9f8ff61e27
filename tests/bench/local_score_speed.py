"""Time and error of local-score: exact, with patches that are alike merged, and where positions matter.

Not a test: run it as ``python tests/bench/local_score_speed.py`` on an otherwise idle machine. Old and new are timed in
one run, by default at about the sides that are chosen on validation images. Where positions matter ``old`` compares
patches that are cut out, as equivariant machines do, and ``new`` sums squared differences over windows: both are the
same function, and it ends with an error where they differ.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence

import smoke
import torch
from torch import Tensor

import gahbench
from gahbench.contracts.datasets import Dataset
from gahbench_plugins.references._local_posterior import Patches, local_means
from gahbench_plugins.references._window_sums import positioned_means


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Speed of local-score.")
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--train", type=int, default=1000, help="training images")
    parser.add_argument("--images", type=int, default=48, help="noisy images")
    parser.add_argument("--sigmas", type=float, nargs="+", default=[0.05, 0.1, 0.2, 0.4])
    parser.add_argument("--sides", type=int, nargs="+", default=[3, 5, 7, 9], help="of patches, for each sigma")
    parser.add_argument("--alike", type=float, nargs="+", default=[0.3, 0.5, 0.8])
    parser.add_argument("--threads", type=int, default=1, help="threads of torch")
    options = smoke.parse(parser, "--size 12 --train 20 --images 2 --sigmas 0.1 --sides 5 --alike 0.5", arguments)
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    dataset: Dataset = gahbench.create("dataset", "c-alpha", alpha=2.0, size=options.size)
    training, clean = dataset.images("train", options.train), dataset.images("test", options.images)
    print(f"{options.train} images of {options.size}x{options.size}, {options.images} noisy ones, s of processor time")
    for sigma, side in zip(options.sigmas, options.sides, strict=True):
        noisy = clean + sigma * torch.randn_like(clean)
        patches = Patches(side, True, "zeros")
        seconds, exact = timed(lambda y=noisy, s=sigma, p=patches: local_means(training, y, s, p))
        print(f"σ {sigma:g}, patch {side}: exact {seconds:.2f} s")
        for alike in options.alike:
            fast, near = timed(lambda y=noisy, s=sigma, p=patches, a=alike: local_means(training, y, s, p, a))
            error = float((near - exact).square().mean().sqrt()) / sigma
            print(f"  alike {alike:g}: {fast:.2f} s, {seconds / fast:.1f} times as fast, error {error:.4f} σ")
        placed = Patches(side, False, "zeros")
        old, expected = timed(lambda y=noisy, s=sigma, p=placed: local_means(training, y, s, p))
        new, found = timed(lambda y=noisy, s=sigma, p=side: positioned_means(training, y, s, p, "zeros"))
        if not torch.allclose(expected, found, atol=1e-3 * sigma):
            sys.exit(f"error: the two differ by {float((expected - found).abs().max()):.1e}")
        print(f"  where positions matter: old {old:.2f} s, new {new:.2f} s, {old / new:.1f} times as fast")


def timed(run: Callable[[], Tensor]) -> tuple[float, Tensor]:
    """Return the seconds of processor time that a call takes, and its result."""
    started = time.process_time()
    found = run()
    return time.process_time() - started, found


if __name__ == "__main__":
    main()
