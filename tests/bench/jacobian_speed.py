"""Speed of Jacobians, compared with the published routine, and of alignment on large images.

Run ``python tests/bench/jacobian_speed.py --published DIR`` on an otherwise idle machine, where DIR is a folder with
the code of Kadkhodaie et al. 2024 (``network.py`` and ``linear_approx.py``). Both sides differentiate the same module,
the published UNet, trained for a minute on C^alpha images so that it has the spectrum of a denoiser. The benchmark
fails unless both matrices agree. Without ``--published``, only gahbench is timed. Alignment is measured on ``--images``
images of ``--large`` pixels per side, with ``--probes`` random vectors.
"""

import sys
from dataclasses import dataclass
from pathlib import Path

import harness
import published
import torch
from harness import time_call, watch_memory

import gahbench
from gahbench._util.readable import pluralize
from gahbench.contracts.truth import Truth
from gahbench.evaluation import adaptation, align, remove_strength
from gahbench.jacobian import Jacobian, eigen

SIGMA = 0.1


@dataclass
class Row:
    """A row of the table: a computation and its time, memory and accuracy."""

    name: str
    seconds: float
    memory: str = ""
    accuracy: str = ""
    ratio: str = ""


def main():
    options = harness.options(
        __doc__, "--width 4 --levels 1 --size 8 --steps 2 --pairs 4 --large 16 --images 2 --probes 8", on_devices=True,
        published=Path, width=64, levels=2, size=40, steps=100, pairs=20, large=80, images=8, probes=64,
    )  # fmt: skip
    torch.manual_seed(0)
    dataset = gahbench.create("dataset", "c-alpha", alpha=2.0, size=options.size)
    network = published.train(options.published, options.width, options.levels, dataset, options.steps, options.device)
    noisy = (dataset.images("test", 1) + SIGMA * torch.randn(1, *dataset.shape)).to(options.device)
    row, matrix = full(network, noisy)
    rows = [row, *(top(network, noisy, matrix, method, options.pairs) for method in ("auto", "lanczos"))]
    if options.published is not None:
        rows += compare(network, noisy, matrix, rows, options)
    if options.large:
        rows.append(large(network, options))
    setting = (
        f"UNet of {options.width} channels and {pluralize(options.levels, 'level')}, one image of "
        f"{options.size}x{options.size}, on {harness.device_text(options.device)}."
    )
    lines = [["computed", "seconds", "times as fast as published", "accuracy", "GiB"]]
    lines += [[row.name, f"{row.seconds:.2f}", row.ratio, row.accuracy, row.memory] for row in rows]
    harness.print_table(lines, setting, harness.MEMORY)


def full(network, noisy):
    """Time a full Jacobian; return the row and the matrix."""
    jacobian = Jacobian(network, noisy, SIGMA)
    # The first call also chooses kernels, and loads them on a GPU.
    jacobian.matrices()
    memory = watch_memory(noisy.device)
    seconds, matrices = time_call(jacobian.matrices, noisy.device)
    return Row("full Jacobian", seconds, memory()), matrices[0]


def top(network, noisy, matrix, method, pairs):
    """Time the first eigenpairs of the symmetric part."""
    exact = torch.linalg.eigvalsh((matrix + matrix.mT).cpu().double() / 2).flip(0)[:pairs]
    jacobian, memory = Jacobian(network, noisy, SIGMA), watch_memory(noisy.device)
    seconds, pairs_found = time_call(lambda: eigen.top(jacobian, pairs, method=method), noisy.device)
    error = float((pairs_found.values[0].cpu() - exact).abs().max())
    return Row(f"top {pairs} eigenpairs, {pairs_found.method}", seconds, memory(), f"error of eigenvalues {error:.1e}")


def compare(network, noisy, matrix, rows, options):
    """Time the published routine, check that it gives the same matrix, and set the ratios of gahbench's rows."""
    routine = published.module(options.published, "linear_approx").calc_jacobian
    full_seconds, theirs = time_call(lambda: routine(noisy.clone(), network), options.device)
    if not torch.allclose(theirs, matrix, atol=1e-4):
        sys.exit(f"error: the two matrices differ by {float((theirs - matrix).abs().max()):.1e}")
    both = full_seconds + time_call(lambda: torch.linalg.svd(theirs), options.device)[0]
    for row in rows:
        row.ratio = f"{(both if row.name.startswith('top') else full_seconds) / row.seconds:.1f}"
    return [Row("full Jacobian, published", full_seconds), Row("  and its singular vectors", both)]


def large(network, options):
    """Time the alignment on images that are too large for matrices."""
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
        return align(*(adaptation(maps, remove) for maps in (sketch, family.at(traces).sketch(options.probes))))

    memory = watch_memory(options.device)
    seconds, alignment = time_call(measure, options.device)
    name = f"alignment of an image of {options.large}x{options.large}, {options.probes} random vectors"
    return Row(name, seconds / options.images, memory(), f"standard error at most {float(alignment.error.max()):.3f}")


if __name__ == "__main__":
    main()
