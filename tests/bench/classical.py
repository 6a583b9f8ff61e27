"""PSNR of classical denoisers on standard test images, compared with published values of BM3D.

Run ``python tests/bench/classical.py [REFERENCE ...] --images bsd68.npz --tune train400.npz``. Both files hold grey
images from 0 to 255, as one array each or as a single array. ``--tune`` has training images of one size, of which the
last ``--validation`` are for validation. Noisy and denoised images are not clipped. PSNR is the mean over images, or
over every n-th image with ``--every``; ``--sigmas`` are in units of 1/255.

On one core, ``bm3d`` takes ten seconds or more for a 481x321 image and noise level, and other references a few seconds.
"""

from pathlib import Path

import harness
import numpy as np
import torch

import gahbench

#: Mean PSNR in dB at sigma = 15, 25 and 50 of 255, as usually quoted for BM3D (e.g. Zhang et al. 2017, DnCNN).
PUBLISHED = {"bsd68": {15: 31.07, 25: 28.57, 50: 25.62}, "set12": {15: 32.37, 25: 29.97, 50: 26.72}}
REFERENCES = ["bm3d", "nl-means", "tv", "gaussian-blur", "bayes-shrink"]


class Photographs(gahbench.Dataset):
    """Grey images of one shape; the last images are for validation."""

    def __init__(self, images, validation):
        self._parts = {"train": images[:-validation], "validation": images[-validation:]}

    @property
    def shape(self):
        return tuple(self._parts["train"].shape[1:])

    def images(self, split, count, start=0):
        return self._parts[split][start : start + count]

    def available(self, split):
        return len(self._parts[split])


def main():
    options = harness.options(
        __doc__, small, "references", references=REFERENCES, images=Path, tune=Path, sigmas=[15.0, 25.0, 50.0], every=1,
        validation=16, plugins=[],
    )  # fmt: skip
    photographs = Photographs(torch.stack(read(options.tune)), options.validation)
    clean = read(options.images)[:: options.every]
    print(f"{options.images.name}: {len(clean)} images; PSNR in dB at sigma = {options.sigmas} of 255")
    published = PUBLISHED.get(options.images.stem, {})
    print("BM3D as published (all images): ", *(published.get(sigma, "-") for sigma in options.sigmas))
    for name in options.references:
        reference = gahbench.create("reference", name, plugins=list(map(Path, options.plugins)))

        def measure(reference=reference):
            reference.fit(gahbench.TrainingData(photographs))
            return [
                np.mean([psnr(reference, image, sigma / 255, seed) for seed, image in enumerate(clean)])
                for sigma in options.sigmas
            ]

        seconds, psnrs = harness.time_call(measure)
        print(f"{name:24}", *(f"{value:.2f}" for value in psnrs), f"{seconds:.0f} s", *reference.notes, flush=True)


def small():
    """Return options with a file of eight grey images of 16x16 pixels."""
    file = harness.folder() / "images.npz"
    np.savez(file, np.random.default_rng(0).integers(0, 256, (8, 16, 16), dtype=np.uint8))
    return f"gaussian-blur --images {file} --tune {file} --validation 2"


def read(file):
    """Return grey images in [0, 1], shape (1, H, W) each."""
    with np.load(file) as archive:
        arrays = [archive[name] for name in archive.files]
    if len(arrays) == 1 and arrays[0].ndim == 3:
        arrays = list(arrays[0])
    return [torch.from_numpy(array)[None].float() / 255 for array in arrays]


def psnr(reference, image, sigma, seed):
    """Return the PSNR of a reference in dB on an image (1, H, W), with noise of the given seed."""
    noise = torch.randn(image.shape, generator=torch.Generator().manual_seed(seed))
    denoised = reference.denoise((image + sigma * noise)[None], sigma, gahbench.Truth(image[None]))
    return float(-10 * (denoised[0] - image).square().mean().log10())


if __name__ == "__main__":
    main()
