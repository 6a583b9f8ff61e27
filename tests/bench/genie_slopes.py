"""Lower bounds on the error on C^alpha images, and their slopes compared with theory, as a figure.

Run ``python tests/bench/genie_slopes.py --out DIR``, which writes ``genie_slopes.png`` to the folder. This takes a few
minutes on two cores.
"""

from pathlib import Path

import harness
import matplotlib as mpl
import numpy as np
import torch

import gahbench

mpl.use("Agg")
from matplotlib import pyplot as plt

SIGMAS = [2.0**level / 255 for level in range(7)]


def main():
    options = harness.options(
        __doc__, lambda: f"--out {harness.folder()} --alphas 2 --size 16 --images 2",
        out=Path(), alphas=[1.0, 2.0, 4.0], size=64, images=8,
    )  # fmt: skip
    print(f"{options.size}x{options.size}, {options.images} images, sigma 1/255 to 64/255")
    inputs = -20 * np.log10(SIGMAS)
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4.2), layout="constrained")
    for colour, alpha in enumerate(options.alphas):
        dataset = gahbench.create("dataset", "c-alpha", alpha=alpha, size=options.size)
        bound = lambda: torch.stack([dataset.lower_bound("test", options.images, sigma) for sigma in SIGMAS])  # noqa: B023, E731
        seconds, bounds = harness.time_call(bound)
        psnr = -10 * bounds.log10().numpy()
        theory = dataset.optimum.slope
        slopes = np.polyfit(inputs, psnr, 1)[0]
        slope, error = slopes.mean(), slopes.std(ddof=1) / len(slopes) ** 0.5
        local = np.diff(psnr.mean(1)) / np.diff(inputs)
        print(
            f"alpha {alpha:g}: slope {slope:.3f} ± {error:.4f}, theory {theory:.3f}; between levels, from low noise:",
            *(f"{value:.2f}" for value in local),
            f"; {seconds:.1f} s",
        )
        label = f"α = {alpha:g}: {slope:.2f} (theory {theory:.2f})"
        left.plot(inputs, psnr.mean(1), f"C{colour}o-", label=label)
        # Line of the optimal slope through the point at the lowest noise level.
        left.plot(inputs, psnr.mean(1)[0] + theory * (inputs - inputs[0]), f"C{colour}--", linewidth=1)
        right.plot((inputs[1:] + inputs[:-1]) / 2, local, f"C{colour}o-")
        right.axhline(theory, color=f"C{colour}", linestyle="--", linewidth=1)
    left.plot(inputs, inputs, color="0.7", linewidth=1, label="noisy image")
    left.set(xlabel="input PSNR (dB)", ylabel="PSNR of the bound (dB)", title="Minimum error given the contour")
    left.legend(frameon=False, title="slope")
    right.set(xlabel="input PSNR (dB)", ylabel="slope (dB per dB)", ylim=(0.3, 1), title="Slope between noise levels")
    right.annotate("dashed: α / (α + 1)", (0.98, 0.03), xycoords="axes fraction", ha="right")
    options.out.mkdir(parents=True, exist_ok=True)
    figure.savefig(options.out / "genie_slopes.png", dpi=150)
    print(f"written to {options.out / 'genie_slopes.png'}")


if __name__ == "__main__":
    main()
