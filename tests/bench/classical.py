"""PSNR of classical denoisers on standard test images, beside what BM3D was published with.

Not a test: run it as ``python tests/bench/classical.py --images bsd68.npz --tune train400.npz``, both with grey images
of 0 to 255, one array each or one array of all; references, if others than the default ones, come first. Noise is not
clipped, nor are denoised images; PSNR is the mean over images.
On one core ``bm3d`` takes ten seconds or more for a 481x321 image and noise level; the others seconds at most.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import numpy as np
import smoke
import torch
from torch import Tensor

import gahbench
from gahbench._util.shapes import Shape
from gahbench.contracts.datasets import Dataset, Split
from gahbench.contracts.references import Reference
from gahbench.contracts.training_data import TrainingData
from gahbench.contracts.truth import Truth

#: Mean PSNR in dB at sigma = 15, 25 and 50 of 255, as usually quoted for BM3D (e.g. Zhang et al. 2017, DnCNN).
PUBLISHED = {"bsd68": {15: 31.07, 25: 28.57, 50: 25.62}, "set12": {15: 32.37, 25: 29.97, 50: 26.72}}
REFERENCES = ("bm3d", "nl-means", "tv", "gaussian-blur", "bayes-shrink")


class Photographs(Dataset):
    """Grey images of one shape, of which the last are for validation."""

    def __init__(self, images: Tensor, validation: int) -> None:
        self._parts = {"train": images[:-validation], "validation": images[-validation:]}

    @property
    def shape(self) -> Shape:
        """Shape (1, H, W)."""
        return cast(Shape, tuple(self._parts["train"].shape[1:]))

    def images(self, split: Split, count: int, start: int = 0) -> Tensor:
        """Return images of a split, shape (count, 1, H, W)."""
        return self._parts[split][start : start + count]

    def available(self, split: Split) -> int:
        """Return how many there are."""
        return len(self._parts[split])


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="PSNR of classical denoisers on standard images.")
    parser.add_argument("references", nargs="*", default=REFERENCES, help="such as bm3d or bayes-shrink[db2]")
    parser.add_argument("--images", type=Path, required=True, help=".npz of test images")
    parser.add_argument("--tune", type=Path, required=True, help=".npz of training images of one size")
    parser.add_argument("--sigmas", type=float, nargs="+", default=[15, 25, 50], help="of 255")
    parser.add_argument("--every", type=int, default=1, help="measure on every n-th image only")
    parser.add_argument("--validation", type=int, default=16, help="training images to tune on")
    parser.add_argument("--plugins", type=Path, nargs="*", default=[], help="files of further references")
    options = smoke.parse(
        parser, lambda: f"gaussian-blur --images {smoke.images()} --tune {smoke.images()} --validation 2", arguments
    )
    photographs = Photographs(torch.stack(read(options.tune)), options.validation)
    clean = read(options.images)[:: options.every]
    print(f"{options.images.name}: {len(clean)} images; PSNR in dB at sigma = {options.sigmas} of 255")
    published = PUBLISHED.get(options.images.stem, {})
    print("BM3D as published (all images): ", *(published.get(sigma, "-") for sigma in options.sigmas))
    for name in options.references:
        reference: Reference = gahbench.create("reference", name, plugins=options.plugins)
        start = time.perf_counter()
        reference.fit(TrainingData(photographs))
        found = [
            np.mean([psnr(reference, image, sigma / 255, seed) for seed, image in enumerate(clean)])
            for sigma in options.sigmas
        ]
        seconds = time.perf_counter() - start
        print(f"{name:24}", *(f"{value:.2f}" for value in found), f"{seconds:.0f} s", *reference.notes, flush=True)


def read(file: Path) -> list[Tensor]:
    """Return grey images in [0, 1], shape (1, H, W) each."""
    with np.load(file) as archive:
        arrays = [archive[name] for name in archive.files]
    if len(arrays) == 1 and arrays[0].ndim == 3:
        arrays = list(arrays[0])
    return [torch.from_numpy(array)[None].float() / 255 for array in arrays]


def psnr(reference: Reference, image: Tensor, sigma: float, seed: int) -> float:
    """Return the PSNR in dB that a reference reaches on an image (1, H, W), under noise of its own seed."""
    noise = torch.randn(image.shape, generator=torch.Generator().manual_seed(seed))
    denoised = reference.denoise((image + sigma * noise)[None], sigma, Truth(image[None]))
    return float(-10 * (denoised[0] - image).square().mean().log10())


if __name__ == "__main__":
    main()
