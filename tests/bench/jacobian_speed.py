"""Jacobians against the published routine, in float32 and bfloat16, and alignment of large images from random vectors.

Not a test: run it as ``python tests/bench/jacobian_speed.py --published DIR`` on an otherwise idle machine, DIR being a
folder with the code of Kadkhodaie et al. 2024 (``network.py`` and ``linear_approx.py``). Both sides differentiate the
same module, the published UNet, trained for a minute on C^alpha images so that its spectrum is that of a denoiser. It
ends with an error unless both give the same matrix. Without ``--published`` only our side is timed. The alignment is of
``--images`` images of ``--large`` pixels a side, from ``--probes`` random vectors.
"""

import sys
from dataclasses import dataclass
from pathlib import Path

import harness
import published
import torch
from harness import memory_watched, timed

import gahbench
from gahbench._util.readable import counted
from gahbench.contracts.truth import Truth
from gahbench.evaluation import adaptation, align, remove_strength
from gahbench.jacobian import Jacobian, eigen

SIGMA = 0.1


@dataclass
class Row:
    """What something took: a row of the table."""

    name: str
    seconds: float
    memory: str = ""
    off: str = ""
    ratio: str = ""


def main():
    options = harness.options(
        __doc__, "--width 4 --levels 1 --size 8 --steps 2 --pairs 4 --large 16 --images 2 --probes 8", on_devices=True,
        published=Path, width=64, levels=2, size=40, steps=100, pairs=20, large=80, images=8, probes=64,
    )  # fmt: skip
    torch.manual_seed(0)
    dataset = gahbench.create("dataset", "c-alpha", alpha=2.0, size=options.size)
    network = published.trained(
        options.published, options.width, options.levels, dataset, options.steps, options.device
    )
    noisy = (dataset.images("test", 1) + SIGMA * torch.randn(1, *dataset.shape)).to(options.device)
    (exact, matrix), (low, other) = (full(network, noisy, precision) for precision in ("float32", "bfloat16"))
    low.off = f"off by {100 * float((other - matrix).norm() / matrix.norm()):.2f} % of the norm"
    rows = [exact, low, *(top(network, noisy, matrix, method, options.pairs) for method in ("auto", "lanczos"))]
    if options.published is not None:
        rows += compare(network, noisy, matrix, rows, options)
    if options.large:
        rows.append(large(network, options))
    setting = (
        f"UNet of {options.width} channels and {counted(options.levels, 'level')}, one image of "
        f"{options.size}x{options.size}, on {harness.device_text(options.device)}."
    )
    lines = [["computed", "seconds", "times as fast as published", "accuracy", "GiB"]]
    lines += [[row.name, f"{row.seconds:.2f}", row.ratio, row.off, row.memory] for row in rows]
    harness.print_table(lines, options, setting, harness.MEMORY)


def full(network, noisy, precision):
    """Time a whole Jacobian; return the row, and the matrix."""
    compute = Jacobian(network, noisy, SIGMA, precision=precision).matrices
    # The first call also chooses kernels, and on a GPU loads them.
    compute()
    memory = memory_watched(noisy.device)
    seconds, found = timed(compute, noisy.device)
    return Row(f"full Jacobian, {precision}", seconds, memory()), found[0]


def top(network, noisy, matrix, method, pairs):
    """Time the first eigenpairs of the symmetric part."""
    exact = torch.linalg.eigvalsh((matrix + matrix.mT).cpu().double() / 2).flip(0)[:pairs]
    jacobian, memory = Jacobian(network, noisy, SIGMA), memory_watched(noisy.device)
    seconds, found = timed(lambda: eigen.top(jacobian, pairs, method=method), noisy.device)
    off = float((found.values[0].cpu() - exact).abs().max())
    return Row(f"top {pairs} eigenpairs, {found.method}", seconds, memory(), f"eigenvalues off by {off:.1e}")


def compare(network, noisy, matrix, rows, options):
    """Time the published routine, which must give the same matrix, and set ratios in the rows of ours."""
    routine = published.module(options.published, "linear_approx").calc_jacobian
    whole, theirs = timed(lambda: routine(noisy.clone(), network), options.device)
    if not torch.allclose(theirs, matrix, atol=1e-4):
        sys.exit(f"error: the two matrices differ by {float((theirs - matrix).abs().max()):.1e}")
    both = whole + timed(lambda: torch.linalg.svd(theirs), options.device)[0]
    for row in rows:
        row.ratio = f"{(both if row.name.startswith('top') else whole) / row.seconds:.1f}"
    return [Row("full Jacobian, published", whole), Row("  and its singular vectors", both)]


def large(network, options):
    """Time the alignment of images whose matrices are not written down."""
    dataset = gahbench.create("dataset", "c-alpha", alpha=2.0, size=options.large)
    clean = dataset.images("test", options.images)
    noisy = (clean + SIGMA * torch.randn_like(clean)).to(options.device)
    basis = gahbench.create("basis", "graph-laplacian")

    def measure():
        jacobian = Jacobian(network, noisy, SIGMA)
        sketch = jacobian.sketch(options.probes)
        traces = jacobian.trace(options.probes).value
        family = basis.filters(Truth(clean, dataset), SIGMA)
        remove = remove_strength(traces, family.reaches(traces))
        return align(*(adaptation(one, remove) for one in (sketch, family.at(traces).sketch(options.probes))))

    memory = memory_watched(options.device)
    seconds, found = timed(measure, options.device)
    name = f"alignment of an image of {options.large}x{options.large}, {options.probes} random vectors"
    return Row(name, seconds / options.images, memory(), f"standard error at most {float(found.error.max()):.3f}")


if __name__ == "__main__":
    main()
