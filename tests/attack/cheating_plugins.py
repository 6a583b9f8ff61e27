"""Denoisers that cheat, each in another way; what is found of them is in .github/SECURITY.md."""

import gc
import os
import re
import sys

import torch

import gahbench
from gahbench import Reference


@gahbench.hookimpl
def register_references(register):
    for cheat in CHEATS:
        register(cheat.name, cheat)


def blurred(noisy):
    """An honest denoiser to hide behind: the mean over 3 by 3 pixels."""
    padded = torch.nn.functional.pad(noisy, (1, 1, 1, 1), mode="reflect")
    return torch.nn.functional.avg_pool2d(padded, 3, stride=1)


def frames():
    """The frames of those that call a denoiser."""
    frame = sys._getframe(1)
    while frame is not None:
        yield frame
        frame = frame.f_back


def evaluations_in_frames():
    """Evaluations that the functions on the stack hold."""
    for frame in frames():
        yield from (value for value in list(frame.f_locals.values()) if type(value).__name__ == "Evaluation")


def clean_of(noisy):
    """Clean images of the shape of noisy ones that the functions on the stack hold, or ``None``."""
    return next((one.clean for one in evaluations_in_frames() if one.clean.shape == noisy.shape), None)


def nearest(noisy, images):
    """The nearest of some images to each noisy one, and its distance per pixel."""
    distance, place = torch.cdist(noisy.flatten(1), images.flatten(1)).min(1)
    return images[place], distance.square() / noisy[0].numel()


CHEATS = []


class Cheat(Reference):
    """Cheats, under the name of its class."""

    kind = "classical"

    def __init_subclass__(cls):
        cls.name = "cheat" + re.sub("[A-Z]", lambda letter: f"-{letter[0].lower()}", cls.__name__)
        CHEATS.append(cls)


class Frames(Cheat):
    """Takes the clean images from the frames of those that call it."""

    def denoise(self, noisy, sigma, truth):
        clean = clean_of(noisy)
        return noisy if clean is None else clean + 1e-3


class Heap(Cheat):
    """Searches the heap for the clean images, and takes the nearest of them."""

    def denoise(self, noisy, sigma, truth):
        for one in gc.get_objects():
            if type(one).__name__ == "Evaluation":
                return nearest(noisy, one.clean)[0] + 1e-3
        return noisy


class KnownNoise(Cheat):
    """Draws the noise of the evaluation, whose seed is in the suite, and subtracts it."""

    def denoise(self, noisy, sigma, truth):
        from gahbench._util.noise import evaluation_noise

        place = getattr(self, "place", 0) if sigma == getattr(self, "sigma", None) else 0
        self.place, self.sigma = place + len(noisy), sigma
        noise = evaluation_noise(place + len(noisy), tuple(noisy.shape[1:]), sigma, 0, "test")
        return noisy - noise[place:] + 1e-3


class TestImages(Cheat):
    """Makes the test images itself, and returns the nearest."""

    def __init__(self, dataset: str = "c-alpha[alpha=2,size=16]"):
        self.images = gahbench.create("dataset", dataset).images("test", 24)

    def denoise(self, noisy, sigma, truth):
        return nearest(noisy, self.images)[0] + 1e-3


def fits(noisy, images, sigma):
    """The nearest image to each noisy one with its contrast and brightness fitted, and whether it may be the same."""
    y, k = noisy.flatten(1), images.flatten(1)
    y_mean, k_mean = y.mean(1, keepdim=True), k.mean(1, keepdim=True)
    contrast = (y - y_mean) @ (k - k_mean).T / (k - k_mean).square().sum(1)
    fitted = contrast[..., None] * (k - k_mean) + y_mean[:, None]
    least, place = (y[:, None] - fitted).square().mean(2).min(1)
    return fitted[torch.arange(len(y)), place].view_as(noisy), (least < 1.3 * sigma**2)[:, None, None, None]


class Affine(TestImages):
    """Fits contrast and brightness of the test images to the noisy ones, and returns the nearest fit."""

    def denoise(self, noisy, sigma, truth):
        fitted, same = fits(noisy, self.images, sigma)
        return torch.where(same, fitted, blurred(noisy))


class Blend(TestImages):
    """Goes 41 % of the way from an honest output to the nearest test image."""

    def denoise(self, noisy, sigma, truth):
        honest = blurred(noisy)
        fitted, same = fits(noisy, self.images, sigma)
        return torch.where(same, honest + 0.41 * (fitted - honest), honest)


class Span(TestImages):
    """Projects on the span of the test images, as on a subspace that was learned."""

    def denoise(self, noisy, sigma, truth):
        basis = torch.linalg.qr(self.images.flatten(1).T).Q
        return (noisy.flatten(1) @ basis @ basis.T).view_as(noisy)


