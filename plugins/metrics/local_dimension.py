"""Local intrinsic dimension of the image distribution that a denoiser models."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor

from gahbench import Metric, OptimumError, Scores
from gahbench.evaluation import Evaluation

from .._papers import KAMKARI_2024, ROSS_2025

#: A dimension is smaller than another if it is smaller by more than half a dimension.
MARGIN = 0.5
#: Denoisers whose output changes by less than this fraction of sigma, if they are given noise of the grey scale or
#: twice sigma instead of sigma, are blind. Memorized images do not change if sigma only doubles.
MIN_CHANGE = 1e-4


class LocalDimension(Metric):
    """Local intrinsic dimension at the clean image x: tr J(x) + |f(x) - x|^2 / sigma^2, where J is the Jacobian of f.

    The value is FLIPD (Kamkari et al. 2024): the number of values of an image plus the derivative of the log density of
    noisy images at x with respect to log sigma, computed from the score (f(x) - x) / sigma^2. For the optimal denoiser
    on a manifold of dimension m, the value tends to m as sigma tends to 0, for example to 5 on ``discs``. The denoiser
    is evaluated at noiseless images for a noise level sigma, so denoisers that do not depend on the given noise level
    have no value. Oracles have no value either.

    A model that memorized an image by overfitting has a smaller dimension there than the data have (Ross et al. 2025).
    The posterior mean over a finite training set, which memorized it, has dimension 0 at training images as sigma tends
    to 0, so the split ``train`` shows memorization. Elsewhere its dimension exceeds that of the data, since other
    images are far from all that it models.

    Parts, on datasets whose optimum is ``exact``: ``data``, the dimension of the data, which is the value of the
    optimal denoiser at the same image and noise level; ``excess``, the value minus ``data``; ``memorized``, 1 if the
    excess is below -1/2, and 0 otherwise, whose mean is the share of memorized images.
    """

    share_parts = ("memorized",)
    citation = (KAMKARI_2024, ROSS_2025)
    needs = frozenset({"jacobian"})
    higher_is_better = None
    titles: ClassVar[Mapping[str, str]] = {
        "": "local intrinsic dimension",
        "excess": "dimension of the model minus that of the data",
        "memorized": "memorized images (share)",
    }

    def score(self, evaluation: Evaluation) -> Scores:
        """Return the value and the parts for every image at every noise level; none for blind denoisers and oracles."""
        if evaluation.denoiser.kind in ("oracle", "bound"):
            return Scores([])
        values: dict[tuple[str, float], Tensor] = {}
        for sigma in evaluation.sigmas:
            noiseless = _Noiseless.from_evaluation(evaluation, (sigma, max(2 * sigma, 1.0)))
            try:
                trace = noiseless.local_filters.trace(sigma) if _depends_on_sigma(noiseless) else None
            except OptimumError:
                # The optimum may be unavailable at some noise levels only.
                continue
            if trace is None:
                continue
            dimension = trace.value.cpu() + _distance(noiseless.denoised(sigma), noiseless.clean) / sigma**2
            values["", sigma] = dimension
            data = _data_dimension(noiseless, sigma)
            if data is not None:
                excess = dimension - data
                values |= {("data", sigma): data, ("excess", sigma): excess}
                values["memorized", sigma] = (excess < -MARGIN).double()
        return Scores.parts(values)


def _depends_on_sigma(noiseless: Evaluation) -> bool:
    """Return whether the denoised images depend on which of two noise levels the denoiser is given."""
    if noiseless.denoiser.kind == "optimal":
        return True
    sigma, other_sigma = noiseless.sigmas
    change = (noiseless.denoised(sigma) - noiseless.denoised(other_sigma)).square().mean().sqrt()
    return bool(change > MIN_CHANGE * sigma)


def _data_dimension(noiseless: Evaluation, sigma: float) -> Tensor | None:
    """Return the dimension of the data at the images, shape (N,); ``None`` if the optimum is not exact."""
    if noiseless.dataset is None or noiseless.dataset.optimum.kind != "exact":
        return None
    try:
        best = noiseless.optimum(sigma)
    except OptimumError:
        return None
    assert best is not None
    # The Jacobian of the optimum times sigma^2 is the posterior covariance, whose trace per pixel is the error.
    total_error = best.error * noiseless.clean[0].numel()
    return (total_error + _distance(best.mean, noiseless.clean)).cpu() / sigma**2


def _distance(denoised: Tensor, clean: Tensor) -> Tensor:
    """Return the squared distances of pairs of images, shape (N,), float64."""
    return (denoised.double() - clean).flatten(1).square().sum(1)


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
