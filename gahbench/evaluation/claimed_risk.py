"""A check of claimed risks: the expected errors that references state in closed form."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from gahbench.evaluation.audit import fresh_errors, secret_generator

if TYPE_CHECKING:
    from gahbench.evaluation.evaluation import Evaluation

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


def check_claimed_risk(evaluation: Evaluation) -> bool:
    """Compare the closed-form risks that were used with squared errors under noise that is drawn then."""
    if evaluation.denoiser.kind == "bound":
        return False
    generator = secret_generator()
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
        chosen, errors = fresh_errors(evaluation, sigma, count, generator)
        claims = risk[chosen].double()
        found = torch.cat([found, (errors - claims) / claims.clamp(min=LEAST_SHARE * sigma**2)])
        if len(found) >= MIN_DRAWS:
            mean, spread = float(found.mean()), float(found.std())
            if _is_within(mean, spread / DRAWS**0.5, CERTAIN * spread / len(found) ** 0.5):
                break
    return found
