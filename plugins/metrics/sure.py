"""Stein's unbiased risk estimate, which needs no clean images."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from gahbench import Metric, Scores, generator
from gahbench.evaluation import Evaluation

from .._papers import RAMANI_2008, STEIN_1981

#: Size of the perturbation, in standard deviations of the noise.
STEP = 0.05


class Sure(Metric):
    """Stein's unbiased risk estimate: the mean squared error, estimated without clean images, divided by sigma^2.

    SURE = |f(y) - y|^2 - sigma^2 d + 2 sigma^2 tr J (Stein 1981), per pixel, where J is the Jacobian of the denoiser f
    at the noisy image y. The noisy images have 1, a perfect denoiser 0, and a value of an image may be negative. The
    estimate is unbiased if the noise is white and Gaussian with standard deviation sigma. If sigma is wrong by 1 %, the
    value is wrong by about 0.02, nearly equally for all good denoisers.

    The trace is estimated by Monte Carlo: tr J = E[b . (f(y + e b) - f(y))] / e for random signs b and e = 0.05 sigma
    (Ramani, Blu & Unser 2008), so every denoiser has a value.

    Parts: ``trace``, tr J / d. Boards show ``ratio``, the mean SURE divided by the mean of sigma^2 tr J, the
    self-consistency: 1 for an optimal denoiser.

    Parameters
    ----------
    probes
        Number of random perturbations of each image.
    """

    citation = (STEIN_1981, RAMANI_2008)
    higher_is_better = False
    titles: ClassVar[dict[str, str]] = {"": "estimated squared error / σ²", "ratio": "SURE / (σ² trace)"}
    ratios: ClassVar[Mapping[str, tuple[str, str]]] = {"ratio": ("", "trace")}
    without_clean = frozenset({"white"})

    def __init__(self, probes: Annotated[int, Field(ge=1)] = 2) -> None:
        self.probes = probes

    def score(self, evaluation: Evaluation) -> Scores:
        """Return the estimate and the trace for every image at every noise level."""
        values: dict[tuple[str, float], Tensor] = {}
        for sigma in evaluation.sigmas:
            noisy, denoised = evaluation.noisy(sigma), evaluation.denoised(sigma).double()
            levels = evaluation.levels(sigma).view(-1, 1, 1, 1)
            traces = []
            for probe in range(self.probes):
                draws = generator("noise", evaluation.noise_seed, "probe", probe)
                signs = torch.randint(0, 2, noisy.shape, generator=draws).double() * 2 - 1
                # The step is that of the perturbed image in its own precision.
                perturbed = (noisy + STEP * levels * signs).to(noisy.dtype)
                change = evaluation.denoise(perturbed, sigma).double() - denoised
                traces.append((signs * change / (STEP * levels)).flatten(1).mean(1))
            trace = torch.stack(traces).mean(0)
            residual = ((denoised - noisy) / levels).square().flatten(1).mean(1)
            values["", sigma] = residual - 1 + 2 * trace
            values["trace", sigma] = trace
        return Scores.parts(values)
