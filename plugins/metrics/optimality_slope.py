"""Whether the distance from the optimum grows as noise fades."""

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

#: Share of the bound below which an error is this.
_LEAST = 1e-9


class OptimalitySlope(Metric):
    """Slope of D = 10 log10(MSE / bound) against input PSNR at each noise level, for every image.

    The bound is the expected error of the best denoiser, where a dataset's optimum is exact, or of its genie. A
    denoiser of the optimal rate keeps its distance: slope 0; one with the rate of wavelets falls behind as noise fades,
    with slope alpha/(alpha+1) - 1/2 (Korostelev & Tsybakov 1993; Kadkhodaie 2024, equation 13). Boards read the slope
    of the mean errors over the noise levels at which the number of pixels does not matter, in epsilon = sigma / side,
    and say whether it is near-optimal, not, or undecided, and why. For that a suite has one dataset in several sizes,
    each twice the one before, of one ``master`` size, and noise levels in which a factor of 2 occurs. None where the
    optimum is not known.

    Parts, at each noise level: ``error``, the mean squared error per pixel, as far as possible in closed form; and
    ``bound``.

    Parameters
    ----------
    max_size
        Largest side of the images at which the bound is computed, which may take minutes; at larger ones there are
        errors alone, and boards take the bound from smaller images of the same masters, where it has collapsed.
        ``None`` for no limit.
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
        """Return errors and bounds of every image at every noise level, and the local slopes of D where it is known."""
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
                # A denoiser that returns the clean image has a slope too.
                distances[sigma] = 10 * torch.log10(error.clamp_min(_LEAST * bound) / bound)
        if len(distances) > 1:
            curves = torch.stack(list(distances.values()), dim=-1)
            slopes = torch.as_tensor(local_slopes(input_psnr(list(distances)), curves.numpy()))
            values |= {("", sigma): slopes[:, place] for place, sigma in enumerate(distances)}
        return Scores.parts(values)

    def _bound(self, evaluation: Evaluation, sigma: float) -> Tensor | None:
        """Return the expected error of the best denoiser or the genie, shape (N,), float64, if it is computed."""
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
    """Return the mean squared error per pixel of each image, shape (N,), float64, with as little noise as possible."""
    risk = evaluation.risk(sigma)
    if risk is not None:
        return risk.double()
    denoised = evaluation.denoised(sigma).double()
    best = None
    if has_bound and evaluation.denoiser.kind not in ("oracle", "bound"):
        # A genie's image may not be computed accurately enough where its error is.
        with contextlib.suppress(OptimumError):
            best = evaluation.optimum(sigma)
    if best is not None:
        # Pythagoras: the error of what sees the noisy image alone is the best one and the distance from it.
        return best.error + (denoised - best.mean).square().flatten(1).mean(1)
    return (denoised - evaluation.clean.double()).square().flatten(1).mean(1)
