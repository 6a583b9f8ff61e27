"""After how many steps of training a network has learned each principal component of its training images."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from gahbench import Batches, Metric, Scores, TrainingData, Truth, image_shape
from gahbench.evaluation import Evaluation

from .._papers import WANG_2025
from ..bases._matrices import check_values
from ..datasets.gaussian_faces import principal_components
from ._along_training import crossing, spacing

if TYPE_CHECKING:
    from gahbench.contracts.denoisers import Denoiser

#: A gain that starts nearer to what is to be learned has no time.
LEARNED = 0.1
#: Components that a slope is fitted to, at least.
FEWEST = 3


class LearningTimes(Metric):
    """How the time in which a principal component is learned depends on its variance: -1 for gradient descent.

    Of the training images, u_k is a principal component and lambda_k its variance. The gain of the denoiser f along it,
    at steps of the size of the noise, is the mean over images of <f(y + sigma u_k) - f(y - sigma u_k), u_k> / 2 sigma;
    that of the best linear denoiser is lambda_k / (lambda_k + sigma^2). tau_k is the number of steps after which half
    of the difference between the two at the first snapshot is left, read between snapshots, linear in the logarithm of
    steps. Components whose gain starts within 0.1 of what is to be learned have none, nor have those that do not get
    there.

    A linear denoiser that is trained by gradient descent at one noise level approaches each gain exponentially, at a
    rate in proportion to lambda_k + sigma^2 (Wang & Pehlevan 2025, arXiv 2503.03206): large variances come first. The
    value is the slope of log tau_k against log(lambda_k + sigma^2), by least squares, -1 there: where lambda_k is
    far above sigma^2, tau_k lambda_k is constant. None with fewer than three times.

    Parts: ``first`` and ``last``, the least and the greatest tau_k; ``modes``, how many there are; ``spacing``, the
    greatest ratio of the steps of successive snapshots after the tenth step, which should be below 1.3. For figures:
    ``steps``, ``variances`` lambda_k, ``times`` tau_k, and ``gains``, shape (T, K).

    Parameters
    ----------
    modes
        Most components: all, or some spaced evenly in the logarithm of their number, from the first to the last.
    sigma
        Noise level; ``null`` for the least that is scored.
    images
        Most test images.
    training
        Most training images to find the components of.
    """

    citation = WANG_2025
    higher_is_better = None
    titles: ClassVar[Mapping[str, str]] = {"": "slope of learning times"}
    needs = frozenset({"snapshots", "test", "training"})

    def __init__(
        self,
        modes: Annotated[int, Field(ge=FEWEST)] = 24,
        sigma: Annotated[float, Field(gt=0)] | None = None,
        images: Annotated[int, Field(ge=1)] = 8,
        training: Annotated[int, Field(ge=2)] = 4096,
    ) -> None:
        self.modes, self.sigma, self.images, self.training = modes, sigma, images, training

    def score(self, evaluation: Evaluation) -> Scores:
        """Return one value, and its parts."""
        data = evaluation.learned_from
        if data is None and evaluation.dataset is not None:
            # From a stream, of which these are the first.
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
        left = (gains - target).abs() / start.clamp(min=LEARNED)
        times = torch.full_like(variances, torch.nan)
        for mode in (start >= LEARNED).nonzero()[:, 0].tolist():
            time = crossing(steps, left[:, mode], 0.5)
            times[mode] = math.nan if time is None else time
        known = times.isfinite()
        values = {"modes": float(known.sum()), "spacing": spacing(steps)}
        if known.any():
            values |= {"first": float(times[known].min()), "last": float(times[known].max())}
        if known.sum() >= FEWEST:
            values[""] = _slope((variances[known] + sigma**2).log(), times[known].log())
        arrays = {"steps": torch.tensor(steps), "variances": variances, "times": times, "gains": gains}
        return Scores.of_samples({part: torch.tensor(value) for part, value in values.items()}, arrays)

    def _components(self, data: TrainingData) -> tuple[Tensor, Tensor]:
        """Return the variances (K,) and vectors (K, C, H, W) of some components, float64."""
        images = data.training(self.training)
        _, variances, components = principal_components(images.flatten(1))
        # Fewer images than pixels have fewer components; rounding leaves some of no variance.
        count = int((variances > 1e-9 * variances[0]).sum())
        if count <= self.modes:
            places = list(range(count))
        else:
            places = sorted({round(count ** (place / (self.modes - 1))) - 1 for place in range(self.modes)})
        return variances[places], components[:, places].mT.reshape(-1, *images.shape[1:])


def gains_along(denoiser: Denoiser, noisy: Tensor, vectors: Tensor, sigma: float) -> Tensor:
    """Return the mean gains of a denoiser along unit vectors at steps of the size of the noise, shape (K,), float64."""
    batches, found = Batches.of_images(image_shape(noisy)), []
    for vector in vectors:
        step = (sigma * vector).to(noisy)
        moved = torch.cat([noisy + step, noisy - step])
        ahead, behind = batches.run(functools.partial(_denoised, denoiser, moved, sigma)).double().flatten(1).chunk(2)
        found.append(((ahead - behind) @ vector.flatten()).mean() / (2 * sigma))
    return torch.stack(found)


def _denoised(denoiser: Denoiser, noisy: Tensor, sigma: float, size: int) -> Tensor:
    with torch.no_grad():
        return torch.cat(
            [
                denoiser.denoise(some, sigma, Truth(torch.full_like(some, torch.nan)))
                for some in torch.split(noisy, size)
            ]
        )


def _slope(places: Tensor, values: Tensor) -> float:
    centred = places - places.mean()
    return float((centred * values).sum() / centred.square().sum())
