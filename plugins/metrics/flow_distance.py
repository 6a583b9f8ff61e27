"""Distance between the probability flows of a denoiser and of a reference."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, ClassVar

from torch import Tensor

from gahbench import Metric, Names, OptimumError, Reference, Scores
from gahbench.evaluation import Evaluation

from .._papers import ZHANG_2025
from ._sampled import draw_from, scatter
from .distance import fit_on_same_images, refuse_oracles
from .model_variance import mean_square


class FlowDistance(Metric):
    """Root mean square distance between the images to which two probability flows lead from the same noise.

    The probability flow of a denoiser maps white noise z to an image F(z) by the differential equation dy / d sigma =
    (y - f(y, sigma)) / sigma (Song et al. 2021). The value is |F(z) - G(z)| / sqrt(d) for each z, where G is the flow
    of a reference: ``optimal``, whose flow leads to the distribution of the data, or ``empirical-bayes``, whose flow
    leads to the training images. The probability flow distance of Zhang et al. 2025 is sqrt(E |F(z) - G(z)|^2), the
    square root of d times the mean of the part ``square``. If ``sigma_start`` is large and ``sigma_end`` small compared
    with the images, it is a metric on distributions; a flow that starts from weaker noise leads to images that vary too
    little. The distance from the optimum is the error of generalization, and the distance from the training images is
    the error of memorization. Zhang et al. compare features of a network, and replace the unknown optimum by a trained
    teacher; here pixels are compared, and the optimum is exact.

    Between Gaussians of covariances C and C', for ``sigma_start`` tending to infinity and ``sigma_end`` to 0, the
    distance is sqrt(|m - m'|^2 + |C^1/2 - C'^1/2|^2), the Wasserstein distance if C and C' commute.

    The flow has the suite's settings of sampling. If the suite samples with another sampler, the flow has that
    sampler's number of samples, seed, mean, ends, and final step, and the default noise levels and solver. Samples that
    diverged have no value.

    Parts: ``square``, the mean square distance; ``null``, the distance between images from different noise.

    Parameters
    ----------
    to
        The reference, of kind ``classical``, ``trained`` or ``optimal``.
    """

    positive_parts = ("", "square", "null")
    citation = ZHANG_2025
    unit = "grey scale"
    titles: ClassVar[dict[str, str]] = {"": "distance of flows from {to}"}
    nulls: ClassVar[dict[str, str]] = {"": "null"}
    higher_is_better = False
    needs = frozenset({"samples", "test", "training"})
    label_parameters = ("to",)

    def __init__(self, to: Annotated[Reference, Names("reference", default="optimal")]) -> None:
        refuse_oracles(to)
        self.to = to

    def score(self, evaluation: Evaluation) -> Scores:
        """Return the distance and the parts for every starting noise from which both flows converged."""
        reference = fit_on_same_images(self.to, evaluation)
        if reference is None:
            return Scores([])
        settings = evaluation.sampling.as_flow()
        flowing = evaluation if settings == evaluation.sampling else replace(evaluation, sampling=settings)
        try:
            drawn, others = flowing.samples, draw_from(reference, evaluation, settings)
        except OptimumError:
            # The optimum may be unavailable at some noise levels.
            return Scores([])
        indices = (drawn.converged & others.converged).nonzero()[:, 0]
        if not len(indices):
            return Scores([])
        images, targets = drawn.images[indices].double(), others.images[indices].double()
        square: Tensor = mean_square(images - targets)
        parts = {"": square.sqrt(), "square": square}
        if len(indices) > 1:
            parts["null"] = mean_square(images - targets.roll(-1, 0)).sqrt()
        return Scores.parts({part: scatter(value, indices, len(drawn)) for part, value in parts.items()})
