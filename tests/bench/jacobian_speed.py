"""Jacobians against the published routine, in float32 and bfloat16, and alignment of large images from random vectors.

Not a test: run it as ``python tests/bench/jacobian_speed.py --published DIR`` on an otherwise idle machine, DIR being a
folder with the code of Kadkhodaie et al. 2024 (``network.py`` and ``linear_approx.py``). Both sides differentiate the
same module, the published UNet, trained for a minute on C^alpha images so that its spectrum is that of a denoiser. It
ends with an error unless both give the same matrix. Without ``--published`` only our side is timed.
"""

from __future__ import annotations

import argparse
import functools
import resource
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import smoke
import torch
from published_code import module, trained
from torch import Tensor, nn
from training_common import device_text, synchronise

import gahbench
from gahbench._util.resources import cpu_count
from gahbench.contracts.bases import Basis
from gahbench.contracts.datasets import Dataset
from gahbench.contracts.truth import Truth
from gahbench.evaluation import adaptation, align, remove_strength
from gahbench.jacobian import Jacobian

SIGMA = 0.1


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Jacobians against the published routine.")
    parser.add_argument("--published", type=Path, help="folder of the published code")
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--levels", type=int, default=2)
    parser.add_argument("--size", type=int, default=40)
    parser.add_argument("--steps", type=int, default=100, help="of training")
    parser.add_argument("--pairs", type=int, default=20)
    parser.add_argument("--large", type=int, default=80, help="side of the images of the alignment")
    parser.add_argument("--images", type=int, default=8, help="of the alignment")
    parser.add_argument("--probes", type=int, default=64, help="of the alignment")
    parser.add_argument("--device", type=torch.device, default=torch.device("cpu"))
    parser.add_argument("--threads", type=int, default=cpu_count(), help="threads of torch")
    options = smoke.parse(
        parser,
        "--width 4 --levels 1 --size 8 --steps 2 --pairs 4 --large 16 --images 2 --probes 8 --threads 1",
        arguments,
    )
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    dataset: Dataset = gahbench.create("dataset", "c-alpha", alpha=2.0, size=options.size)
    network = trained(options.published, options.width, options.levels, dataset, options.steps, str(options.device))
    noisy = (dataset.images("test", 1) + SIGMA * torch.randn(1, *dataset.shape)).to(options.device)
    print(
        f"UNet, {options.width} channels, {options.levels} levels, {options.size}x{options.size}, "
        f"{device_text(options.device)}"
    )

    clock = functools.partial(timed, device=options.device)
    # The first call of a kind also chooses kernels, and on a GPU loads them.
    Jacobian(network, noisy, SIGMA).matrices()
    ours, matrix = clock(lambda: Jacobian(network, noisy, SIGMA).matrices()[0])
    print(f"full Jacobian, ours                {ours:8.2f} s, peak memory {peak(options.device):.2f} GiB")
    rounded = in_bfloat16(network, noisy, matrix, ours)
    exact = torch.linalg.eigvalsh((matrix + matrix.mT).double() / 2).flip(0)[: options.pairs].cpu()
    times = []
    for method in ("auto", "lanczos"):
        jacobian = Jacobian(network, noisy, SIGMA)
        seconds, pairs = clock(lambda how=method, maps=jacobian: maps.top(options.pairs, method=how))
        off = float((pairs.values[0] - exact).abs().max())
        print(f"top {options.pairs} eigenpairs, ours            {seconds:8.2f} s, {pairs.method}, off by {off:.1e}")
        times.append(seconds)
    top = min(times)
    if options.published is not None:
        published: Any = module(options.published, "linear_approx")
        whole, theirs = clock(lambda: published.calc_jacobian(noisy.clone(), network))
        if not torch.allclose(theirs, matrix, atol=1e-4):
            sys.exit(f"error: the two matrices differ by {float((theirs - matrix).abs().max()):.1e}")
        decomposition, _ = clock(lambda: torch.linalg.svd(theirs))
        print(
            f"full Jacobian, published           {whole:8.2f} s: {whole / ours:.1f} times ours, "
            f"{whole / rounded:.1f} times ours in bfloat16"
        )
        both = (whole + decomposition) / top
        print(f"  and its singular vectors         {decomposition:8.2f} s: {both:.1f} times our top")
    if options.large:
        large(network, options)


def in_bfloat16(network: nn.Module, noisy: Tensor, matrix: Tensor, exact: float) -> float:
    """Return the seconds that a Jacobian in bfloat16 takes, and print them beside those in float32."""
    fast = Jacobian(network, noisy, SIGMA, precision="bfloat16")
    fast.matrices()
    seconds, found = timed(fast.matrices, noisy.device)
    off = float((found[0] - matrix).norm() / matrix.norm())
    print(f"full Jacobian, ours in bfloat16    {seconds:8.2f} s: {exact / seconds:.1f} times as fast, off by {off:.2%}")
    return seconds


def large(network: nn.Module, options: argparse.Namespace) -> None:
    """Time the alignment of images whose matrices are not written down."""
    dataset: Dataset = gahbench.create("dataset", "c-alpha", alpha=2.0, size=options.large)
    clean = dataset.images("test", options.images)
    noisy = (clean + SIGMA * torch.randn_like(clean)).to(options.device)
    basis: Basis = gahbench.create("basis", "graph-laplacian")

    def measure() -> Any:
        jacobian = Jacobian(network, noisy, SIGMA)
        sketch = jacobian.sketch(options.probes)
        traces = jacobian.trace(options.probes).value
        family = basis.filters(Truth(clean, dataset), SIGMA)
        remove = remove_strength(traces, family.reaches(traces))
        return align(*(adaptation(one, remove) for one in (sketch, family.at(traces).sketch(options.probes))))

    seconds, found = timed(measure, options.device)
    value = f"{float(found.own.mean()):.3f}, standard error of one image at most {float(found.error.max()):.3f}"
    print(
        f"alignment at {options.large}x{options.large}, {options.probes} random vectors, "
        f"{seconds / options.images:.2f} s an image: {value}, "
        f"peak memory {peak(options.device):.2f} GiB"
    )


def timed(run: Callable[[], Any], device: torch.device) -> tuple[float, Any]:
    """Return the seconds that a call takes, and its result."""
    synchronise(device)
    started = time.perf_counter()
    found = run()
    synchronise(device)
    return time.perf_counter() - started, found


def peak(device: torch.device) -> float:
    """Return the most memory that this process has held so far, on a GPU that of tensors there, in GiB."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**30
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


if __name__ == "__main__":
    main()
