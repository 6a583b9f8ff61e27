"""Denoisers that cheat in different ways; .github/SECURITY.md documents the outcome of each."""

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


def blur(noisy):
    """Denoise honestly, by the mean over 3 by 3 pixels."""
    padded = torch.nn.functional.pad(noisy, (1, 1, 1, 1), mode="reflect")
    return torch.nn.functional.avg_pool2d(padded, 3, stride=1)


def frames():
    """Yield the frames of the callers."""
    frame = sys._getframe(1)
    while frame is not None:
        yield frame
        frame = frame.f_back


def evaluations_in_frames():
    """Yield the evaluations among local variables of the callers."""
    for frame in frames():
        yield from (value for value in list(frame.f_locals.values()) if type(value).__name__ == "Evaluation")


def clean_of(noisy):
    """Return clean images with the shape of the noisy images from frames of the callers, or ``None``."""
    candidates = (evaluation.clean for evaluation in evaluations_in_frames())
    return next((clean for clean in candidates if clean.shape == noisy.shape), None)


def nearest(noisy, images):
    """Return the nearest of some images to each noisy image, and the squared distance per pixel."""
    distance, index = torch.cdist(noisy.flatten(1), images.flatten(1)).min(1)
    return images[index], distance.square() / noisy[0].numel()


CHEATS = []


class Cheat(Reference):
    """Base of all cheats, each of which is registered under the name of its class."""

    kind = "classical"

    def __init_subclass__(cls):
        cls.name = "cheat" + re.sub("[A-Z]", lambda letter: f"-{letter[0].lower()}", cls.__name__)
        CHEATS.append(cls)


class Frames(Cheat):
    """Takes the clean images from the frames of its callers."""

    def denoise(self, noisy, sigma, truth):
        clean = clean_of(noisy)
        return noisy if clean is None else clean + 1e-3


class Heap(Cheat):
    """Searches the heap for the clean images, and returns the nearest."""

    def denoise(self, noisy, sigma, truth):
        for value in gc.get_objects():
            if type(value).__name__ == "Evaluation":
                return nearest(noisy, value.clean)[0] + 1e-3
        return noisy


class KnownNoise(Cheat):
    """Draws the noise of the evaluation, whose seed is in the suite, and subtracts it."""

    def denoise(self, noisy, sigma, truth):
        from gahbench._util.noise import evaluation_noise

        start = getattr(self, "start", 0) if sigma == getattr(self, "sigma", None) else 0
        self.start, self.sigma = start + len(noisy), sigma
        noise = evaluation_noise(start + len(noisy), tuple(noisy.shape[1:]), sigma, 0, "test")
        return noisy - noise[start:] + 1e-3


class TestImages(Cheat):
    """Generates the test images, and returns the nearest."""

    def __init__(self, dataset: str = "c-alpha[alpha=2,size=16]"):
        self.images = gahbench.create("dataset", dataset).images("test", 24)

    def denoise(self, noisy, sigma, truth):
        return nearest(noisy, self.images)[0] + 1e-3


def fit_contrast(noisy, images, sigma):
    """Return the nearest image with fitted contrast and brightness, and whether it may be the clean image."""
    y, k = noisy.flatten(1), images.flatten(1)
    y_mean, k_mean = y.mean(1, keepdim=True), k.mean(1, keepdim=True)
    contrast = (y - y_mean) @ (k - k_mean).T / (k - k_mean).square().sum(1)
    fitted = contrast[..., None] * (k - k_mean) + y_mean[:, None]
    error, index = (y[:, None] - fitted).square().mean(2).min(1)
    return fitted[torch.arange(len(y)), index].view_as(noisy), (error < 1.3 * sigma**2)[:, None, None, None]


class Affine(TestImages):
    """Fits contrast and brightness of the test images to the noisy images, and returns the nearest fit."""

    def denoise(self, noisy, sigma, truth):
        fitted, same = fit_contrast(noisy, self.images, sigma)
        return torch.where(same, fitted, blur(noisy))


class Blend(TestImages):
    """Moves an honest output by 41 % towards the nearest test image."""

    def denoise(self, noisy, sigma, truth):
        honest = blur(noisy)
        fitted, same = fit_contrast(noisy, self.images, sigma)
        return torch.where(same, honest + 0.41 * (fitted - honest), honest)


class Span(TestImages):
    """Projects onto the span of the test images."""

    def denoise(self, noisy, sigma, truth):
        basis = torch.linalg.qr(self.images.flatten(1).T).Q
        return (noisy.flatten(1) @ basis @ basis.T).view_as(noisy)