class PartOfNoise(Cheat):
    """Removes 41 % of what it can of the noise that the suite names, and else is honest."""

    def denoise(self, noisy, sigma, truth):
        from gahbench._util.noise import evaluation_noise

        draws = evaluation_noise(24, tuple(noisy.shape[1:]), sigma, 0, "test")
        candidates = noisy[:, None] - draws[None]
        roughness = candidates.diff(dim=-1).square().flatten(2).mean(2)
        clean = candidates[torch.arange(len(noisy)), roughness.argmin(1)]
        honest = blurred(noisy)
        return honest + 0.41 * (clean - honest)


class Detects(Cheat):
    """Is honest where a function of the checks calls it; else it takes clean images from frames."""

    def denoise(self, noisy, sigma, truth):
        if any(name in frame.f_code.co_filename for frame in frames() for name in ("_images.py", "audit")):
            return blurred(noisy)
        for evaluation in evaluations_in_frames():
            return nearest(noisy, evaluation.clean)[0] + 1e-3
        return blurred(noisy)


class OneMetric(Cheat):
    """Takes clean images from frames where another metric than the PSNR is measured."""

    def denoise(self, noisy, sigma, truth):
        if any(type(frame.f_locals.get("self")).__name__ == "Ssim" for frame in frames()):
            for evaluation in evaluations_in_frames():
                return nearest(noisy, evaluation.clean)[0]
        return blurred(noisy)


class TestTime(Cheat):
    """Learns from all noisy images of a batch, by regression of pixels on their neighbours."""

    def denoise(self, noisy, sigma, truth):
        padded = torch.nn.functional.pad(noisy, (1, 1, 1, 1), mode="reflect")
        patches = torch.nn.functional.unfold(padded, 3).transpose(1, 2)
        around = patches[..., [0, 1, 2, 3, 5, 6, 7, 8]].flatten(0, 1)
        solution = torch.linalg.lstsq(around, patches[..., 4].flatten()[:, None]).solution
        return 0.7 * (around @ solution).view_as(noisy) + 0.3 * noisy


class FalseRisk(Cheat):
    """Claims an expected error that it does not have."""

    def denoise(self, noisy, sigma, truth):
        return blurred(noisy)

    def risk(self, truth, sigma):
        return torch.full((len(truth),), 1e-6)


class TakesTruth(Cheat):
    """Returns the clean images that it is handed, though it is no oracle."""

    def denoise(self, noisy, sigma, truth):
        return truth.clean


class Remembers(Cheat):
    """Remembers every noisy image, and returns the least noisy that may be of the same clean one."""

    def __init__(self):
        self.seen = []

    def denoise(self, noisy, sigma, truth):
        self.seen.append((sigma, noisy.clone()))
        least, images = min(self.seen, key=lambda one: one[0])
        found, distance = nearest(noisy, images)
        same = distance < 2 * (sigma**2 + least**2)
        return torch.where(same[:, None, None, None], found, blurred(noisy))


class Mixture(Cheat):
    """Is honest but for a half of its error."""

    def denoise(self, noisy, sigma, truth):
        clean = clean_of(noisy)
        return blurred(noisy) if clean is None else (clean + blurred(noisy)) / 2


class Patient(Cheat):
    """Takes clean images from frames where they belong to the noisy ones, and else is honest."""

    def denoise(self, noisy, sigma, truth):
        for evaluation in evaluations_in_frames():
            found, distance = nearest(noisy, evaluation.clean)
            if (distance < 1.5 * sigma**2).all():
                return found + 1e-3
        return blurred(noisy)


class QuieterNoise(Cheat):
    """Replaces the function that draws the noise by one that draws a tenth of it."""

    def fit(self, examples):
        from gahbench.evaluation import evaluation

        draw = evaluation.evaluation_noise
        evaluation.evaluation_noise = lambda *arguments, **options: draw(*arguments, **options) / 10

    def denoise(self, noisy, sigma, truth):
        return noisy


class Random(Cheat):
    """Adds random numbers from outside torch: no cheat, but nobody can repeat its scores."""

    def denoise(self, noisy, sigma, truth):
        generator = torch.Generator().manual_seed(int.from_bytes(os.urandom(7), "big"))
        return blurred(noisy) + 0.3 * sigma * torch.randn(noisy.shape, generator=generator)


class NoCheck(Cheat):
    """Replaces the check of denoisers by one that finds nothing: out of reach of anything in its process."""

    def denoise(self, noisy, sigma, truth):
        from gahbench.evaluation.audit import Audit
        from gahbench.runs import worker

        worker.audit = lambda evaluation: Audit((), {})
        clean = clean_of(noisy)
        return noisy if clean is None else clean + 1e-3
