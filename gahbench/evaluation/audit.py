"""Checks of a denoiser beside its scores: that outputs repeat, and that it uses no more than the noisy image.

A denoiser that sees nothing but y = x + n obeys Stein's identity, E<n, f(y) - x> = sigma^2 E div f(y). At the optimum
that is its squared error, E|f(y) - x|^2, so that the **response** <n, f(y) - x> / |f(y) - x|^2, summed over images, is
1: the correlation of error and noise is the root of the mean squared error, divided by sigma. Who subtracts the known
noise, or returns the known image, has an error that does not respond to the noise, and a response near 0.

But an honest denoiser that smooths too much, or was trained on few images, has a small response as well: its error is
mostly the detail that it removes. So a small response alone marks nobody. It is a reason for doubt, as is a squared
error of an image, summed over its pixels, below sigma^2 / 2, since at small noise the least is sigma^2 for each
dimension of the images. Who is in doubt is tried again where knowledge is of no use: on the same images under noise
that is drawn then, and on the same with less contrast. Honest errors stay about as they were there; one that grows
threefold was owed to knowledge. One kind of it is honest: that of very many training images, of a family of few
dimensions, none of which has less contrast. Where the optimum is exact it says which: an error of less than half of
the optimal one takes knowledge of the images themselves.
"""

from __future__ import annotations

import math
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from gahbench._util.errors import GahbenchError
from gahbench.contracts.denoisers import SEES_DATASET, batch_size, shown
from gahbench.contracts.truth import Truth

if TYPE_CHECKING:
    from gahbench.evaluation.evaluation import Evaluation

#: Images that are denoised again, at one noise level: the middle one.
REPEATED = 4
#: Outputs that differ by more than this share of the noise level do not repeat. Rounding in float32 differs by 1e-6, on
#: a GPU and in other batches too; differences of 1 % of the noise change a squared error by at most 1e-4 sigma^2.
REPEATS_WITHIN = 0.01
#: Images under fresh noise, at each noise level; and of a denoiser whose error responds too little.
FRESH, FRESH_AFTER_DOUBT = 2, 16
#: An error under fresh noise may be this many times that of the scores, and this share of sigma^2 more.
FRESH_FACTOR, FRESH_SHARE = 4.0, 0.1
#: Below this, by so many standard errors, a response is too small, on at least so many images.
RESPONSE, STANDARD_ERRORS, MIN_IMAGES = 0.5, 3.0, 4
#: By what images are multiplied for less contrast, and how many times the error may be of a denoiser in doubt.
CONTRAST, DOUBT_FACTOR = 0.7, 3.0
#: Dimensions of which an image's noise is left, below which an error is too small.
DIMENSIONS = 0.5
#: The share of the optimal error above which knowledge, where the optimum is exact, is that of the family.
OPTIMAL_SHARE = 0.5
#: How far the noise of an evaluation may be off its level, in standard deviations.
NOISE_ERRORS = 6.0


@dataclass(frozen=True)
class Audit:
    """What the checks of a denoiser found.

    Parameters
    ----------
    marks
        Why its scores are in doubt, for the board; empty for almost all.
    facts
        The numbers behind it, as plain JSON.
    """

    marks: tuple[str, ...]
    facts: dict[str, Any]


