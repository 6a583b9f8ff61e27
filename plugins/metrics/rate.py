"""The rate: the slope where it means one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from gahbench import Basis, Metric, Names, Scores, Shape
from gahbench.evaluation import MAX_TERMS, MIN_LEVELS, MIN_TERMS, Evaluation, fit_slope, input_psnr, rate_window

from .._messages import name_of
from .._papers import KADKHODAIE_2024
from .psnr import psnr_per_image

#: Values, about, of a batch in which coefficients are counted.
PART = 1 << 22


class Rate(Metric):
    """Slope of output PSNR against input PSNR over the noise levels at which it can be read as a rate.

    These are the levels at which oracle thresholding keeps at least ``min_terms`` of the d coefficients of a channel
    and at most ``max_terms`` times sqrt(d), on average over the images (:func:`gahbench.evaluation.rate_window`): they
    depend on the images alone, and are the same for every entrant. Where a suite has fewer than three of them, there
    is no rate, and the board says so: choose noise levels that are closer, stronger noise, or larger images. To hold
    against a dataset's optimal slope alpha/(alpha+1) (Kadkhodaie 2024, equation 13); whether a denoiser has that of the
    optimum itself, ``optimality-slope`` says.

    Part: ``levels``, how many noise levels are in the window, the same for every image.

    Parameters
    ----------
    basis
        A fixed orthonormal basis, in which the oracle counts.
    min_terms, max_terms
        The window.

    Raises
    ------
    ValueError
        If the basis is adapted to images, fitted to a dataset, or not orthonormal.
    """

    citation = KADKHODAIE_2024
    unit = "dB/dB"
    higher_is_better = None

    def __init__(
        self,
        basis: Annotated[Basis, Names("basis", default="sym4")],
        min_terms: Annotated[float, Field(ge=1)] = MIN_TERMS,
        max_terms: Annotated[float, Field(gt=0)] = MAX_TERMS,
    ) -> None:
        if basis.adaptive or not basis.orthonormal or type(basis).fit is not Basis.fit:
            raise ValueError(f"basis '{name_of(basis)}': accepted are fixed orthonormal bases, such as sym4 or dct")
        self.basis = basis
        self.min_terms = min_terms
        self.max_terms = max_terms

    def check(self, shape: Shape, sigmas: Sequence[float]) -> None:
        """Raise ``ValueError`` where the basis cannot count, or for fewer than three noise levels."""
        self.basis.check_shape(shape)
        if not self.basis.is_orthonormal(shape):
            raise ValueError(
                f"basis '{name_of(self.basis)}' is not orthonormal on images {shape}; accepted are sizes that it takes "
                "as they are, and bases that are, such as dct"
            )
        if len(set(sigmas)) < MIN_LEVELS:
            raise ValueError(f"rate needs at least {MIN_LEVELS} different noise levels, not {sorted(set(sigmas))}")

    def score(self, evaluation: Evaluation) -> Scores:
        """Return the slope of every image, none where fewer than three noise levels are in the window; and how many."""
        sigmas = self.levels(evaluation.clean, evaluation.sigmas)
        images = len(evaluation.clean)
        values = {"levels": [float(len(sigmas))] * images}
        if len(sigmas) >= MIN_LEVELS:
            outputs = torch.stack([psnr_per_image(evaluation, sigma) for sigma in sigmas], dim=-1)
            values[""] = fit_slope(input_psnr(sigmas), outputs.cpu().numpy()).tolist()
        return Scores(
            value=[value for found in values.values() for value in found],
            image=list(range(images)) * len(values),
            part=[part for part in values for _ in range(images)],
        )

    def levels(self, clean: Tensor, sigmas: Sequence[float]) -> list[float]:
        """Return the noise levels in the window of clean images, shape (N, C, H, W), ascending."""
        ordered = sorted(set(sigmas))
        counts = torch.zeros(len(ordered), dtype=torch.float64)
        for part in torch.split(clean, max(1, PART // clean[0].numel())):
            sizes = self.basis.analysis(part.double()).abs()
            counts += torch.stack([(sizes > sigma).sum() for sigma in ordered]).cpu()
        pixels = clean[0, 0].numel()
        inside = rate_window((counts / (len(clean) * clean.shape[1])).numpy(), pixels, self.min_terms, self.max_terms)
        return [ordered[place] for place in np.flatnonzero(inside)]
