"""Checks of a denoiser beside its scores: its outputs repeat, and it uses the noisy image alone.

Outputs are computed again in another order, one image at a time. A denoiser that does not see the clean image is tried
under noise that nobody knows, on scored images, and on images that nobody has seen
(:mod:`gahbench.evaluation.fresh_images`).
"""

from __future__ import annotations

import math
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from gahbench.contracts.denoisers import SEES_DATASET, shown
from gahbench.contracts.truth import Truth
from gahbench.evaluation.fresh_images import compare_on_fresh_images

if TYPE_CHECKING:
    from gahbench.evaluation.evaluation import Evaluation

#: Images that are denoised again, at one noise level: the middle one.
REPEATED = 4
#: Outputs that differ by more than this share of the noise level do not repeat. Rounding in float32 differs by 1e-6, on
#: a GPU and in other batches too; differences of 1 % of the noise change a squared error by at most 1e-4 sigma^2.
REPEATS_WITHIN = 0.01
#: Outputs larger than this many times the noisy images, in root mean square, have diverged.
DIVERGED = 10.0
DIVERGED_NOTE = "diverged: "
#: Images under fresh noise, at each noise level.
FRESH = 2
#: An error under fresh noise may be this many times that of the scores, and this share of sigma^2 more.
FRESH_FACTOR, FRESH_SHARE = 4.0, 0.1
#: How far the noise of an evaluation may be off its level, in standard deviations.
NOISE_ERRORS = 6.0


@dataclass(frozen=True)
class Audit:
    """The outcome of the checks of a denoiser."""

    marks: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    images: str = ""
    facts: dict[str, Any] = field(default_factory=dict)


def audit(evaluation: Evaluation) -> Audit:
    """Check the denoiser of an evaluation that has been scored."""
    kind = evaluation.denoiser.kind
    if kind == "bound":
        return Audit()
    repetition = audit_repetition(evaluation)
    if kind in SEES_DATASET or not all(bool(evaluation.denoised(one).isfinite().all()) for one in evaluation.sigmas):
        return repetition
    levels = [_LevelAudit.of(evaluation, sigma, secret_generator()) for sigma in evaluation.sigmas]
    fresh = compare_on_fresh_images(evaluation)
    marks = (*repetition.marks, *_level_marks(levels), *(fresh.marks if fresh else ()))
    facts = {"levels": [level.record() for level in levels], "fresh": fresh and fresh.record()}
    images = "" if fresh is None else "new" if fresh.images.is_stream else "held out"
    return Audit(marks, repetition.notes, images, {**repetition.facts, **facts})


def audit_repetition(evaluation: Evaluation) -> Audit:
    """Check that the outputs of a scored evaluation repeat, at its middle noise level."""
    sigma = evaluation.sigmas[len(evaluation.sigmas) // 2]
    difference, size = _difference(evaluation, sigma)
    facts = {"sigma": sigma, "difference": difference, "size": size}
    marks, notes = [], []
    if size == math.inf:
        return Audit(notes=(f"{DIVERGED_NOTE}its outputs are not finite at σ = {sigma:g}",))
    if size > DIVERGED:
        notes.append(f"{DIVERGED_NOTE}its outputs are {size:.1g} times as large as the noisy images at σ = {sigma:g}")
    # Rounding grows with the outputs.
    if difference > REPEATS_WITHIN * max(1.0, size):
        marks.append(
            "not deterministic: the same noisy images, denoised again one by one in another order, differ by "
            f"{difference:.2g} σ at σ = {sigma:g}"
        )
    return Audit(tuple(marks), tuple(notes), facts=facts)


def secret_generator() -> torch.Generator:
    """Return a generator of numbers that nobody can know beforehand."""
    return torch.Generator().manual_seed(secrets.randbits(62))


def fresh_errors(evaluation: Evaluation, sigma: float, count: int, generator: torch.Generator) -> tuple[slice, Tensor]:
    """Denoise some of the images of an evaluation under fresh noise."""
    first = int(torch.randint(len(evaluation.clean) - count + 1, (), generator=generator))
    chosen = slice(first, first + count)
    clean = evaluation.clean[chosen]
    noisy = clean + sigma * torch.randn(clean.shape, generator=generator)
    return chosen, (_denoised(evaluation, sigma, noisy, chosen) - clean).square().flatten(1).mean(1)


def _denoised(evaluation: Evaluation, sigma: float, noisy: Tensor, chosen: slice) -> Tensor:
    """Return the output of the denoiser for noisy images that were made from some of an evaluation, float64."""
    kind, start = evaluation.denoiser.kind, evaluation.start + chosen.start
    with torch.no_grad(), torch.random.fork_rng():
        torch.manual_seed(secrets.randbits(62))
        # No variable holds these clean images, here or in a function that calls this one.
        truth = shown(kind, Truth(evaluation.clean[chosen], evaluation.dataset, evaluation.split, start))
        return evaluation._checked(evaluation.denoiser.denoise(noisy, sigma, truth), noisy).double()


def _difference(evaluation: Evaluation, sigma: float) -> tuple[float, float]:
    """Denoise images one by one, the last first, and compare with the outputs of before."""
    count = min(REPEATED, len(evaluation.clean), evaluation.batches.size)
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
    size = float(before.square().mean().sqrt() / noisy.double().square().mean().sqrt())
    return min(sorted(found)[(count - 1) // 2], 1e9), size if math.isfinite(size) else math.inf


@dataclass(frozen=True)
class _LevelAudit:
    """What was found at a noise level: mean squared errors per pixel."""

    sigma: float
    noise: float
    allowed_noise: float
    claimed: float
    fresh: float

    @classmethod
    def of(cls, evaluation: Evaluation, sigma: float, generator: torch.Generator) -> _LevelAudit:
        clean = evaluation.clean.double()
        noise = evaluation.noisy(sigma).double() - clean
        count = min(FRESH, len(clean), evaluation.batches.size)
        chosen, fresh = fresh_errors(evaluation, sigma, count, generator)
        claimed = (evaluation.denoised(sigma)[chosen].double() - clean[chosen]).square().mean()
        allowed = NOISE_ERRORS / (2 * noise.numel()) ** 0.5 + 1e-3
        return cls(sigma, float(noise.square().mean().sqrt()) / sigma, allowed, float(claimed), float(fresh.mean()))

    @property
    def is_noise_off(self) -> bool:
        """Whether the noise that it was scored under is not of its level."""
        return abs(self.noise - 1) > self.allowed_noise

    @property
    def is_owed_to_noise(self) -> bool:
        """Whether its error is small under the noise of the scores alone."""
        return not self.fresh <= FRESH_FACTOR * self.claimed + FRESH_SHARE * self.sigma**2

    def record(self) -> dict[str, float | None]:
        """Return the numbers as plain JSON; those that are not finite are ``None``."""
        numbers = {"sigma": self.sigma, "noise": self.noise, "fresh": self.fresh, "claimed": self.claimed}
        return {name: value if math.isfinite(value) else None for name, value in numbers.items()}


def _level_marks(levels: Sequence[_LevelAudit]) -> list[str]:
    marks = []
    if off := [level for level in levels if level.is_noise_off]:
        places = ", ".join(f"{level.noise:.2g} σ at σ = {level.sigma:g}" for level in off)
        marks.append(f"the noise that it was scored under was changed in its process: it is {places}")
    if known := [level for level in levels if level.is_owed_to_noise]:
        errors = (f"{level.fresh:.1e} instead of {level.claimed:.1e} at σ = {level.sigma:g}" for level in known)
        marks.append(f"knows the noise: its squared error grows under fresh noise: {', '.join(errors)}")
    return marks
