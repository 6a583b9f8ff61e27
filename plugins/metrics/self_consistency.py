"""Comparison of the error of a denoiser with the estimate from its Jacobian."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor

from gahbench import Metric, Scores
from gahbench.evaluation import Evaluation

from .._papers import KADKHODAIE_2024


class SelfConsistency(Metric):
    """Ratio of the squared error to sigma^2 tr J, where J is the Jacobian: 1 for an optimal denoiser.

    For an optimal denoiser the mean of sigma^2 tr J over images and noise is the expected squared error (Kadkhodaie
    2024, equations 9 and 10), which is then known without clean images. A ratio above 1 means that the error exceeds
    this estimate. A ratio of 1 does not prove optimality, so the metric has no ranked value.

    Parts, per pixel and divided by sigma^2, so that the noisy image has error 1: ``realised``, the squared error;
    ``expected``, tr J; ``sure``, Stein's unbiased risk estimate, which needs no clean image, 2 sigma^2 tr J + |y -
    f(y)|^2 - sigma^2 d (equation 7). Boards show ``ratio``, the mean of ``realised`` divided by the mean of
    ``expected``. To reduce the variance of ``sure``, the term (1 - 2 tr J / d) (|n|^2 / sigma^2 - d) of expectation 0
    is subtracted, where n is the noise and tr J the mean over the other images; with a single image the term is not
    subtracted. For white noise the means of ``sure`` and ``realised`` agree.
    """

    citation = KADKHODAIE_2024
    needs = frozenset({"jacobian"})
    higher_is_better = None
    ratios: ClassVar[Mapping[str, tuple[str, str]]] = {"ratio": ("realised", "expected")}
    positive_parts = ("ratio",)

    def score(self, evaluation: Evaluation) -> Scores:
        """Return the parts for every image at every noise level; no scores without a Jacobian."""
        values: dict[tuple[str, float], Tensor] = {}
        for sigma in evaluation.sigmas:
            trace = evaluation.local_filters.trace(sigma)
            if trace is None:
                continue
            denoised = evaluation.denoised(sigma).double().flatten(1)
            clean, noisy = evaluation.clean.double().flatten(1), evaluation.noisy(sigma).double().flatten(1)
            expected = trace.value.double().cpu() / clean.shape[1]
            values["realised", sigma] = (denoised - clean).square().mean(1) / sigma**2
            values["expected", sigma] = expected
            residual = (noisy - denoised).square().mean(1) / sigma**2
            noise_excess = (noisy - clean).square().mean(1) / sigma**2 - 1
            values["sure", sigma] = 2 * expected + residual - 1 - _control_factor(expected) * noise_excess
        return Scores.parts(values)


def _control_factor(expected: Tensor) -> Tensor:
    """Return 1 - 2 tr J / d with the mean of tr J over the other images, shape (N,); 0 without other images."""
    others = len(expected) - 1
    if not others:
        return expected.new_zeros(1)
    return 1 - 2 * (expected.sum() - expected) / others
