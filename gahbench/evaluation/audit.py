"""Checks that accompany the scores of a denoiser: its outputs are reproducible, and it uses only the noisy image.

Some outputs are computed again, one image at a time and in another order. A denoiser that must not see the clean image
is also applied to scored images under secret fresh noise, and to fresh images that were not drawn before
(:mod:`gahbench.evaluation.fresh_images`). Expected errors that a reference states in closed form are compared with its
squared errors under fresh noise.
"""

from __future__ import annotations

import math
import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from gahbench.contracts.truth import SEES_DATASET, Truth, visible_truth
from gahbench.evaluation.fresh_images import compare_on_fresh_images

if TYPE_CHECKING:
    from gahbench.evaluation.evaluation import Evaluation

#: Number of images that are denoised again, at the middle noise level.
REPEATED = 4
#: Outputs that differ by more than this share of the noise level are not reproducible. Rounding in float32 is about
#: 1e-6, even on a GPU or in different batches; differences of 1 % of the noise level change a squared error by at most
#: 1e-4 sigma^2.
REPEATS_WITHIN = 0.01
#: Outputs have diverged if their root mean square is more than this many times the root mean square of the noisy
#: images.
DIVERGED = 10.0
DIVERGED_NOTE = "diverged: "
#: Number of images under fresh noise, at each noise level.
FRESH = 2
#: Squared errors under fresh noise may be this many times the scored squared errors, plus this share of sigma^2.
FRESH_FACTOR, FRESH_SHARE = 4.0, 0.1
#: The noise of an evaluation may deviate from its level by this many standard errors.
NOISE_ERRORS = 6.0
#: Largest and smallest number of squared errors that are drawn at each noise level.
DRAWS, MIN_DRAWS = 64, 8
#: Drawing stops early if the mean of all ``DRAWS`` would have to differ by more than this many standard errors from the
#: mean so far to refute the claim: errors of large images hardly vary, and are slow to compute.
CERTAIN = 3.0
#: A mean error refutes a claim if it is above the claim by this many standard errors plus ``ABOVE_SHARE`` of the claim,
#: or below the claim by this many standard errors plus ``BELOW_SHARE``, which is larger since draws may miss rare large
#: errors.
STANDARD_ERRORS, ABOVE_SHARE, BELOW_SHARE = 5.0, 0.02, 0.25
#: Claims below this share of sigma^2 are raised to it before they are compared.
MIN_SHARE_OF_NOISE = 1e-6


@dataclass(frozen=True)
class Audit:
    """The outcome of the checks of a denoiser.

    Parameters
    ----------
    flags
        Reasons why the scores are flagged; empty for an honest denoiser.
    notes
        Remarks that do not flag the scores.
    images
        Kind of the fresh images: ``new`` from a stream, ``held out`` of a finite dataset; empty without fresh images.
    facts
        The measured numbers, as JSON types.
    """

    flags: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    images: str = ""
    facts: dict[str, Any] = field(default_factory=dict)


def audit(evaluation: Evaluation) -> Audit:
    """Check the denoiser of an evaluation that has been scored."""
    kind = evaluation.denoiser.kind
    if kind == "bound":
        return Audit()
    repetition = audit_repetition(evaluation)
    if kind in SEES_DATASET or evaluation.captured is not None:
        # Errors under drawn and recorded noise may differ, and no other recorded images are known.
        return repetition
    if not all(bool(evaluation.denoised(sigma).isfinite().all()) for sigma in evaluation.sigmas):
        return repetition
    noise_flags, levels = _compare_with_fresh_noise(evaluation)
    fresh = compare_on_fresh_images(evaluation)
    flags = (*repetition.flags, *noise_flags, *(fresh.flags if fresh else ()))
    facts = {"levels": levels, "fresh": fresh and fresh.record()}
    images = "" if fresh is None else "new" if fresh.images.is_stream else "held out"
    return Audit(flags, repetition.notes, images, {**repetition.facts, **facts})


