"""Training times of the principal components of the training images."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from gahbench import Batches, Metric, Scores, TrainingData, Truth, image_shape
from gahbench.evaluation import Denoiser, Evaluation

from .._papers import WANG_2025
from ..bases._matrices import check_values
from ..datasets.gaussian_faces import principal_components
from ._along_training import crossing_step, snapshot_spacing

#: Components whose initial gain is closer than this to the target have no learning time.
MIN_DIFFERENCE = 0.1
#: The slope is fitted only if at least this many components have a learning time.
MIN_COMPONENTS = 3


class LearningTimes(Metric):
    """Slope of the learning times of principal components against their variance; -1 for gradient descent.

    For a principal component u_k of the training images with variance lambda_k, the gain of the denoiser f is the mean
    over images of <f(y + sigma u_k) - f(y - sigma u_k), u_k> / 2 sigma. The gain of the best linear denoiser, the
    target, is lambda_k / (lambda_k + sigma^2). The learning time tau_k is the training step at which the difference
    from the target has fallen to half of its value at the first snapshot, interpolated between snapshots linearly in
    the logarithm of the step. A component has no learning time if its first gain is within 0.1 of the target, or if the
    difference does not fall to half.

    A linear denoiser trained by gradient descent at a single noise level approaches each target exponentially, at a
    rate proportional to lambda_k + sigma^2, so components of large variance are learned first (Wang & Pehlevan 2025,
    arXiv 2503.03206). The value is the least-squares slope of log tau_k against log(lambda_k + sigma^2), which is -1
    for such a denoiser. There is no value with fewer than three learning times.

    Parts: ``first`` and ``last``, the smallest and largest tau_k in steps; ``modes``, the number of learning times;
    ``spacing``, the largest ratio of the steps of successive snapshots after the tenth step, which should be below 1.3.
    Arrays for figures: ``steps``, ``variances`` lambda_k, ``times`` tau_k, and ``gains``, shape (T, K).

    Parameters
    ----------
    modes
        Largest number of components, at least 3; if there are more, a selection spaced evenly in the logarithm of the
        index is used.
    sigma
        Noise level, greater than 0; ``null`` for the lowest scored level.
    images
        Largest number of test images.
    training
        Largest number of training images for the principal components.
    """

    positive_parts = ("first", "last", "modes", "spacing")
    citation = WANG_2025
    higher_is_better = None
    titles: ClassVar[Mapping[str, str]] = {"": "slope of learning times"}
    needs = frozenset({"snapshots", "test", "training"})

    def __init__(
        self,
        modes: Annotated[int, Field(ge=MIN_COMPONENTS)] = 24,
        sigma: Annotated[float, Field(gt=0)] | None = None,
        images: Annotated[int, Field(ge=1)] = 8,
        training: Annotated[int, Field(ge=2)] = 4096,
    ) -> None:
        self.modes, self.sigma, self.images, self.training = modes, sigma, images, training

    def score(self, evaluation: Evaluation) -> Scores:
        """Return a single value and its parts."""
        data = evaluation.learned_from
        if data is None and evaluation.dataset is not None:
            # The network was trained on a stream of images; use its first images.
            data = TrainingData(evaluation.dataset)
        if data is None or not evaluation.snapshots:
            return Scores([])
        check_values(evaluation.shape, "learning-times needs the covariance")
        sigma = min(evaluation.sigmas) if self.sigma is None else self.sigma
        variances, vectors = self._components(data)
        noisy = evaluation.noisy(sigma)[: self.images]
        steps = [step for step, _ in evaluation.snapshots]
        gains = torch.stack([gains_along(load(), noisy, vectors, sigma) for _, load in evaluation.snapshots])
        target = variances / (variances + sigma**2)
        start = (gains[0] - target).abs()
        remaining = (gains - target).abs() / start.clamp(min=MIN_DIFFERENCE)
        times = torch.full_like(variances, torch.nan)
        for mode in (start >= MIN_DIFFERENCE).nonzero()[:, 0].tolist():
            time = crossing_step(steps, remaining[:, mode], 0.5)
            times[mode] = math.nan if time is None else time
        known = times.isfinite()
        values = {"modes": float(known.sum()), "spacing": snapshot_spacing(steps)}
        if known.any():
            values |= {"first": float(times[known].min()), "last": float(times[known].max())}
        if known.sum() >= MIN_COMPONENTS:
            values[""] = _slope((variances[known] + sigma**2).log(), times[known].log())
        arrays = {"steps": torch.tensor(steps), "variances": variances, "times": times, "gains": gains}
        return Scores.parts({part: torch.tensor(value) for part, value in values.items()}, arrays)

    def _components(self, data: TrainingData) -> tuple[Tensor, Tensor]:
        """Return the variances (K,) and vectors (K, C, H, W) of the selected components, float64."""
        images = data.training(self.training)
        _, variances, components = principal_components(images.flatten(1))
        # With fewer images than pixels, some components have no variance except for rounding errors.
        count = int((variances > 1e-9 * variances[0]).sum())
        if count <= self.modes:
            indices = list(range(count))
        else:
            indices = sorted({round(count ** (step / (self.modes - 1))) - 1 for step in range(self.modes)})
        return variances[indices], components[:, indices].mT.reshape(-1, *images.shape[1:])


def gains_along(denoiser: Denoiser, noisy: Tensor, vectors: Tensor, sigma: float) -> Tensor:
    """Return the mean gains along unit vectors, from central differences of step sigma, shape (K,), float64."""
    batches, gains = Batches.for_images(image_shape(noisy)), []
    for vector in vectors:
        step = (sigma * vector).to(noisy)
        shifted = torch.cat([noisy + step, noisy - step])
        forward, backward = (
            batches.run(functools.partial(_denoise, denoiser, shifted, sigma)).double().flatten(1).chunk(2)
        )
        gains.append(((forward - backward) @ vector.flatten()).mean() / (2 * sigma))
    return torch.stack(gains)


def _denoise(denoiser: Denoiser, noisy: Tensor, sigma: float, size: int) -> Tensor:
    with torch.no_grad():
        return torch.cat(
            [
                denoiser.denoise(batch, sigma, Truth(torch.full_like(batch, torch.nan)))
                for batch in torch.split(noisy, size)
            ]
        )


def _slope(positions: Tensor, values: Tensor) -> float:
    centred = positions - positions.mean()
    return float((centred * values).sum() / centred.square().sum())
