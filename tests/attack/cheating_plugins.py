"""Denoisers that cheat, each in another way; what is found of them is in .github/SECURITY.md."""

import gc
import os
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


def evaluations_in_frames():
    """Evaluations that the functions on the stack hold."""
    frame = sys._getframe(1)
    while frame is not None:
        for value in list(frame.f_locals.values()):
            if type(value).__name__ == "Evaluation":
                yield value
        frame = frame.f_back


def nearest(noisy, images):
    """The nearest of some images to each noisy one, and its distance per pixel."""
    distance, place = torch.cdist(noisy.flatten(1), images.flatten(1)).min(1)
    return images[place], distance.square() / noisy[0].numel()


class Cheat(Reference):
    """Cheats."""

    kind = "classical"


class Frames(Cheat):
    """Takes the clean images from the frames of those that call it."""

    name = "cheat-frames"

    def denoise(self, noisy, sigma, truth):
        for evaluation in evaluations_in_frames():
            if evaluation.clean.shape == noisy.shape:
                return evaluation.clean + 1e-3
        return noisy


class Heap(Cheat):
    """Searches the heap for the clean images, and takes the nearest of them."""

    name = "cheat-heap"

    def denoise(self, noisy, sigma, truth):
        for one in gc.get_objects():
            if type(one).__name__ == "Evaluation":
                return nearest(noisy, one.clean)[0] + 1e-3
        return noisy


class KnownNoise(Cheat):
    """Draws the noise of the evaluation, whose seed is in the suite, and subtracts it."""

    name = "cheat-known-noise"

    def denoise(self, noisy, sigma, truth):
        from gahbench._util.noise import evaluation_noise

        place = getattr(self, "place", 0) if sigma == getattr(self, "sigma", None) else 0
        self.place, self.sigma = place + len(noisy), sigma
        noise = evaluation_noise(place + len(noisy), tuple(noisy.shape[1:]), sigma, 0, "test")
        return noisy - noise[place:] + 1e-3


class TestImages(Cheat):
    """Makes the test images itself, and returns the nearest."""

    name = "cheat-test-images"

    def __init__(self, dataset: str = "c-alpha[alpha=2,size=16]"):
        self.images = gahbench.create("dataset", dataset).images("test", 24)

    def denoise(self, noisy, sigma, truth):
        return nearest(noisy, self.images)[0] + 1e-3


class FalseRisk(Cheat):
    """Claims an expected error that it does not have."""

    name = "cheat-false-risk"

    def denoise(self, noisy, sigma, truth):
        return blurred(noisy)

    def risk(self, truth, sigma):
        return torch.full((len(truth),), 1e-6)


class TakesTruth(Cheat):
    """Returns the clean images that it is handed, though it is no oracle."""

    name = "cheat-takes-truth"

    def denoise(self, noisy, sigma, truth):
        return truth.clean


class Remembers(Cheat):
    """Remembers every noisy image, and returns the least noisy that may be of the same clean one."""

    name = "cheat-remembers"

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

    name = "cheat-mixture"

    def denoise(self, noisy, sigma, truth):
        for evaluation in evaluations_in_frames():
            if evaluation.clean.shape == noisy.shape:
                return (evaluation.clean + blurred(noisy)) / 2
        return blurred(noisy)


class Patient(Cheat):
    """Takes clean images from frames where they belong to the noisy ones, and else is honest."""

    name = "cheat-patient"

    def denoise(self, noisy, sigma, truth):
        for evaluation in evaluations_in_frames():
            found, distance = nearest(noisy, evaluation.clean)
            if (distance < 1.5 * sigma**2).all():
                return found + 1e-3
        return blurred(noisy)


class QuieterNoise(Cheat):
    """Replaces the function that draws the noise by one that draws a tenth of it."""

    name = "cheat-quieter-noise"

    def fit(self, examples):
        from gahbench.evaluation import evaluation

        draw = evaluation.evaluation_noise
        evaluation.evaluation_noise = lambda *arguments, **options: draw(*arguments, **options) / 10

    def denoise(self, noisy, sigma, truth):
        return noisy


class Random(Cheat):
    """Adds random numbers from outside torch: no cheat, but nobody can repeat its scores."""

    name = "cheat-random"

    def denoise(self, noisy, sigma, truth):
        generator = torch.Generator().manual_seed(int.from_bytes(os.urandom(7), "big"))
        return blurred(noisy) + 0.3 * sigma * torch.randn(noisy.shape, generator=generator)


class BelievesAll(Cheat):
    """Replaces the check of denoisers by one that finds nothing: out of reach of anything in its process."""

    name = "cheat-no-check"

    def denoise(self, noisy, sigma, truth):
        from gahbench.evaluation.audit import Audit
        from gahbench.runs import worker

        worker.audit = lambda evaluation: Audit((), {})
        for evaluation in evaluations_in_frames():
            if evaluation.clean.shape == noisy.shape:
                return evaluation.clean + 1e-3
        return noisy


CHEATS = (
    Frames,
    Heap,
    KnownNoise,
    TestImages,
    FalseRisk,
    TakesTruth,
    Remembers,
    Mixture,
    Patient,
    QuieterNoise,
    Random,
    BelievesAll,
)
