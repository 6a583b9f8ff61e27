"""Slopes of oracle bandlets in squares of growing size: along a known circle, and along contours that are found.

Not a test: ``python tests/bench/bandlet_rates.py`` takes minutes at 1024 pixels, ``--size 4096`` an hour and 8 GiB.
Noise is in units of a pixel of 2048: errors are those of one picture, whatever the size at which it is seen.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Sequence

import numpy as np
import smoke
import torch
from torch import Tensor

import gahbench
from gahbench._util.resources import cpu_count

#: Of the circle, in sides, and the difference in grey between its sides.
CENTRE, RADIUS, AMPLITUDE = (0.513, 0.479), 0.2713, 0.24
CAPS = ("8", "16", "32", "64", "null")


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Slopes of oracle bandlets.")
    parser.add_argument("--size", type=int, default=1024)
    parser.add_argument("--caps", nargs="+", default=list(CAPS), help="largest squares along the circle")
    parser.add_argument("--found-size", type=int, default=512, help="of the images whose contours are found; 0: none")
    parser.add_argument("--images", type=int, default=4, help="whose contours are found")
    parser.add_argument("--alpha", type=float, default=4.0, help="of those contours")
    parser.add_argument("--wavelet", default="sym4", help="of those images")
    parser.add_argument("--threads", type=int, default=cpu_count(), help="threads of torch")
    small = "--size 64 --caps null --found-size 32 --images 1 --threads 1"
    options = smoke.parse(parser, small, arguments)
    torch.set_num_threads(options.threads)
    if options.size:
        _circle(options.size, options.caps)
    if options.found_size:
        _found(options.found_size, options.images, options.alpha, options.wavelet)


class Circle(gahbench.Dataset):
    """One image of a disc, whose contour is known."""

    has_level_sets = True

    def __init__(self, size: int) -> None:
        self.size = size
        places = torch.arange(size, dtype=torch.float64) + 0.5
        distances = torch.hypot((places - CENTRE[0] * size)[:, None], places - CENTRE[1] * size)
        self.outside = distances - RADIUS * size

    @property
    def shape(self) -> gahbench.Shape:
        """Shape (1, size, size) of the image."""
        return (1, self.size, self.size)

    def images(self, split: gahbench.Split, count: int, start: int = 0) -> Tensor:
        """Return the image, of an edge that is a pixel wide, shape (count, 1, size, size)."""
        return (0.4 + AMPLITUDE * (0.5 - self.outside).clamp(0, 1)).float().expand(count, *self.shape)

    def level_sets(self, split: gahbench.Split, count: int, start: int = 0) -> Tensor:
        """Return the distance from the circle, shape (count, size, size)."""
        return self.outside.expand(count, -1, -1)


def _circle(size: int, caps: Sequence[str]) -> None:
    sigmas = size / 2048 * 2 ** (torch.arange(-3, 4, dtype=torch.float64) / 2)
    dataset = Circle(size)
    truth = gahbench.Truth(dataset.images("test", 1), dataset)
    levels = int(math.log2(size)) - 3
    print(f"a circle of {size} pixels, Haar, along its own lines; PSNR in dB at sigma/side {_listed(sigmas / size, 6)}")
    for cap in ("", *caps):
        start = time.perf_counter()
        basis = f"true-flow[haar,levels={levels},moments=1,largest={cap}]" if cap else f"wavelet[haar,levels={levels}]"
        oracle = gahbench.create("reference", f"oracle-threshold[{basis}]")
        risks = [oracle.risk(truth, sigma) for sigma in sigmas.tolist()]
        print(f"  {'squares <= ' + cap if cap else 'wavelet':16} {_slopes(sigmas, torch.cat(risks))}", end="")
        print(f"  {time.perf_counter() - start:.0f} s", flush=True)


def _found(size: int, count: int, alpha: float, wavelet: str) -> None:
    sigmas = size / 2048 * 2.0 ** torch.arange(-3, 3, dtype=torch.float64)
    dataset = gahbench.create("dataset", "c-alpha", alpha=alpha, size=size, contour="closed")
    masks = dataset.masks(torch.Generator().manual_seed(0), count).reshape(count, 1, size, size)
    images = (0.4 + AMPLITUDE * masks).float()
    levels = int(math.log2(size)) - 3
    print(f"{count} closed contours, alpha {alpha:g}, {size} pixels, {wavelet}; geometry is found, and counted as said")
    plain = gahbench.create("basis", f"wavelet[{wavelet},levels={levels}]").analysis(images)
    before = torch.stack([_kept(plain, sigma) for sigma in sigmas.tolist()])
    print(f"  {'wavelet':44} {_slopes(sigmas, before.mean(1) / size**2)}")
    forms = ("largest=16", *(f"largest={cap},directions=fine,count=parameters" for cap in ("16", "null")))
    for form in (*forms, f"{forms[-1]},flow=quadratic"):
        start = time.perf_counter()
        basis = gahbench.create("basis", f"bandlet[{wavelet},levels={levels},moments=1,{form}]")
        risks, prices = [], []
        for sigma in sigmas.tolist():
            adapted = basis.adapt(images, sigma)
            risks.append(_kept(adapted.analysis(images), sigma))
            prices.append(adapted.num_parameters() * sigma**2)
        after = torch.stack(risks) + torch.stack(prices)
        gains = 10 * (before / after).log10()
        errors = 1.96 * gains.std(dim=1) / math.sqrt(count) if count > 1 else gains[:, 0] * math.nan
        listed = " ".join(f"{gain:+.2f}±{error:.2f}" for gain, error in zip(gains.mean(1), errors, strict=True))
        print(f"  {form:44} {_slopes(sigmas, after.mean(1) / size**2)}  {time.perf_counter() - start:.0f} s")
        print(f"  {'':44} gain over the wavelet, a parameter at sigma^2, with 95 % intervals: {listed}", flush=True)


def _kept(coefficients: Tensor, sigma: float) -> Tensor:
    """Return the oracle thresholding risk of each image, summed over pixels."""
    return coefficients.double().square().clamp(max=sigma**2).flatten(1).sum(1)


def _slopes(sigmas: Tensor, errors: Tensor) -> str:
    """Return the slope of the output PSNR against that of the noise, and the output PSNR at each sigma."""
    output = -10 * errors.log10()
    slope = np.polyfit((-20 * sigmas.log10()).numpy(), output.numpy(), 1)[0]
    return f"slope {slope:.3f}  PSNR {_listed(output, 2)}"


def _listed(values: Tensor, digits: int) -> str:
    return " ".join(f"{value:.{digits}f}" for value in values.tolist())


if __name__ == "__main__":
    main()
