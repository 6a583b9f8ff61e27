"""Rate: slope of output PSNR against input PSNR over a window of noise levels."""

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

#: Approximate number of values per batch for counting coefficients.
BATCH_VALUES = 1 << 22


class Rate(Metric):
    """Slope of output PSNR against input PSNR over the noise levels at which it can be read as a rate.

    At these levels oracle thresholding keeps between ``min_terms`` and ``max_terms`` sqrt(d) of the d coefficients of a
    channel, on average over the images (:func:`gahbench.evaluation.rate_window`). The levels depend only on the images,
    and are the same for all entrants. If the suite has fewer than three such levels, there is no rate, and the board
    says so; choose noise levels that are closer together or higher, or larger images. Compare the rate with the optimal
    slope alpha/(alpha+1) of the dataset (Kadkhodaie 2024, equation 13). ``optimality-slope`` compares the slope with
    the slope of the optimum itself.

    Part: ``levels``, the number of noise levels in the window, equal for all images.

    Parameters
    ----------
    basis
        A fixed orthonormal basis, in which oracle thresholding counts coefficients.
    min_terms
        Smallest number of coefficients per channel in the window, at least 1.
    max_terms
        Largest number of coefficients per channel in the window, divided by sqrt(d).

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
            raise ValueError(f"basis '{name_of(basis)}'; accepted: fixed orthonormal bases, such as sym4 or dct")
        self.basis = basis
        self.min_terms = min_terms
        self.max_terms = max_terms

    def check(self, shape: Shape, sigmas: Sequence[float]) -> None:
        """Raise ``ValueError`` if the basis is not orthonormal on the shape, or for fewer than three noise levels."""
        self.basis.check_shape(shape)
        if not self.basis.is_orthonormal(shape):
            raise ValueError(
                f"basis '{name_of(self.basis)}' is not orthonormal on images {shape}; accepted: sizes on which it is, "
                "and other bases, such as dct"
            )
        if len(set(sigmas)) < MIN_LEVELS:
            raise ValueError(f"rate needs at least {MIN_LEVELS} different noise levels, not {sorted(set(sigmas))}")

    def score(self, evaluation: Evaluation) -> Scores:
        """Return the number of levels in the window, and the slope of every image if there are at least three."""
        sigmas = self.levels(evaluation.clean, evaluation.sigmas)
        images = len(evaluation.clean)
        values = {"levels": [float(len(sigmas))] * images}
        if len(sigmas) >= MIN_LEVELS:
            outputs = torch.stack([psnr_per_image(evaluation, sigma) for sigma in sigmas], dim=-1)
            values[""] = fit_slope(input_psnr(sigmas), outputs.cpu().numpy()).tolist()
        return Scores(
            value=[value for part_values in values.values() for value in part_values],
            image=list(range(images)) * len(values),
            part=[part for part in values for _ in range(images)],
        )

    def levels(self, clean: Tensor, sigmas: Sequence[float]) -> list[float]:
        """Return the noise levels in the window for clean images (N, C, H, W), in ascending order."""
        ordered = sorted(set(sigmas))
        counts = torch.zeros(len(ordered), dtype=torch.float64)
        for batch in torch.split(clean, max(1, BATCH_VALUES // clean[0].numel())):
            magnitudes = self.basis.analysis(batch.double()).abs()
            counts += torch.stack([(magnitudes > sigma).sum() for sigma in ordered]).cpu()
        pixels = clean[0, 0].numel()
        inside = rate_window((counts / (len(clean) * clean.shape[1])).numpy(), pixels, self.min_terms, self.max_terms)
        return [ordered[index] for index in np.flatnonzero(inside)]
