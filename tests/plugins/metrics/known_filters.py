"""Denoisers with known filters, fixed samples, and tables of scores, for tests of metrics."""

from __future__ import annotations

import torch

import gahbench
from gahbench.contracts.references import Reference
from gahbench.contracts.truth import TrainingData
from gahbench.evaluation.evaluation import Evaluation
from gahbench.jacobian import DenseMaps
from gahbench.sampling import Samples, Sampling


class Filters(Reference):
    """A denoiser that multiplies image i by matrix i, of shape (N, d, d) or (1, d, d), and adds an offset."""

    def __init__(self, matrices, offset=0.0):
        self.matrices, self.offset = matrices, offset

    def _matrices_of(self, truth):
        if len(self.matrices) == 1:
            return self.matrices.expand(len(truth), -1, -1)
        return self.matrices[truth.start : truth.start + len(truth)]

    def denoise(self, noisy, sigma, truth):
        matrices = self._matrices_of(truth)
        product = (matrices @ noisy.to(matrices).flatten(1)[..., None]).view_as(noisy)
        return (product + self.offset).to(noisy)

    def jacobian(self, noisy, sigma, truth):
        return DenseMaps(self._matrices_of(truth), tuple(noisy.shape[1:]))


def random_images(count, *shape, seed=0):
    """Return uniformly random images, shape (count, C, H, W)."""
    return torch.rand(count, *shape, generator=torch.Generator().manual_seed(seed))


def samples(given, diverged=()):
    """Return images as samples, some of which diverged."""
    sigma = torch.full((len(given),), 0.05, dtype=torch.float64)
    sigma[list(diverged)] = torch.nan
    return Samples(given, torch.full((len(given),), 3), sigma, Sampling(count=len(given)))


def group_by_part(scores):
    """Return lists of the values of scores by part."""
    result = {}
    for part, value in zip(scores.part or (), scores.value, strict=True):
        result.setdefault(part, []).append(value)
    return result


def create(kind, name):
    return gahbench.create(kind, name)


def evaluation(reference, dataset="c-alpha[size=16]", sigmas=(0.1,), count=8):
    """Return the evaluation of a reference, or of a reference by name, on test images of a dataset."""
    dataset = create("dataset", dataset)
    if isinstance(reference, str):
        reference = create("reference", reference)
        reference.fit(TrainingData(dataset))
    return Evaluation(reference, dataset.images("test", count), list(sigmas), dataset=dataset)


def evaluate_images(reference, clean, sigmas=(0.1,)):
    """Return the evaluation of a reference on images without a dataset."""
    reference = create("reference", reference) if isinstance(reference, str) else reference
    return Evaluation(reference, clean, list(sigmas))


def table(metric, evaluated):
    """Return the values of a metric, or of a metric by name, by part and noise level, in the order of the images."""
    scores = (create("metric", metric) if isinstance(metric, str) else metric).score(evaluated)
    result = {}
    rows = zip(scores.value, scores.sigma or (), scores.image or (), scores.part or (), strict=True)
    for value, sigma, image, part in rows:
        result.setdefault((part, sigma), []).append((image, value))
    assert all([image for image, _ in rows] == sorted({image for image, _ in rows}) for rows in result.values())
    return {key: torch.tensor([value for _, value in rows], dtype=torch.float64) for key, rows in result.items()}
