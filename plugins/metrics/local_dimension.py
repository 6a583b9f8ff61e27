"""Local intrinsic dimension of the image distribution that a denoiser models."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor

from gahbench import Metric, OptimumError, Scores
from gahbench.evaluation import Evaluation

from .._papers import KAMKARI_2024

#: Denoisers whose output changes by less than this fraction of sigma when the noise level doubles are blind.
MIN_CHANGE = 1e-4


class LocalDimension(Metric):
    """Local intrinsic dimension at the clean image x: tr J(x) + |f(x) - x|^2 / sigma^2, where J is the Jacobian of f.

    The value is FLIPD (Kamkari et al. 2024), the derivative of the log density of noisy images at x with respect to log
    sigma, computed from the score (f(x) - x) / sigma^2. For the optimal denoiser on a manifold of dimension m, the
    value tends to m as sigma tends to 0, for example to 5 on ``discs``. The denoiser is evaluated at noiseless images
    for a noise level sigma, so denoisers that do not depend on the given noise level have no value. Oracles have no
    value either.
    """

    citation = KAMKARI_2024
    needs = frozenset({"jacobian"})
    higher_is_better = None
    titles: ClassVar[Mapping[str, str]] = {"": "local intrinsic dimension"}

    def score(self, evaluation: Evaluation) -> Scores:
        """Return the dimension for every image at every noise level; no scores for blind denoisers and oracles."""
        if evaluation.denoiser.kind in ("oracle", "bound"):
            return Scores([])
        values: dict[tuple[str, float], Tensor] = {}
        for sigma in evaluation.sigmas:
            noiseless = _Noiseless.from_evaluation(evaluation, (sigma, 2 * sigma))
            try:
                depends_on_sigma = (
                    noiseless.denoised(sigma) - noiseless.denoised(2 * sigma)
                ).square().mean().sqrt() > MIN_CHANGE * sigma
                trace = noiseless.local_filters.trace(sigma) if depends_on_sigma else None
            except OptimumError:
                # The optimum may be unavailable at some noise levels only.
                continue
            if trace is None:
                continue
            distance = (noiseless.denoised(sigma) - evaluation.clean).double().flatten(1).square().sum(1)
            values["", sigma] = trace.value.cpu() + distance / sigma**2
        return Scores.parts(values)


class _Noiseless(Evaluation):
    """An evaluation whose noisy images are the clean images at all noise levels."""

    @classmethod
    def from_evaluation(cls, other: Evaluation, sigmas: tuple[float, ...]) -> _Noiseless:
        """Return a noiseless evaluation of the denoiser and images of another evaluation."""
        noiseless = cls(
            other.denoiser, other.clean, sigmas, other.noise_seed, other.split, other.dataset, start=other.start
        )
        noiseless.granted = other.granted
        return noiseless

    def noisy(self, sigma: float, draw: int = 0) -> Tensor:
        """Return the clean images, shape (N, C, H, W)."""
        return self.clean