def audit(evaluation: Evaluation) -> Audit:
    """Check the denoiser of an evaluation that has been scored.

    Those that see the clean image or the dataset (oracles, optimal denoisers) are checked for repetition alone, and
    bounds, which are no denoisers, not at all.
    """
    kind = evaluation.denoiser.kind
    if kind == "bound":
        return Audit((), {})
    generator = secret_generator()
    middle = evaluation.sigmas[len(evaluation.sigmas) // 2]
    facts: dict[str, Any] = {"sigma": middle, "difference": _difference(evaluation, middle)}
    marks = _repetition_marks(facts)
    if kind not in SEES_DATASET:
        levels = [_Level.of(evaluation, sigma, generator) for sigma in evaluation.sigmas]
        marks += _level_marks(levels)
        facts["levels"] = [level.record() for level in levels]
    return Audit(tuple(marks), facts)


def secret_generator() -> torch.Generator:
    """Return a generator of numbers that nobody can know beforehand."""
    return torch.Generator().manual_seed(secrets.randbits(62))


def fresh_errors(
    evaluation: Evaluation, sigma: float, count: int, generator: torch.Generator, contrast: float = 1.0
) -> tuple[slice, Tensor]:
    """Return which images were denoised under fresh noise, and their mean squared errors, shape (count,), float64.

    They are consecutive, from a place that nobody can know, so that what is known of the images of a split holds.

    Parameters
    ----------
    contrast
        What the images are multiplied by first.
    """
    first = int(torch.randint(len(evaluation.clean) - count + 1, (), generator=generator))
    chosen = slice(first, first + count)
    noisy = _fresh(contrast * evaluation.clean[chosen], sigma, generator)
    denoised = _denoised(evaluation, sigma, noisy, chosen, contrast)
    return chosen, (denoised - contrast * evaluation.clean[chosen]).square().flatten(1).mean(1)


def _fresh(clean: Tensor, sigma: float, generator: torch.Generator) -> Tensor:
    return clean + sigma * torch.randn(clean.shape, generator=generator)


def _denoised(evaluation: Evaluation, sigma: float, noisy: Tensor, chosen: slice, contrast: float = 1.0) -> Tensor:
    """Return the output of the denoiser for noisy images that were made from some of an evaluation, float64."""
    kind, start = evaluation.denoiser.kind, evaluation.start + chosen.start
    with torch.no_grad(), torch.random.fork_rng():
        torch.manual_seed(secrets.randbits(62))
        # No variable holds these clean images, here or in a function that calls this one.
        truth = shown(kind, Truth(contrast * evaluation.clean[chosen], evaluation.dataset, evaluation.split, start))
        denoised = evaluation.denoiser.denoise(noisy, sigma, truth)
    if denoised.shape != noisy.shape:
        raise ValueError(f"the denoiser returned shape {tuple(denoised.shape)} for images of {tuple(noisy.shape)}")
    return denoised.double()


def _difference(evaluation: Evaluation, sigma: float) -> float:
    """Return how far outputs are from those of before, when images are denoised one by one, the last first.

    It is the root of the mean square, in units of the noise level, of the image in the middle: of a threshold that
    rounding has a coefficient cross one image differs, not half of them.
    """
    count = min(REPEATED, len(evaluation.clean), batch_size(evaluation.shape))
    noisy = evaluation.noisy(sigma)[:count]
    if evaluation.denoiser.kind in SEES_DATASET:
        before = _denoised(evaluation, sigma, noisy, slice(0, count))
    else:
        before = evaluation.denoised(sigma)[:count].double()
    found = []
    for place in reversed(range(count)):
        one = slice(place, place + 1)
        again = _denoised(evaluation, sigma, noisy[one], one)
        off = float((again - before[one]).square().mean().sqrt()) / sigma
        found.append(off if math.isfinite(off) else math.inf)
    return min(sorted(found)[(count - 1) // 2], 1e9)


def _repetition_marks(facts: dict[str, Any]) -> list[str]:
    if facts["difference"] <= REPEATS_WITHIN:
        return []
    return [
        "not deterministic: the same noisy images, denoised again one by one in another order, differ by "
        f"{facts['difference']:.2g} σ at σ = {facts['sigma']:g}"
    ]


@dataclass(frozen=True)
class _Level:
    """What was found at a noise level: mean squared errors per pixel, and the response with its standard error."""

    sigma: float
    mse: float
    response: float
    error: float
    noise: float
    allowed_noise: float
    is_off: bool
    grew: bool
    claimed: float
    fresh: float
    contrast: float | None
    of_optimal: float | None

    @classmethod
    def of(cls, evaluation: Evaluation, sigma: float, generator: torch.Generator) -> _Level:
        clean = evaluation.clean.double()
        noise = evaluation.noisy(sigma).double() - clean
        error = evaluation.denoised(sigma).double() - clean
        squared, along = error.square().flatten(1).mean(1), (error * noise).flatten(1).mean(1)
        mse = float(squared.mean())
        response = float(along.mean()) / mse if mse else 0.0
        spread = 0.0
        if mse and len(squared) > 1:
            spread = float((along - response * squared).std()) / len(squared) ** 0.5 / mse
        # The mean image's error: what a denoiser has that looks at nothing.
        constant = float(clean.var(0).mean()) if len(clean) > 1 else 0.0
        is_small = mse * clean[0].numel() < DIMENSIONS * sigma**2
        is_small |= len(squared) >= MIN_IMAGES and response + _required(len(squared)) * spread < RESPONSE
        is_doubtful = is_small and mse < constant
        count = min(FRESH_AFTER_DOUBT if is_doubtful else FRESH, len(squared), batch_size(evaluation.shape))
        chosen, fresh = fresh_errors(evaluation, sigma, count, generator)
        claimed, contrast = float(squared[chosen].mean()), None
        if is_doubtful and not getattr(evaluation.dataset, "splits_overlap", False):
            # Where test images are training images, it may know them.
            _, found = fresh_errors(evaluation, sigma, count, generator, CONTRAST)
            contrast = float(found.mean())
        is_off = not float(fresh.mean()) <= FRESH_FACTOR * claimed + FRESH_SHARE * sigma**2
        grew = is_doubtful and max(float(fresh.mean()), contrast or 0.0) > DOUBT_FACTOR * max(claimed, mse) + 1e-12
        return cls(
            sigma,
            mse,
            response,
            spread,
            float(noise.square().mean().sqrt()) / sigma,
            NOISE_ERRORS / (2 * noise.numel()) ** 0.5 + 1e-3,
            is_off,
            grew,
            claimed,
            float(fresh.mean()),
            contrast,
            _of_optimal(evaluation, sigma, squared, chosen.start) if grew and not is_off else None,
        )

    @property
    def is_noise_off(self) -> bool:
        """Whether the noise that it was scored under is not of its level."""
        return abs(self.noise - 1) > self.allowed_noise

    @property
    def uses_more(self) -> bool:
        """Whether its error depends on more than the noisy image."""
        return self.is_off or (self.grew and (self.of_optimal is None or self.of_optimal < OPTIMAL_SHARE))

    @property
    def worst(self) -> float:
        """The largest error where knowledge is of no use."""
        return max(self.fresh, self.contrast or 0.0)

    def record(self) -> dict[str, float | None]:
        """Return the numbers as plain JSON; those that are not finite are ``None``."""
        numbers = {
            "sigma": self.sigma,
            "mse": self.mse,
            "response": self.response,
            "response_error": self.error,
            "noise": self.noise,
            "fresh": self.fresh,
            "fresh_claimed": self.claimed,
            "contrast": self.contrast,
            "of_optimal": self.of_optimal,
        }
        return {name: value if value is None or math.isfinite(value) else None for name, value in numbers.items()}


def _of_optimal(evaluation: Evaluation, sigma: float, squared: Tensor, first: int) -> float | None:
    """Return errors by those of the optimum, on a few of the noisy images; ``None`` where it is not known."""
    dataset, few = evaluation.dataset, slice(first, first + REPEATED)
    if dataset is None or dataset.optimum.kind != "exact":
        return None
    try:
        best = dataset.posterior(evaluation.noisy(sigma)[few], sigma).mean
    except GahbenchError:
        # Importance sampling that is not accurate enough, say.
        return None
    optimal = float((best.double() - evaluation.clean[few]).square().mean())
    # Below this it is rounding.
    return float(squared[few].mean()) / optimal if optimal > 1e-9 * sigma**2 else 1.0


def _level_marks(levels: Sequence[_Level]) -> list[str]:
    marks = []
    if off := [level for level in levels if level.is_noise_off]:
        places = ", ".join(f"{level.noise:.2g} σ at σ = {level.sigma:g}" for level in off)
        marks.append(f"the noise that it was scored under was changed in its process: it is {places}")
    if known := [level for level in levels if level.uses_more]:
        places = ", ".join(f"{level.worst:.1e} for {level.claimed:.1e} at σ = {level.sigma:g}" for level in known)
        marks.append(f"uses more than the noisy image: without that its squared error is {places}")
    return marks


def _required(images: int) -> float:
    """Return how many standard errors count: 3, or as many as are as rare with few images."""
    from scipy.special import ndtr, stdtrit

    return -float(stdtrit(images - 1, ndtr(-STANDARD_ERRORS)))
