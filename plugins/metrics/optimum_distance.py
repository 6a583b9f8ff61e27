"""Distance of a denoiser from the best one, and a check that it is not beyond it."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from gahbench import Metric, OptimumError, Scores
from gahbench.evaluation import Evaluation, OptimalImages

from .._papers import KADKHODAIE_2024


class OptimumDistance(Metric):
    """Mean squared distance from the best denoiser, |f(y) - f*(y)|^2 / d, in squared units of the grey scale.

    f* is the posterior mean where a dataset's optimum is exact, and its genie, the mean given the noisy image and more,
    where it is a bracket. On average the squared error of f is that of f* and this distance, by Pythagoras, since
    f* is a conditional mean given all that f sees (Kadkhodaie 2024, equation 5, whose integrand it is). Boards compute
    deficits and the KL bound from it: it is never negative, and varies less than a difference of errors. None for
    oracles and bounds, which see more than the noisy image, nor where nothing is known.

    On manifolds f* is estimated by importance sampling, and its own error counts in the distance: about 0.1 % of the
    optimal error with the 800 effective samples that are wanted, 1 % with the 100 that are accepted.

    Part: ``optimal-error``, the expected mean squared error of f* in closed form.
    """

    citation = KADKHODAIE_2024
    higher_is_better = False

    def score(self, evaluation: Evaluation) -> Scores:
        """Return the distance of every image at every noise level, and the error of the best denoiser."""

        def at(sigma: float, best: OptimalImages) -> dict[str, Tensor]:
            return {
                "": (evaluation.denoised(sigma).double() - best.mean).square().flatten(1).mean(1),
                "optimal-error": best.error,
            }

        return _scores(evaluation, at)


class OptimumCross(Metric):
    """Inner product of what a denoiser does otherwise than the best one and the best one's error, per pixel.

    <f(y) - f*(y), x - f*(y)> / d, in squared units of the grey scale, f* as in ``optimum-distance``. Its expectation is
    0 for every f that sees no more than the noisy image. Above 0, beyond its standard error, the denoiser is nearer to
    the clean image than can be; below 0, f* is not the best. Boards say of which entrants that holds.
    """

    higher_is_better = None

    def score(self, evaluation: Evaluation) -> Scores:
        """Return the inner product of every image at every noise level."""
        clean = evaluation.clean.double()

        def at(sigma: float, best: OptimalImages) -> dict[str, Tensor]:
            other = evaluation.denoised(sigma).double() - best.mean
            return {"": (other * (clean - best.mean)).flatten(1).mean(1)}

        return _scores(evaluation, at)


def _scores(evaluation: Evaluation, at: Callable[[float, OptimalImages], dict[str, Tensor]]) -> Scores:
    values: dict[tuple[str, float], Tensor] = {}
    if evaluation.denoiser.kind not in ("oracle", "bound"):
        for sigma in evaluation.sigmas:
            try:
                best = evaluation.optimum(sigma)
            except OptimumError:
                # At one noise level it may be beyond reach, and known at the others.
                continue
            if best is not None:
                values |= {(part, sigma): found for part, found in at(sigma, best).items()}
    return Scores.parts(values)