def audit_repetition(evaluation: Evaluation) -> Audit:
    """Check that the outputs of a scored evaluation repeat, at its middle noise level."""
    sigma = evaluation.sigmas[len(evaluation.sigmas) // 2]
    difference, size = _repeat_and_compare(evaluation, sigma)
    facts = {"sigma": sigma, "difference": difference, "size": size}
    flags, notes = [], []
    if size == math.inf:
        return Audit(notes=(f"{DIVERGED_NOTE}its outputs are not finite at σ = {sigma:g}",))
    if size > DIVERGED:
        notes.append(f"{DIVERGED_NOTE}its outputs are {size:.1g} times as large as the noisy images at σ = {sigma:g}")
    # Rounding grows with the outputs.
    if difference > REPEATS_WITHIN * max(1.0, size):
        flags.append(
            "not deterministic: the same noisy images, denoised again one by one in another order, differ by "
            f"{difference:.2g} σ at σ = {sigma:g}"
        )
    return Audit(tuple(flags), tuple(notes), facts=facts)


def _secret_generator() -> torch.Generator:
    """Return a random generator with a secret seed."""
    return torch.Generator().manual_seed(secrets.randbits(62))


def _fresh_errors(evaluation: Evaluation, sigma: float, count: int, generator: torch.Generator) -> tuple[slice, Tensor]:
    """Denoise random images of an evaluation under fresh noise; return their slice and their squared errors."""
    first = int(torch.randint(len(evaluation.clean) - count + 1, (), generator=generator))
    chosen = slice(first, first + count)
    clean = evaluation.clean[chosen]
    noisy = evaluation.add_noise(clean, sigma, generator)
    return chosen, (_denoise(evaluation, sigma, noisy, chosen) - clean).square().flatten(1).mean(1)


def _denoise(evaluation: Evaluation, sigma: float, noisy: Tensor, chosen: slice) -> Tensor:
    """Return the denoised images, float64, of noisy versions of a slice of an evaluation's images."""
    kind, start = evaluation.denoiser.kind, evaluation.start + chosen.start
    with torch.no_grad(), torch.random.fork_rng():
        torch.manual_seed(secrets.randbits(62))
        # Do not assign these clean images to a variable, here or in a calling function.
        truth = visible_truth(kind, Truth(evaluation.clean[chosen], evaluation.dataset, evaluation.split, start))
        return evaluation.apply(noisy, sigma, truth, chosen).double()


def _repeat_and_compare(evaluation: Evaluation, sigma: float) -> tuple[float, float]:
    """Denoise images one by one in reverse order; return the median difference from earlier outputs, and their size."""
    count = min(REPEATED, len(evaluation.clean), evaluation.batches.size)
    noisy = evaluation.noisy(sigma)[:count]
    if evaluation.denoiser.kind in SEES_DATASET:
        before = _denoise(evaluation, sigma, noisy, slice(0, count))
    else:
        before = evaluation.denoised(sigma)[:count].double()
    differences = []
    for index in reversed(range(count)):
        image = slice(index, index + 1)
        again = _denoise(evaluation, sigma, noisy[image], image)
        difference = float((again - before[image]).square().mean().sqrt()) / sigma
        differences.append(difference if math.isfinite(difference) else math.inf)
    size = float(before.square().mean().sqrt() / noisy.double().square().mean().sqrt())
    return min(sorted(differences)[(count - 1) // 2], 1e9), size if math.isfinite(size) else math.inf


def _compare_with_fresh_noise(evaluation: Evaluation) -> tuple[list[str], list[dict[str, float | None]]]:
    """Return flags, and for each noise level the measured noise and mean squared errors per pixel, as JSON types."""
    wrong_noise, known_noise, facts = [], [], []
    clean = evaluation.clean.double()
    count = min(FRESH, len(clean), evaluation.batches.size)
    tolerance = NOISE_ERRORS / (2 * clean.numel()) ** 0.5 + 1e-3
    for sigma in evaluation.sigmas:
        noise = float((evaluation.noisy(sigma).double() - clean).square().mean().sqrt()) / sigma
        chosen, errors = _fresh_errors(evaluation, sigma, count, _secret_generator())
        fresh = float(errors.mean())
        claimed = float((evaluation.denoised(sigma)[chosen].double() - clean[chosen]).square().mean())
        if abs(noise - 1) > tolerance:
            wrong_noise.append(f"{noise:.2g} σ at σ = {sigma:g}")
        if not fresh <= FRESH_FACTOR * claimed + FRESH_SHARE * sigma**2:
            known_noise.append(f"{fresh:.1e} instead of {claimed:.1e} at σ = {sigma:g}")
        numbers = {"sigma": sigma, "noise": noise, "fresh": fresh, "claimed": claimed}
        facts.append({name: value if math.isfinite(value) else None for name, value in numbers.items()})
    flags = []
    if wrong_noise:
        flags.append(f"the noise that it was scored under was changed in its process: it is {', '.join(wrong_noise)}")
    if known_noise:
        flags.append(f"knows the noise: its squared error grows under fresh noise: {', '.join(known_noise)}")
    return flags, facts


def check_claimed_risk(evaluation: Evaluation) -> bool:
    """Return whether closed-form risks were used; raise if they disagree with squared errors under fresh noise."""
    if evaluation.denoiser.kind == "bound":
        return False
    generator = _secret_generator()
    used = {sigma: risk for sigma, risk in evaluation._risks.items() if risk is not None}
    for sigma, risk in used.items():
        excess = _relative_excess(evaluation, sigma, risk, generator)
        mean, error = float(excess.mean()), float(excess.std()) / len(excess) ** 0.5
        if not _is_consistent(mean, error):
            claim = float(risk.double().mean())
            raise ValueError(
                f"the expected error that its 'risk' claims is wrong: at σ = {sigma:g} it claims {claim:.3g} on "
                f"average, and {len(excess)} squared errors differ from their claims by {mean:+.2g} ± {error:.1g} "
                "of them; return the expected mean squared error per pixel of each image, or None"
            )
    return bool(used)


def _is_consistent(mean: float, error: float, margin: float = 0.0) -> bool:
    """Return whether a mean relative excess with a standard error is consistent with a claim, by a margin."""
    above, below = STANDARD_ERRORS * error + ABOVE_SHARE, STANDARD_ERRORS * error + BELOW_SHARE
    return margin - below <= mean <= above - margin


def _relative_excess(evaluation: Evaluation, sigma: float, risk: Tensor, generator: torch.Generator) -> Tensor:
    """Return the relative excess of squared errors over their claims, shape (``MIN_DRAWS`` or more,)."""
    count = min(DRAWS, len(risk), evaluation.batches.size)
    excess = torch.empty(0, dtype=torch.float64)
    while len(excess) < DRAWS:
        chosen, errors = _fresh_errors(evaluation, sigma, count, generator)
        claims = risk[chosen].double()
        excess = torch.cat([excess, (errors - claims) / claims.clamp(min=MIN_SHARE_OF_NOISE * sigma**2)])
        if len(excess) >= MIN_DRAWS:
            mean, spread = float(excess.mean()), float(excess.std())
            if _is_consistent(mean, spread / DRAWS**0.5, CERTAIN * spread / len(excess) ** 0.5):
                break
    return excess
