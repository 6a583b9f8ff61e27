"""Time and error of local-score: exact, with similar patches merged, and with patches at fixed positions.

Run ``python tests/bench/local_score_speed.py`` on an otherwise idle machine. By default, the sides of patches are about
those that are chosen on validation images. For patches at fixed positions, ``old`` compares extracted patches, as for
patches at any position, and ``new`` sums squared differences over windows. Both compute the same function; the
benchmark fails if they differ.
"""

import functools
import sys
import time

import harness
import torch

import gahbench
from gahbench_plugins.references._window_sums import means_by_position
from gahbench_plugins.references.local_score import Patches, local_means


def main():
    options = harness.options(
        __doc__, "--size 12 --train 20 --images 2 --sigmas 0.1 --sides 5 --alike 0.5",
        size=32, train=1000, images=48, sigmas=[0.05, 0.1, 0.2, 0.4], sides=[3, 5, 7, 9], alike=[0.3, 0.5, 0.8],
        threads=1,
    )  # fmt: skip
    timed = functools.partial(harness.time_call, clock=time.process_time)
    torch.manual_seed(0)
    dataset = gahbench.create("dataset", "c-alpha", alpha=2.0, size=options.size)
    training, clean = dataset.images("train", options.train), dataset.images("test", options.images)
    print(f"{options.train} images of {options.size}x{options.size}, {options.images} noisy ones, s of processor time")
    for sigma, side in zip(options.sigmas, options.sides, strict=True):
        noisy = clean + sigma * torch.randn_like(clean)
        means = functools.partial(local_means, training, noisy, sigma)
        patches, placed = (Patches(side, is_equivariant, "zeros") for is_equivariant in (True, False))
        seconds, exact = timed(functools.partial(means, patches))
        print(f"σ {sigma:g}, patch {side}: exact {seconds:.2f} s")
        for alike in options.alike:
            fast, approximate = timed(functools.partial(means, patches, alike))
            error = float((approximate - exact).square().mean().sqrt()) / sigma
            print(f"  similarity {alike:g}: {fast:.2f} s, {seconds / fast:.1f} times as fast, error {error:.4f} σ")
        old, expected = timed(functools.partial(means, placed))
        new, result = timed(functools.partial(means_by_position, training, noisy, sigma, side, "zeros"))
        if not torch.allclose(expected, result, atol=1e-3 * sigma):
            sys.exit(f"error: the two differ by {float((expected - result).abs().max()):.1e}")
        print(f"  fixed positions: old {old:.2f} s, new {new:.2f} s, {old / new:.1f} times as fast")


if __name__ == "__main__":
    main()
