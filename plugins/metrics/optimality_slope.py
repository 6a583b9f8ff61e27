"""Growth of the distance from the optimum as the noise decreases."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from gahbench import Metric, OptimumError, Scores, Shape
from gahbench.evaluation import MIN_LEVELS, Evaluation, input_psnr, local_slopes

from .._papers import KADKHODAIE_2024, KOROSTELEV_1993

#: Errors are clamped to at least this fraction of the bound.
_MIN_RATIO = 1e-9


class OptimalitySlope(Metric):
    """Slope of the distance from the optimum, D = 10 log10(MSE / bound), against input PSNR at each noise level.

    The bound is the expected error of the optimal denoiser if the optimum of the dataset is exact, and otherwise the
    error of its genie, a denoiser with additional information. A denoiser with the optimal rate has slope 0. A denoiser
    with the rate of wavelets has slope alpha/(alpha+1) - 1/2 (Korostelev & Tsybakov 1993; Kadkhodaie 2024, equation
    13). Boards compute the slope of the mean errors over noise levels epsilon = sigma / side at which the error of the
    bound does not depend on the resolution. The suite needs a dataset in several sizes, each twice the previous size,
    with a common ``render_size``, and noise levels that include factors of 2. There is no value if the optimum is
    unknown.

    Parts at each noise level: ``error``, the mean squared error per pixel, in closed form if possible, and by
    Pythagoras the bound plus the squared distance from the optimal denoiser if it is known; ``bound``.

    Parameters
    ----------
    max_size
        Largest image side, in pixels, for which the bound is computed, which may take minutes. For larger images only
        errors are computed, and boards use the bound of smaller images of the same ``render_size``. ``null`` for no
        limit.
    """

    citation = (KOROSTELEV_1993, KADKHODAIE_2024)
    unit = "dB/dB"
    higher_is_better = None

    def __init__(self, max_size: Annotated[int, Field(ge=1)] | None = None) -> None:
        self.max_size = max_size

    def check(self, shape: Shape, sigmas: Sequence[float]) -> None:
        """Raise ``ValueError`` if there are fewer than three different noise levels."""
        if len(set(sigmas)) < MIN_LEVELS:
            raise ValueError(
                f"optimality-slope needs at least {MIN_LEVELS} different noise levels, not {sorted(set(sigmas))}"
            )

    def score(self, evaluation: Evaluation) -> Scores:
        """Return errors and bounds for every image at every noise level, and local slopes of D if bounds are known."""
        if evaluation.dataset is None or evaluation.dataset.optimum.kind not in ("exact", "bracket"):
            return Scores([])
        values: dict[tuple[str, float], Tensor] = {}
        distances: dict[float, Tensor] = {}
        for sigma in sorted(set(evaluation.sigmas)):
            bound = self._bound(evaluation, sigma)
            error = _error(evaluation, sigma, bound is not None)
            values["error", sigma] = error
            if bound is not None:
                values["bound", sigma] = bound
                # Clamp the error, so that a denoiser that returns the clean image has a slope.
                distances[sigma] = 10 * torch.log10(error.clamp_min(_MIN_RATIO * bound) / bound)
        if len(distances) > 1:
            curves = torch.stack(list(distances.values()), dim=-1)
            slopes = torch.as_tensor(local_slopes(input_psnr(list(distances)), curves.numpy()))
            values |= {("", sigma): slopes[:, index] for index, sigma in enumerate(distances)}
        return Scores.parts(values)

    def _bound(self, evaluation: Evaluation, sigma: float) -> Tensor | None:
        """Return the expected error of the optimal denoiser or the genie, shape (N,), float64, or ``None``."""
        dataset = evaluation.dataset
        assert dataset is not None
        if self.max_size is not None and max(evaluation.shape[1:]) > self.max_size:
            return None
        try:
            if dataset.optimum.kind == "bracket":
                return dataset.lower_bound(evaluation.split, len(evaluation.clean), sigma, evaluation.start).double()
            best = evaluation.optimum(sigma)
        except OptimumError:
            return None
        return None if best is None else best.error


def _error(evaluation: Evaluation, sigma: float, has_bound: bool) -> Tensor:
    """Return the mean squared error per pixel of each image, shape (N,), float64, with reduced variance."""
    risk = evaluation.risk(sigma)
    if risk is not None:
        return risk.double()
    denoised = evaluation.denoised(sigma).double()
    best = None
    if has_bound and evaluation.denoiser.kind not in ("oracle", "bound"):
        # The genie's image may be unavailable at noise levels at which its error is known.
        with contextlib.suppress(OptimumError):
            best = evaluation.optimum(sigma)
    if best is not None:
        # By Pythagoras, the expected error is the optimal error plus the squared distance from the optimum.
        return best.error + (denoised - best.mean).square().flatten(1).mean(1)
    return (denoised - evaluation.clean.double()).square().flatten(1).mean(1)
