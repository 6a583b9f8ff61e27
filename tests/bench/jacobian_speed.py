"""Jacobians against the published routine, in float32 and bfloat16, and alignment of large images from random vectors.

Not a test: run it as ``python tests/bench/jacobian_speed.py --published DIR`` on an otherwise idle machine, DIR being a
folder with the code of Kadkhodaie et al. 2024 (``network.py`` and ``linear_approx.py``). Both sides differentiate the
same module, the published UNet, trained for a minute on C^alpha images so that its spectrum is that of a denoiser. It
ends with an error unless both give the same matrix. Without ``--published`` only our side is timed.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import smoke
import torch
from published_code import module, trained
from torch import Tensor, nn
from training_common import (
    MEMORY,
    add_options,
    device_text,
    memory_watched,
    print_table,
    set_up,
    timed,
    timed_result,
)

import gahbench
from gahbench._util.readable import counted
from gahbench.contracts.bases import Basis
from gahbench.contracts.datasets import Dataset
from gahbench.contracts.truth import Truth
from gahbench.evaluation import adaptation, align, remove_strength
from gahbench.jacobian import Jacobian, eigen

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
    add_options(parser)
    options = smoke.parse(
        parser,
        "--width 4 --levels 1 --size 8 --steps 2 --pairs 4 --large 16 --images 2 --probes 8 --threads 1",
        arguments,
    )
    set_up(options)
    torch.manual_seed(0)
    dataset: Dataset = gahbench.create("dataset", "c-alpha", alpha=2.0, size=options.size)
    network = trained(options.published, options.width, options.levels, dataset, options.steps, str(options.device))
    noisy = (dataset.images("test", 1) + SIGMA * torch.randn(1, *dataset.shape)).to(options.device)
    rows = [full(network, noisy, "float32"), full(network, noisy, "bfloat16")]
    matrix = rows[0].matrix
    rows[1].off = f"off by {100 * float((rows[1].matrix - matrix).norm() / matrix.norm()):.2f} % of the norm"
    rows += [top(network, noisy, matrix, method, options.pairs) for method in ("auto", "lanczos")]
    if options.published is not None:
        rows += compare(network, noisy, matrix, rows, options)
    if options.large:
        rows.append(large(network, options))
    setting = (
        f"UNet of {options.width} channels and {counted(options.levels, 'level')}, one image of "
        f"{options.size}x{options.size}, on {device_text(options.device)}."
    )
    lines = [["computed", "seconds", "times as fast as published", "accuracy", "GiB"]]
    lines += [[row.name, f"{row.seconds:.2f}", row.ratio, row.off, row.memory] for row in rows]
    print_table(lines, options, setting, MEMORY)


@dataclass
class Row:
    """What something took.

    Parameters
    ----------
    name
        What was computed.
    seconds
        How long that took.
    memory
        How many GiB it took at most.
    off
        How accurate it is.
    ratio
        How many times as fast it is as the published code.
    matrix
        The Jacobian, where it is written down.
    """

    name: str
    seconds: float
    memory: str = ""
    off: str = ""
    ratio: str = ""
    matrix: Tensor = field(default_factory=lambda: torch.empty(0))


def full(network: nn.Module, noisy: Tensor, precision: Any) -> Row:
    """Time a whole Jacobian."""
    compute = Jacobian(network, noisy, SIGMA, precision=precision).matrices
    # The first call also chooses kernels, and on a GPU loads them.
    compute()
    memory = memory_watched(noisy.device)
    seconds, found = timed_result(compute, noisy.device)
    return Row(f"full Jacobian, {precision}", seconds, memory(), matrix=found[0])


def top(network: nn.Module, noisy: Tensor, matrix: Tensor, method: Any, pairs: int) -> Row:
    """Time the first eigenpairs of the symmetric part."""
    exact = torch.linalg.eigvalsh((matrix + matrix.mT).cpu().double() / 2).flip(0)[:pairs]
    jacobian, memory = Jacobian(network, noisy, SIGMA), memory_watched(noisy.device)
    seconds, found = timed_result(lambda: eigen.top(jacobian, pairs, method=method), noisy.device)
    off = float((found.values[0].cpu() - exact).abs().max())
    return Row(f"top {pairs} eigenpairs, {found.method}", seconds, memory(), f"eigenvalues off by {off:.1e}")


def compare(
    network: nn.Module, noisy: Tensor, matrix: Tensor, rows: list[Row], options: argparse.Namespace
) -> list[Row]:
    """Time the published routine, which must give the same matrix, and set ratios in the rows of ours."""
    published: Any = module(options.published, "linear_approx")
    whole, theirs = timed_result(lambda: published.calc_jacobian(noisy.clone(), network), options.device)
    if not torch.allclose(theirs, matrix, atol=1e-4):
        sys.exit(f"error: the two matrices differ by {float((theirs - matrix).abs().max()):.1e}")
    both = whole + timed(lambda: torch.linalg.svd(theirs), options.device)
    for row in rows:
        row.ratio = f"{(both if row.name.startswith('top') else whole) / row.seconds:.1f}"
    return [Row("full Jacobian, published", whole), Row("  and its singular vectors", both)]


def large(network: nn.Module, options: argparse.Namespace) -> Row:
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

    memory = memory_watched(options.device)
    seconds, found = timed_result(measure, options.device)
    name = f"alignment of an image of {options.large}x{options.large}, {options.probes} random vectors"
    off = f"standard error at most {float(found.error.max()):.3f}"
    return Row(name, seconds / options.images, memory(), off)


if __name__ == "__main__":
    main()
