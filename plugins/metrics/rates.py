"""Rates: how fast the output PSNR grows with the input PSNR as noise fades.

A rate is defined in the limit of infinitely many pixels. At a fixed resolution, every curve ends with slope 1: once the
noise is below the finest details, all d coefficients are kept, and the error is d sigma^2 for any image. At the other
end, the curve is determined by a few large coefficients. So a slope is a rate only within a window of noise levels
where oracle wavelet thresholding keeps at least :data:`MIN_TERMS` of the d coefficients of an image, and at most
:data:`MAX_TERMS` times sqrt(d), the side of the image in pixels. An edge crosses about sqrt(d) pixels, so once that
many coefficients are kept, the finest scale along edges is exhausted. The pixel grid matters long before: with Haar
wavelets on discs, errors at equal noise per side agree within 0.1 dB with errors at twice the resolution only up to a
quarter of sqrt(d). Images with sides of 128 pixels or fewer have no window.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Annotated

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from pydantic import Field
from torch import Tensor

from gahbench import Basis, Metric, Names, OptimumError, Scores, Shape, get_spec
from gahbench.evaluation import MIN_LEVELS, Evaluation, PerLevel, fit_slope, input_psnr, local_slopes, psnr_per_image

#: In the window of a rate, an oracle keeps at least this number of coefficients, and at most this number times sqrt(d).
MIN_TERMS, MAX_TERMS = 32, 0.25
#: The decay of coefficients is fitted up to a rank of this number times the square root of the number of coefficients.
MAX_RANK = 1.0
#: Approximate number of values per batch for counting coefficients.
BATCH_VALUES = 1 << 22
#: Errors are clamped to at least this fraction of the bound.
_MIN_RATIO = 1e-9


class LocalSlope(Metric):
    """Slope of output PSNR against input PSNR at each noise level, computed from neighbouring levels.

    The local slope shows at which noise levels the slope is constant and can be read as a rate, and where it tends to
    1, as it does for every denoiser at a fixed resolution as sigma tends to 0.
    """

    unit = "dB/dB"
    higher_is_better = None

    def check(self, shape: Shape, sigmas: Sequence[float]) -> None:
        """Raise ``ValueError`` if there are fewer than two different noise levels."""
        if len(set(sigmas)) < 2:
            raise ValueError(f"slopes need at least 2 different noise levels, not {sorted(set(sigmas))}")

    def score(self, evaluation: Evaluation) -> Scores:
        """Return the slope for every image at every noise level."""
        sigmas, outputs = _curves(evaluation)
        return Scores.grid(torch.as_tensor(local_slopes(input_psnr(sigmas), outputs)).T, sigmas)


class Slope(LocalSlope):
    """Least-squares slope of output PSNR against input PSNR over all noise levels, for every image.

    Choose small noise levels to compare the slope with the optimal slope alpha/(alpha+1) of the dataset (Kadkhodaie
    2024, equation 13). A slope is meaningful only together with the PSNR, since the identity has slope 1. The fit is
    linear in the output, so the mean slope of the images is the slope of the mean curve. Every board shows the slope of
    the mean PSNR, with or without this metric.
    """

    citation = "kadkhodaie-2024"

    def score(self, evaluation: Evaluation) -> Scores:
        """Return the slope for every image."""
        sigmas, outputs = _curves(evaluation)
        self.check(evaluation.shape, sigmas)
        slopes = fit_slope(input_psnr(sigmas), outputs)
        return Scores(slopes.tolist(), image=range(len(slopes)))


def _curves(evaluation: Evaluation) -> tuple[list[float], NDArray[np.float64]]:
    """Return the noise levels in ascending order, and the PSNR at each, shape (N, S)."""
    sigmas = sorted(set(evaluation.sigmas))
    return sigmas, torch.stack([psnr_per_image(evaluation, sigma) for sigma in sigmas], dim=-1).cpu().numpy()


class Rate(Metric):
    """Slope of output PSNR against input PSNR over the noise levels at which it can be read as a rate.

    At these levels oracle thresholding keeps between ``min_terms`` and ``max_terms`` sqrt(d) of the d coefficients of a
    channel, on average over the images . The levels depend only on the images,
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

    citation = "kadkhodaie-2024"
    unit = "dB/dB"
    higher_is_better = None

    def __init__(
        self,
        basis: Annotated[Basis, Names("basis", default="sym4")],
        min_terms: Annotated[float, Field(ge=1)] = MIN_TERMS,
        max_terms: Annotated[float, Field(gt=0)] = MAX_TERMS,
    ) -> None:
        if basis.adaptive or not basis.orthonormal or type(basis).fit is not Basis.fit:
            raise ValueError(f"basis '{get_spec(basis)}'; accepted: fixed orthonormal bases, such as sym4 or dct")
        self.basis, self.min_terms, self.max_terms = basis, min_terms, max_terms

    def check(self, shape: Shape, sigmas: Sequence[float]) -> None:
        """Raise ``ValueError`` if the basis is not orthonormal on the shape, or for fewer than three noise levels."""
        self.basis.check_shape(shape)
        if not self.basis.is_orthonormal(shape):
            raise ValueError(
                f"basis '{get_spec(self.basis)}' is not orthonormal on images {shape}; accepted: sizes on which it is, "
                "and other bases, such as dct"
            )
        if len(set(sigmas)) < MIN_LEVELS:
            raise ValueError(f"rate needs at least {MIN_LEVELS} different noise levels, not {sorted(set(sigmas))}")

    def score(self, evaluation: Evaluation) -> Scores:
        """Return the number of levels in the window, and the slope of every image if there are at least three."""
        sigmas = self.levels(evaluation.clean, evaluation.sigmas)
        values = {"levels": torch.full((len(evaluation.clean),), float(len(sigmas)))}
        if len(sigmas) >= MIN_LEVELS:
            outputs = torch.stack([psnr_per_image(evaluation, sigma) for sigma in sigmas], dim=-1)
            values[""] = torch.as_tensor(fit_slope(input_psnr(sigmas), outputs.cpu().numpy()))
        return Scores.parts(values)

    def levels(self, clean: Tensor, sigmas: Sequence[float]) -> list[float]:
        """Return the noise levels in the window for clean images (N, C, H, W), in ascending order."""
        ordered = sorted(set(sigmas))
        counts = torch.zeros(len(ordered), dtype=torch.float64)
        for batch in torch.split(clean, max(1, BATCH_VALUES // clean[0].numel())):
            magnitudes = self.basis.analysis(batch.double()).abs()
            counts += torch.stack([(magnitudes > sigma).sum() for sigma in ordered]).cpu()
        kept, pixels = counts / (len(clean) * clean.shape[1]), clean[0, 0].numel()
        inside = (kept >= self.min_terms) & (kept <= self.max_terms * pixels**0.5)
        return [sigma for sigma, is_inside in zip(ordered, inside.tolist(), strict=True) if is_inside]


class Decay(PerLevel):
    """Fitted exponent alpha of the decay c_(k)^2 ~ k^-(alpha+1) of the clean images' sorted coefficients.

    The coefficients are computed in the basis of the entrant; entrants without an orthonormal basis have no value. An
    adaptive basis is adapted by the oracle at each noise level. With a larger exponent fewer coefficients are
    significant, and oracle thresholding has slope alpha/(alpha+1) (Kadkhodaie 2024, equation 13).

    Parameters
    ----------
    min_terms
        First rank of the fit, at least 1.
    max_terms
        Last rank of the fit, divided by the square root of the number of coefficients.
    """

    citation = "kadkhodaie-2024"

    def __init__(
        self, min_terms: Annotated[int, Field(ge=1)] = MIN_TERMS, max_terms: Annotated[float, Field(gt=0)] = MAX_RANK
    ) -> None:
        self.min_terms, self.max_terms = min_terms, max_terms

    def check(self, shape: Shape, sigmas: Sequence[float]) -> None:
        """Raise ``ValueError`` for images with too few coefficients to fit."""
        last = int(self.max_terms * (shape[1] * shape[2]) ** 0.5)
        if last < self.min_terms + 3:
            raise ValueError(
                f"decay fits ranks {self.min_terms} to {last} on images {shape}, fewer than 4; accepted: larger "
                "images, or other values of 'min_terms' and 'max_terms'"
            )

    def parts(self, evaluation: Evaluation, sigma: float) -> dict[str, Tensor]:
        """Return the exponent, averaged over channels."""
        basis = getattr(evaluation.denoiser, "basis", None)
        if not isinstance(basis, Basis) or not basis.is_orthonormal(evaluation.shape):
            return {}
        exponents = []
        for part in basis.parts(evaluation.truth.double()):
            coefficients = basis.adapt_to(part, sigma).analysis(part.clean).flatten(2).cpu().numpy()
            exponents.append(torch.as_tensor(coefficient_decay(coefficients, self.min_terms, self.max_terms)).mean(1))
        return {"": torch.cat(exponents)}


def coefficient_decay(
    coefficients: ArrayLike, min_terms: int = MIN_TERMS, max_terms: float = MAX_RANK
) -> NDArray[np.float64]:
    """Return the exponents alpha of coefficients (..., d), NaN where one is zero up to rounding: 1e-6 of the largest.

    log c_(k)^2 is fitted against log k at ranks that are equally spaced in log k, so that all octaves of ranks have
    equal weight.
    """
    energy = np.sort(np.asarray(coefficients, dtype=np.float64) ** 2, axis=-1)[..., ::-1]
    last = min(energy.shape[-1], int(max_terms * energy.shape[-1] ** 0.5))
    ranks = np.unique(np.geomspace(min_terms, last, num=64).round().astype(int))
    energies = energy[..., ranks - 1]
    logs = np.log(np.where(energies > 1e-12 * energy[..., :1], energies, np.nan))
    return np.asarray(-fit_slope(np.log(ranks), logs) - 1)


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

    citation = ("korostelev-1993", "kadkhodaie-2024")
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
