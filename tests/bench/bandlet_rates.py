"""Slopes of oracle bandlets in squares of increasing size: along a known circle, and along estimated contours.

``python tests/bench/bandlet_rates.py`` takes minutes at 1024 pixels; ``--size 4096`` takes an hour and 8 GiB.
``--caps`` are the maximum sides of squares along the circle. ``--found-size`` is the size of the images with estimated
contours, or 0 to skip them; the options after it apply to these images. Noise levels are scaled by size/2048, so that
errors belong to the same picture at any size.
"""

import math

import harness
import numpy as np
import torch

import gahbench

#: Centre and radius of the circle, relative to the side of the image, and the difference in grey level across it.
CENTRE, RADIUS, AMPLITUDE = (0.513, 0.479), 0.2713, 0.24


def main():
    options = harness.options(
        __doc__, "--size 64 --caps null --found-size 32 --images 1",
        size=1024, caps=["8", "16", "32", "64", "null"], found_size=512, images=4, alpha=4.0, wavelet="sym4",
    )  # fmt: skip
    if options.size:
        circle(options.size, options.caps)
    if options.found_size:
        contours(options.found_size, options.images, options.alpha, options.wavelet)


class Circle(gahbench.Dataset):
    """A single image of a disc with a known contour."""

    has_level_sets = True

    def __init__(self, size):
        self.size = size
        coordinates = torch.arange(size, dtype=torch.float64) + 0.5
        distances = torch.hypot((coordinates - CENTRE[0] * size)[:, None], coordinates - CENTRE[1] * size)
        self.outside = distances - RADIUS * size

    @property
    def shape(self):
        return (1, self.size, self.size)

    def images(self, split, count, start=0):
        """Return copies of the image, whose edge is one pixel wide, shape (count, 1, size, size)."""
        return (0.4 + AMPLITUDE * (0.5 - self.outside).clamp(0, 1)).float().expand(count, *self.shape)

    def level_sets(self, split, count, start=0):
        """Return the signed distance from the circle, shape (count, size, size)."""
        return self.outside.expand(count, -1, -1)


def circle(size, caps):
    sigmas = size / 2048 * 2 ** (torch.arange(-3, 4, dtype=torch.float64) / 2)
    dataset = Circle(size)
    truth = gahbench.Truth(dataset.images("test", 1), dataset)
    levels = int(math.log2(size)) - 3
    print(
        f"a circle of {size} pixels, Haar, along level sets; PSNR in dB at sigma/side {format_values(sigmas / size, 6)}"
    )
    for cap in ("", *caps):
        basis = f"true-flow[haar,levels={levels},moments=1,largest={cap}]" if cap else f"wavelet[haar,levels={levels}]"
        oracle = gahbench.create("reference", f"oracle-threshold[{basis}]")
        seconds, risks = harness.time_call(lambda: [oracle.risk(truth, sigma) for sigma in sigmas.tolist()])  # noqa: B023
        title = "squares <= " + cap if cap else "wavelet"
        print(f"  {title:16} {slopes(sigmas, torch.cat(risks))}  {seconds:.0f} s", flush=True)


def contours(size, count, alpha, wavelet):
    sigmas = size / 2048 * 2.0 ** torch.arange(-3, 3, dtype=torch.float64)
    dataset = gahbench.create("dataset", "c-alpha", alpha=alpha, size=size, contour="closed")
    masks = dataset.masks(torch.Generator().manual_seed(0), count).reshape(count, 1, size, size)
    images = (0.4 + AMPLITUDE * masks).float()
    levels = int(math.log2(size)) - 3
    print(f"{count} closed contours, alpha {alpha:g}, {size} pixels, {wavelet}; geometry is estimated and counted")
    plain = gahbench.create("basis", f"wavelet[{wavelet},levels={levels}]").analysis(images)
    before = torch.stack([risk_of(plain, sigma) for sigma in sigmas.tolist()])
    print(f"  {'wavelet':44} {slopes(sigmas, before.mean(1) / size**2)}")
    forms = ("largest=16", *(f"largest={cap},directions=fine,count=parameters" for cap in ("16", "null")))
    for form in forms:
        basis = gahbench.create("basis", f"bandlet[{wavelet},levels={levels},moments=1,{form}]")

        def measure(basis=basis):
            adapted = [(basis.adapt(images, sigma), sigma) for sigma in sigmas.tolist()]
            # The flow of a square has one parameter, its angle.
            counts = [
                [sum(each.angle is not None for each in basis.squares(i)) for i in range(count)] for basis, _ in adapted
            ]
            risks = torch.stack([risk_of(basis.analysis(images), sigma) for basis, sigma in adapted])
            return risks + torch.tensor(counts) * sigmas[:, None] ** 2

        seconds, after = harness.time_call(measure)
        gains = 10 * (before / after).log10()
        errors = 1.96 * gains.std(dim=1) / math.sqrt(count) if count > 1 else gains[:, 0] * math.nan
        text = " ".join(f"{gain:+.2f}±{error:.2f}" for gain, error in zip(gains.mean(1), errors, strict=True))
        print(f"  {form:44} {slopes(sigmas, after.mean(1) / size**2)}  {seconds:.0f} s")
        print(
            f"  {'':44} gain over the wavelet, at a price of sigma^2 per parameter, with 95 % intervals: {text}",
            flush=True,
        )


def risk_of(coefficients, sigma):
    """Return the oracle thresholding risk of each image, summed over pixels."""
    return coefficients.double().square().clamp(max=sigma**2).flatten(1).sum(1)


def slopes(sigmas, errors):
    """Return the slope of the output PSNR against the input PSNR, and the output PSNR at each sigma."""
    output = -10 * errors.log10()
    slope = np.polyfit((-20 * sigmas.log10()).numpy(), output.numpy(), 1)[0]
    return f"slope {slope:.3f}  PSNR {format_values(output, 2)}"


def format_values(values, digits):
    return " ".join(f"{value:.{digits}f}" for value in values.tolist())


if __name__ == "__main__":
    main()
