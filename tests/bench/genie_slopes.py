"""Lower bounds on the error on C^alpha images over noise levels, and their slopes against theory, as a figure.

Not a test: run it as ``python tests/bench/genie_slopes.py --out DIR``. It takes about a minute on two cores, most of it
for alpha = 1 at the lowest noise.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
import smoke
import torch

import gahbench
from gahbench._util.resources import cpu_count

mpl.use("Agg")
from matplotlib import pyplot as plt

SIGMAS = [2.0**level / 255 for level in range(7)]


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print and draw."""
    parser = argparse.ArgumentParser(description="Slopes of the genie's bound on C^alpha images.")
    parser.add_argument("--out", type=Path, default=Path(), help="folder for genie_slopes.png")
    parser.add_argument("--alphas", type=float, nargs="+", default=[1.0, 2.0, 4.0])
    parser.add_argument("--size", type=int, default=64, help="side of the images")
    parser.add_argument("--images", type=int, default=8)
    parser.add_argument("--contour", choices=("line", "closed"), default="line")
    parser.add_argument("--threads", type=int, default=cpu_count(), help="threads of torch")
    options = smoke.parse(
        parser, lambda: f"--out {smoke.folder()} --alphas 2 --size 16 --images 2 --threads 1", arguments
    )
    torch.set_num_threads(options.threads)
    print(f"{options.size}x{options.size}, contour {options.contour}, {options.images} images, sigma 1/255 to 64/255")
    inputs = -20 * np.log10(SIGMAS)
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4.2), layout="constrained")
    for colour, alpha in enumerate(options.alphas):
        dataset = gahbench.create("dataset", "c-alpha", alpha=alpha, size=options.size, contour=options.contour)
        wall, cpu = time.perf_counter(), time.process_time()
        bounds = torch.stack([dataset.lower_bound("test", options.images, sigma) for sigma in SIGMAS])
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        psnr = -10 * bounds.log10().numpy()
        theory = dataset.optimum.slope
        each = np.polyfit(inputs, psnr, 1)[0]
        slope, error = each.mean(), each.std(ddof=1) / len(each) ** 0.5
        local = np.diff(psnr.mean(1)) / np.diff(inputs)
        print(
            f"alpha {alpha:g}: slope {slope:.3f} ± {error:.4f}, theory {theory:.3f}; between levels, from low noise: "
            + " ".join(f"{value:.2f}" for value in local)
            + f"; {wall:.1f} s, {cpu:.1f} CPU s"
        )
        label = f"α = {alpha:g}: {slope:.2f} (theory {theory:.2f})"
        left.plot(inputs, psnr.mean(1), f"C{colour}o-", label=label)
        # The line of the optimal slope through the lowest noise.
        left.plot(inputs, psnr.mean(1)[0] + theory * (inputs - inputs[0]), f"C{colour}--", linewidth=1)
        right.plot((inputs[1:] + inputs[:-1]) / 2, local, f"C{colour}o-")
        right.axhline(theory, color=f"C{colour}", linestyle="--", linewidth=1)
    left.plot(inputs, inputs, color="0.7", linewidth=1, label="noisy image")
    left.set(xlabel="input PSNR (dB)", ylabel="PSNR of the bound (dB)", title="Least error given the contour")
    left.legend(frameon=False, title="slope")
    right.set(xlabel="input PSNR (dB)", ylabel="slope (dB per dB)", ylim=(0.3, 1), title="Slope between noise levels")
    right.annotate("dashed: α / (α + 1)", (0.98, 0.03), xycoords="axes fraction", ha="right")
    file = options.out / "genie_slopes.png"
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, dpi=150)
    print(f"written to {file}")


if __name__ == "__main__":
    main()
