"""Oracle thresholding risk in a wavelet basis: a batch against a loop over images with PyWavelets.

Not a test: run it as ``python tests/bench/oracle_wavelet.py``. The two take turns, in double precision as risks are
computed; printed are the medians, the ratio, and by how much the risks differ.
"""

from __future__ import annotations

import argparse
import statistics
import time
import warnings
from collections.abc import Sequence

import numpy as np
import pywt
import smoke
import torch
from torch import Tensor

import gahbench
from gahbench._util.resources import cpu_count
from gahbench.contracts.truth import Truth


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Speed of the oracle's wavelet risk.")
    parser.add_argument("--name", default="sym4", help="an orthogonal wavelet")
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--size", type=int, default=64, help="side of the images, a multiple of 2^levels")
    parser.add_argument("--levels", type=int, default=4)
    parser.add_argument("--sigma", type=float, default=0.1)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=cpu_count(), help="threads of torch")
    options = smoke.parse(parser, "--images 4 --size 16 --levels 2 --rounds 1 --threads 1", arguments)
    torch.set_num_threads(options.threads)
    clean = gahbench.create("dataset", "c-alpha", size=options.size).images("test", options.images)
    oracle = gahbench.create("reference", f"oracle-threshold[wavelet[{options.name},levels={options.levels}]]")
    rounds: dict[str, list[float]] = {"batch": [], "loop": []}
    risks: dict[str, Tensor] = {}
    # One round more than is counted: the first fills caches.
    for _ in range(options.rounds + 1):
        start = time.perf_counter()
        risks["batch"] = oracle.risk(Truth(clean), options.sigma)
        middle = time.perf_counter()
        risks["loop"] = pywavelets_risk(clean, options.name, options.levels, options.sigma)
        rounds["batch"].append(middle - start)
        rounds["loop"].append(time.perf_counter() - middle)
    batch, loop = (statistics.median(rounds[way][1:]) for way in ("batch", "loop"))
    difference = float((risks["batch"] / risks["loop"] - 1).abs().max())
    print(
        f"{options.images} images {options.size}x{options.size}, {options.name}, {options.levels} levels, "
        f"{options.threads} threads, medians of {options.rounds} rounds"
    )
    print(f"batch {batch * 1e3:8.1f} ms\nloop  {loop * 1e3:8.1f} ms\nratio {loop / batch:8.1f}")
    print(f"risks differ by at most {difference:.1e} of their value")
    if difference > 1e-9:
        raise SystemExit("the risks do not agree")


def pywavelets_risk(clean: Tensor, name: str, levels: int, sigma: float) -> Tensor:
    """Return the risk of each image (N, 1, H, W), one after another."""
    risks = []
    with warnings.catch_warnings():
        # Of levels that only make sense for periodic signals.
        warnings.simplefilter("ignore", UserWarning)
        for image in clean.double().numpy()[:, 0]:
            nested = pywt.wavedec2(image, name, mode="periodization", level=levels)
            coefficients, _ = pywt.coeffs_to_array(nested)
            risks.append(np.minimum(coefficients**2, sigma**2).mean())
    return torch.tensor(risks, dtype=torch.float64)


if __name__ == "__main__":
    main()
