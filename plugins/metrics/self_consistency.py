"""The error of a denoiser compared with the estimate from its own Jacobian."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor

from gahbench import Metric, Scores
from gahbench.evaluation import Evaluation

from .._papers import KADKHODAIE_2024


class SelfConsistency(Metric):
    """Squared error over sigma^2 tr J, J the denoiser's Jacobian: 1 for an optimal denoiser.

    Of an optimal denoiser sigma^2 tr J is the expected squared error (Kadkhodaie 2024, equations 9 and 10), on average
    over images and noise, so that it could be estimated without clean images. Above 1 the error is larger than the
    Jacobian's estimate; a ratio of 1 alone proves nothing, so there is no headline.

    Parts, per pixel and in units of sigma^2, so that the noisy image has 1: ``realised``, the squared error;
    ``expected``, tr J; ``sure``, Stein's unbiased estimate of the error without the clean image, 2 sigma^2 tr J
    + |y - f(y)|^2 - sigma^2 d (equation 7). Boards have their ``ratio``, the mean of the first over the mean of the
    second. The known part of the noise of ``sure`` is subtracted, (1 - 2 tr J / d) (|n|^2 / sigma^2 - d), whose
    expectation is 0: n is the noise, tr J the mean over the other images. With one image it stays. Where noise is white
    the means of ``sure`` and ``realised`` agree.
    """

    citation = KADKHODAIE_2024
    needs = frozenset({"jacobian"})
    higher_is_better = None
    ratios: ClassVar[Mapping[str, tuple[str, str]]] = {"ratio": ("realised", "expected")}

    def score(self, evaluation: Evaluation) -> Scores:
        """Return the parts of every image at every noise level; none without a Jacobian."""
        values: dict[tuple[str, float], Tensor] = {}
        for sigma in evaluation.sigmas:
            trace = evaluation.local.trace(sigma)
            if trace is None:
                continue
            denoised = evaluation.denoised(sigma).double().flatten(1)
            clean, noisy = evaluation.clean.double().flatten(1), evaluation.noisy(sigma).double().flatten(1)
            expected = trace.value.double().cpu() / clean.shape[1]
            values["realised", sigma] = (denoised - clean).square().mean(1) / sigma**2
            values["expected", sigma] = expected
            residual = (noisy - denoised).square().mean(1) / sigma**2
            chance = (noisy - clean).square().mean(1) / sigma**2 - 1
            values["sure", sigma] = 2 * expected + residual - 1 - _factor(expected) * chance
        return Scores.parts(values)


def _factor(expected: Tensor) -> Tensor:
    """Return 1 - 2 tr J / d, of the mean over the other images, shape (N,); 0 where there are none."""
    others = len(expected) - 1
    if not others:
        return expected.new_zeros(1)
    return 1 - 2 * (expected.sum() - expected) / others
