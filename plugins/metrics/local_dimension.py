"""Local intrinsic dimension of what a denoiser believes images to be."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor

from gahbench import Metric, OptimumError, Scores
from gahbench.evaluation import Evaluation

from .._papers import KAMKARI_2024

#: A denoiser whose output changes by less, relative to the noise, when it is given twice the noise level, is blind.
BLIND = 1e-4


class LocalDimension(Metric):
    """Local intrinsic dimension at the clean image x: tr J(x) + |f(x) - x|^2 / sigma^2, J the Jacobian of f.

    FLIPD (Kamkari et al. 2024), the change with the logarithm of sigma of the density of images with noise at x, from
    the score (f(x) - x) / sigma^2. Where images fill a manifold of dimension m it tends to m as sigma tends to 0, for
    the best denoiser: 5 on ``discs``. It depends on what a denoiser does at a noiseless image that it takes for a noisy
    one: denoisers that do not depend on the noise level that they are given have no value, and neither have oracles.
    """

    citation = KAMKARI_2024
    needs = frozenset({"jacobian"})
    higher_is_better = None
    titles: ClassVar[Mapping[str, str]] = {"": "local intrinsic dimension"}

    def score(self, evaluation: Evaluation) -> Scores:
        """Return the dimension at every image and noise level; none for blind denoisers and oracles."""
        if evaluation.denoiser.kind in ("oracle", "bound"):
            return Scores([])
        values: dict[tuple[str, float], Tensor] = {}
        for sigma in evaluation.sigmas:
            noiseless = _Noiseless.of(evaluation, (sigma, 2 * sigma))
            try:
                moves = (
                    noiseless.denoised(sigma) - noiseless.denoised(2 * sigma)
                ).square().mean().sqrt() > BLIND * sigma
                trace = noiseless.local.trace(sigma) if moves else None
            except OptimumError:
                # At one noise level it may be beyond reach, and known at the others.
                continue
            if trace is None:
                continue
            distance = (noiseless.denoised(sigma) - evaluation.clean).double().flatten(1).square().sum(1)
            values["", sigma] = trace.value.cpu() + distance / sigma**2
        return Scores.parts(values)


class _Noiseless(Evaluation):
    """An evaluation whose noisy images are the clean ones, whatever noise level a denoiser is given."""

    @classmethod
    def of(cls, other: Evaluation, sigmas: tuple[float, ...]) -> _Noiseless:
        """Return that of another evaluation's denoiser and images."""
        made = cls(other.denoiser, other.clean, sigmas, other.noise_seed, other.split, other.dataset, start=other.start)
        made.granted = other.granted
        return made

    def noisy(self, sigma: float, draw: int = 0) -> Tensor:
        """Return the clean images, shape (N, C, H, W)."""
        return self.clean
