"""Distance of a denoiser from the optimal denoiser, and a test for errors below the optimum."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from gahbench import Metric, OptimumError, Scores
from gahbench.evaluation import Evaluation, OptimalImages

from .._papers import KADKHODAIE_2024


class OptimumDistance(Metric):
    """Mean squared distance from the optimal denoiser f*, |f(y) - f*(y)|^2 / d, in squared grey values.

    f* is the posterior mean if the optimum of the dataset is exact. If the optimum is a bracket, f* is the genie, the
    conditional mean given the noisy image and additional information. By Pythagoras the expected squared error of f is
    the error of f* plus this distance, since f* is a conditional mean given at least the noisy image; its expectation,
    times d / sigma^3, is the integrand of equation 5 of Kadkhodaie 2024. Boards compute deficits and the KL bound from
    the distance, which is never negative, and has a smaller variance than a difference of errors. There is no value for
    oracles and bounds, which use more than the noisy image, or if the optimum is unknown.

    On manifolds f* is estimated by importance sampling, and its error adds to the distance: about 0.1 % of the optimal
    error for the intended 800 effective samples, and 1 % for the minimum of 100.

    Part: ``optimal-error``, the expected mean squared error of f* in closed form.
    """

    citation = KADKHODAIE_2024
    higher_is_better = False
    any_noise = True

    def score(self, evaluation: Evaluation) -> Scores:
        """Return the distance and the optimal error for every image at every noise level."""

        def parts(sigma: float, best: OptimalImages) -> dict[str, Tensor]:
            return {
                "": (evaluation.denoised(sigma).double() - best.mean).square().flatten(1).mean(1),
                "optimal-error": best.error,
            }

        return _scores(evaluation, parts)


class OptimumCross(Metric):
    """Inner product between a denoiser's difference from the optimum and the error of the optimum, per pixel.

    The value is <f(y) - f*(y), x - f*(y)> / d in squared grey values, with f* as in ``optimum-distance``. Its
    expectation is 0 for every f that uses only the noisy image. A value significantly above 0 shows that the denoiser
    is nearer to the clean image x than is possible. A value significantly below 0 shows that f* is not optimal. Boards
    flag such entrants.
    """

    higher_is_better = None
    any_noise = True

    def score(self, evaluation: Evaluation) -> Scores:
        """Return the inner product for every image at every noise level."""
        clean = evaluation.clean.double()

        def parts(sigma: float, best: OptimalImages) -> dict[str, Tensor]:
            difference = evaluation.denoised(sigma).double() - best.mean
            return {"": (difference * (clean - best.mean)).flatten(1).mean(1)}

        return _scores(evaluation, parts)


def _scores(evaluation: Evaluation, parts: Callable[[float, OptimalImages], dict[str, Tensor]]) -> Scores:
    values: dict[tuple[str, float], Tensor] = {}
    if evaluation.denoiser.kind not in ("oracle", "bound"):
        for sigma in evaluation.sigmas:
            try:
                best = evaluation.optimum(sigma)
            except OptimumError:
                # The optimum may be unavailable at some noise levels only.
                continue
            if best is not None:
                values |= {(part, sigma): value for part, value in parts(sigma, best).items()}
    return Scores.parts(values)
