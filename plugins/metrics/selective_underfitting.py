"""Distance of a denoiser from the score of its training images, on noisy training images and on sampling paths."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Self

import torch
from torch import Tensor

from gahbench import Metric, OptimumError, Scores
from gahbench.evaluation import Evaluation
from gahbench.sampling import draw_path_points, images_device, wrap_denoiser

from .._papers import SONG_2025
from ..datasets.finite import empirical_bayes
from ._sampled import MAX_BYTES, MAX_IMAGES, scatter


class SelectiveUnderfitting(Metric):
    """Ratio of the errors against the empirical score on sampling paths and on noisy training images.

    The empirical score is the score of the training images under noise, (g(y) - y) / sigma^2 with g the posterior mean
    over the training images (``empirical-bayes``), which minimises the training loss. Training compares f with it only
    near noisy training images. Sampling passes elsewhere, so a network may fit the empirical score where it is trained,
    and yet not return training images (Song et al. 2025).

    Boards show the ratio of the means of ``extrapolation`` and ``supervision``. It is near 1 if the paths pass through
    the noisy training images, and large if the denoiser underfits selectively. It is undefined for ``empirical-bayes``,
    which has no error. There are no values for denoisers that learned from a stream of new images.

    Parts: |f(y) - g(y)|^2 / (sigma^2 d), the error of the scores times sigma^2, per pixel: ``supervision``, at noisy
    training images; ``extrapolation``, at the points y of the denoiser's own probability flow at the noise level sigma.
    The flow is as in ``flow-distance``. There are as many points of each kind as samples; training images are repeated
    if there are fewer. Noise levels outside the flow's have no value.
    """

    positive_parts = ("", "extrapolation", "supervision")
    citation = SONG_2025
    titles: ClassVar[Mapping[str, str]] = {
        "supervision": "error of the score at noisy training images",
        "extrapolation": "error of the score on sampling paths",
    }
    ratios: ClassVar[Mapping[str, tuple[str, str]]] = {"": ("extrapolation", "supervision")}
    higher_is_better = None
    needs = frozenset({"samples", "test", "training"})

    def score(self, evaluation: Evaluation) -> Scores:
        """Return the parts for every point at every noise level."""
        data, settings = evaluation.learned_from, evaluation.sampling.as_flow()
        sigmas = [sigma for sigma in evaluation.sigmas if settings.sigma_end <= sigma <= settings.sigma_start]
        if data is None or data.count is None or not sigmas:
            return Scores([])
        shape, device = evaluation.shape, images_device(evaluation.denoiser, evaluation.shape, evaluation.device)
        training = data.training(max(1, min(MAX_IMAGES, MAX_BYTES // (4 * evaluation.clean[0].numel()))))
        clean = training[torch.arange(settings.count) % len(training)]
        noisy = {sigma: clean + data.noise(settings.count, sigma) for sigma in sigmas}
        try:
            denoise = wrap_denoiser(evaluation.denoiser, shape, evaluation.dataset, evaluation.device)
            paths = draw_path_points(denoise, shape, settings, sigmas, device=device)
            points = {"supervision": noisy, "extrapolation": dict(zip(sigmas, paths, strict=True))}
            values = {
                (part, sigma): _errors(evaluation, training, at_sigma, sigma)
                for part, at_levels in points.items()
                for sigma, at_sigma in at_levels.items()
            }
        except OptimumError:
            # The optimum may be unavailable at some noise levels.
            return Scores([])
        return Scores.parts(values)


def _errors(evaluation: Evaluation, training: Tensor, points: Tensor, sigma: float) -> Tensor:
    """Return |f(y) - g(y)|^2 / (sigma^2 d) at points y of shape (N, C, H, W), shape (N,); NaN where points are NaN."""
    indices = points.flatten(1).isfinite().all(1).nonzero()[:, 0]
    if not len(indices):
        return torch.full((len(points),), torch.nan, dtype=torch.float64)
    noisy = points[indices]
    denoised = _AtPoints.from_evaluation(evaluation, noisy, sigma).denoised(sigma)
    empirical = empirical_bayes(training.flatten(1), noisy.flatten(1).to(evaluation.device), sigma).mean.cpu()
    square = (denoised.double().flatten(1) - empirical).square().mean(1) / sigma**2
    return scatter(square, indices, len(points))


class _AtPoints(Evaluation):
    """An evaluation at given noisy images, whose clean images are unknown."""

    @classmethod
    def from_evaluation(cls, other: Evaluation, points: Tensor, sigma: float) -> Self:
        """Return an evaluation of the denoiser of another evaluation."""
        return cls(other.denoiser, points, [sigma], other.noise_seed, other.split, other.dataset)

    def noisy(self, sigma: float, draw: int = 0) -> Tensor:
        """Return the points, shape (N, C, H, W)."""
        return self.clean