class PartOfNoise(Cheat):
    """Moves an honest output by 41 % towards the noisy image without its noise, which the suite's seed determines."""

    def denoise(self, noisy, sigma, truth):
        from gahbench._util.noise import evaluation_noise

        draws = evaluation_noise(24, tuple(noisy.shape[1:]), sigma, 0, "test")
        candidates = noisy[:, None] - draws[None]
        roughness = candidates.diff(dim=-1).square().flatten(2).mean(2)
        clean = candidates[torch.arange(len(noisy)), roughness.argmin(1)]
        honest = blur(noisy)
        return honest + 0.41 * (clean - honest)


class Detects(Cheat):
    """Takes clean images from frames, but is honest if a function of the checks calls it."""

    def denoise(self, noisy, sigma, truth):
        if any(name in frame.f_code.co_filename for frame in frames() for name in ("_images.py", "audit")):
            return blur(noisy)
        for evaluation in evaluations_in_frames():
            return nearest(noisy, evaluation.clean)[0] + 1e-3
        return blur(noisy)


class OneMetric(Cheat):
    """Takes clean images from frames, but only while SSIM is measured."""

    def denoise(self, noisy, sigma, truth):
        if any(type(frame.f_locals.get("self")).__name__ == "Ssim" for frame in frames()):
            for evaluation in evaluations_in_frames():
                return nearest(noisy, evaluation.clean)[0]
        return blur(noisy)


class TestTime(Cheat):
    """Learns from all noisy images of a batch, by regression of pixels on their neighbours."""

    def denoise(self, noisy, sigma, truth):
        padded = torch.nn.functional.pad(noisy, (1, 1, 1, 1), mode="reflect")
        patches = torch.nn.functional.unfold(padded, 3).transpose(1, 2)
        neighbours = patches[..., [0, 1, 2, 3, 5, 6, 7, 8]].flatten(0, 1)
        solution = torch.linalg.lstsq(neighbours, patches[..., 4].flatten()[:, None]).solution
        return 0.7 * (neighbours @ solution).view_as(noisy) + 0.3 * noisy


class FalseRisk(Cheat):
    """Claims an expected error that is too small."""

    def denoise(self, noisy, sigma, truth):
        return blur(noisy)

    def risk(self, truth, sigma):
        return torch.full((len(truth),), 1e-6)


class TakesTruth(Cheat):
    """Returns the clean images in ``truth``, although it is not an oracle."""

    def denoise(self, noisy, sigma, truth):
        return truth.clean


class Remembers(Cheat):
    """Remembers every noisy image, and returns the least noisy version that may have the same clean image."""

    def __init__(self):
        self.seen = []

    def denoise(self, noisy, sigma, truth):
        self.seen.append((sigma, noisy.clone()))
        least_sigma, images = min(self.seen, key=lambda item: item[0])
        candidate, distance = nearest(noisy, images)
        is_same = distance < 2 * (sigma**2 + least_sigma**2)
        return torch.where(is_same[:, None, None, None], candidate, blur(noisy))


class Mixture(Cheat):
    """Returns the mean of the clean image and an honest output, which halves the error."""

    def denoise(self, noisy, sigma, truth):
        clean = clean_of(noisy)
        return blur(noisy) if clean is None else (clean + blur(noisy)) / 2


class Patient(Cheat):
    """Takes clean images from frames if they match the noisy images, and is honest otherwise."""

    def denoise(self, noisy, sigma, truth):
        for evaluation in evaluations_in_frames():
            clean, distance = nearest(noisy, evaluation.clean)
            if (distance < 1.5 * sigma**2).all():
                return clean + 1e-3
        return blur(noisy)


class QuieterNoise(Cheat):
    """Replaces the function that draws the noise, and divides the noise by 10."""

    def fit(self, examples):
        from gahbench.evaluation import evaluation

        draw = evaluation.evaluation_noise
        evaluation.evaluation_noise = lambda *arguments, **options: draw(*arguments, **options) / 10

    def denoise(self, noisy, sigma, truth):
        return noisy


class Random(Cheat):
    """Adds random numbers from the operating system, so that its scores are not reproducible."""

    def denoise(self, noisy, sigma, truth):
        generator = torch.Generator().manual_seed(int.from_bytes(os.urandom(7), "big"))
        return blur(noisy) + 0.3 * sigma * torch.randn(noisy.shape, generator=generator)


class NoCheck(Cheat):
    """Replaces the checks of denoisers by checks without findings, which no check in its process can prevent."""

    def denoise(self, noisy, sigma, truth):
        from gahbench.evaluation.audit import Audit
        from gahbench.runs import row

        row.audit = row.audit_repetition = lambda evaluation: Audit((), {})
        clean = clean_of(noisy)
        return noisy if clean is None else clean + 1e-3
