"""Checks of a denoiser beside its scores: its outputs repeat, and it uses the noisy image alone.

Outputs are computed again in another order, one image at a time. A denoiser that does not see the clean image is tried
under noise that nobody knows, on scored images, and on images that nobody has seen
(:mod:`gahbench.evaluation.fresh_images`). Expected errors that a reference states in closed form are compared with its
squared errors under such noise.
"""

from __future__ import annotations

import math
import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from gahbench.contracts.denoisers import SEES_DATASET, visible_truth
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
#: Squared errors that are drawn at each noise level, at most and at least.
DRAWS, MIN_DRAWS = 64, 8
#: No more are drawn where the mean of all ``DRAWS`` would have to be farther than so many standard errors of those that
#: there are from their mean to refute the claim: errors of large images hardly vary, and take long.
CERTAIN = 3.0
#: An error that is above the claim by so many standard errors and this share refutes it; one that is below, by this
#: share: rare large errors, which an expectation holds, may be missing among the draws.
STANDARD_ERRORS, ABOVE_SHARE, BELOW_SHARE = 5.0, 0.02, 0.25
#: Claims below this share of sigma^2 count as that.
LEAST_SHARE = 1e-6


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
    noise_marks, levels = _compare_with_fresh_noise(evaluation)
    fresh = compare_on_fresh_images(evaluation)
    marks = (*repetition.marks, *noise_marks, *(fresh.marks if fresh else ()))
    facts = {"levels": levels, "fresh": fresh and fresh.record()}
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


def _secret_generator() -> torch.Generator:
    """Return a generator of numbers that nobody can know beforehand."""
    return torch.Generator().manual_seed(secrets.randbits(62))


def _fresh_errors(evaluation: Evaluation, sigma: float, count: int, generator: torch.Generator) -> tuple[slice, Tensor]:
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
        truth = visible_truth(kind, Truth(evaluation.clean[chosen], evaluation.dataset, evaluation.split, start))
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


def _compare_with_fresh_noise(evaluation: Evaluation) -> tuple[list[str], list[dict[str, float | None]]]:
    """Return marks, and facts of each noise level: its noise, and mean squared errors per pixel as plain JSON."""
    off, known, facts = [], [], []
    clean = evaluation.clean.double()
    count = min(FRESH, len(clean), evaluation.batches.size)
    allowed = NOISE_ERRORS / (2 * clean.numel()) ** 0.5 + 1e-3
    for sigma in evaluation.sigmas:
        noise = float((evaluation.noisy(sigma).double() - clean).square().mean().sqrt()) / sigma
        chosen, errors = _fresh_errors(evaluation, sigma, count, _secret_generator())
        fresh = float(errors.mean())
        claimed = float((evaluation.denoised(sigma)[chosen].double() - clean[chosen]).square().mean())
        if abs(noise - 1) > allowed:
            off.append(f"{noise:.2g} σ at σ = {sigma:g}")
        if not fresh <= FRESH_FACTOR * claimed + FRESH_SHARE * sigma**2:
            known.append(f"{fresh:.1e} instead of {claimed:.1e} at σ = {sigma:g}")
        numbers = {"sigma": sigma, "noise": noise, "fresh": fresh, "claimed": claimed}
        facts.append({name: value if math.isfinite(value) else None for name, value in numbers.items()})
    marks = []
    if off:
        marks.append(f"the noise that it was scored under was changed in its process: it is {', '.join(off)}")
    if known:
        marks.append(f"knows the noise: its squared error grows under fresh noise: {', '.join(known)}")
    return marks, facts


def check_claimed_risk(evaluation: Evaluation) -> bool:
    """Compare the closed-form risks that were used with squared errors under noise that is drawn then."""
    if evaluation.denoiser.kind == "bound":
        return False
    generator = _secret_generator()
    used = {sigma: risk for sigma, risk in evaluation._risks.items() if risk is not None}
    for sigma, risk in used.items():
        excess = _relative_excess(evaluation, sigma, risk, generator)
        mean, error = float(excess.mean()), float(excess.std()) / len(excess) ** 0.5
        if not _is_within(mean, error):
            claim = float(risk.double().mean())
            raise ValueError(
                f"the expected error that its 'risk' claims is wrong: at σ = {sigma:g} it claims {claim:.3g} on "
                f"average, and {len(excess)} squared errors differ from their claims by {mean:+.2g} ± {error:.1g} "
                "of them; return the expected mean squared error per pixel of each image, or None"
            )
    return bool(used)


def _is_within(mean: float, error: float, margin: float = 0.0) -> bool:
    """Whether a mean of relative excesses, of a standard error, bears a claim out, by a margin."""
    above, below = STANDARD_ERRORS * error + ABOVE_SHARE, STANDARD_ERRORS * error + BELOW_SHARE
    return margin - below <= mean <= above - margin


def _relative_excess(evaluation: Evaluation, sigma: float, risk: Tensor, generator: torch.Generator) -> Tensor:
    """Return by how much squared errors exceed their claims, in units of these, shape (``MIN_DRAWS`` or more,)."""
    count = min(DRAWS, len(risk), evaluation.batches.size)
    found = torch.empty(0, dtype=torch.float64)
    while len(found) < DRAWS:
        chosen, errors = _fresh_errors(evaluation, sigma, count, generator)
        claims = risk[chosen].double()
        found = torch.cat([found, (errors - claims) / claims.clamp(min=LEAST_SHARE * sigma**2)])
        if len(found) >= MIN_DRAWS:
            mean, spread = float(found.mean()), float(found.std())
            if _is_within(mean, spread / DRAWS**0.5, CERTAIN * spread / len(found) ** 0.5):
                break
    return found
