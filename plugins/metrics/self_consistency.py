"""The error of a denoiser compared with the estimate from its own Jacobian."""

from __future__ import annotations

from torch import Tensor

from gahbench import Metric, Scores
from gahbench.evaluation import Evaluation


class SelfConsistency(Metric):
    """Squared error over sigma^2 tr J, J the denoiser's Jacobian: 1 on average for an optimal denoiser.

    Of an optimal denoiser sigma^2 tr J is the expected squared error (Kadkhodaie 2024, equations 9 and 10), on average
    over images and noise, so that it could be estimated without clean images. Above 1 the error is larger than the
    Jacobian's estimate; a ratio of 1 alone proves nothing, so there is no headline.

    Parts: ``ratio``, the squared error over sigma^2 tr J; ``realised``, the squared error, and ``sure``, Stein's
    unbiased estimate of it without the clean image, 2 sigma^2 tr J + |y - f(y)|^2 - sigma^2 d (equation 7): both per
    pixel and in units of sigma^2, so that the noisy image has 1. Their means agree where the noise is white; those of
    single images differ by about sqrt(2 / d).
    """

    needs = frozenset({"jacobian"})

    def score(self, evaluation: Evaluation) -> Scores:
        """Return the parts of every image at every noise level; none without a Jacobian."""
        values: dict[tuple[str, float], Tensor] = {}
        for sigma in evaluation.sigmas:
            trace = evaluation.local.trace(sigma)
            if trace is None:
                continue
            denoised = evaluation.denoised(sigma).double().flatten(1)
            clean, noisy = evaluation.clean.double().flatten(1), evaluation.noisy(sigma).double().flatten(1)
            error, size = (denoised - clean).square().sum(1), clean.shape[1]
            # Without a positive trace there is no ratio.
            values["ratio", sigma] = (error / (sigma**2 * trace.value)).where(trace.value > 0, float("nan"))
            values["realised", sigma] = error / (sigma**2 * size)
            residual = (noisy - denoised).square().sum(1)
            values["sure", sigma] = 2 * trace.value / size + residual / (sigma**2 * size) - 1
        return Scores.parts(values)
