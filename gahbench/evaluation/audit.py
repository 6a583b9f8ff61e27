"""Checks that accompany the scores of a denoiser: its outputs are reproducible, and it uses only the noisy image.

A denoiser that knows the test images does better on them than on images drawn after scoring, at a secret place of the
dataset under secret noise. The gain is the PSNR after regression on the PSNR of an oracle that thresholds cosine
coefficients, since images differ in difficulty. A one-sided Welch t test compares the mean gains: half of
:data:`ALPHA` is spent on the average over noise levels, the other half on the individual levels.
"""

from __future__ import annotations

import contextlib
import math
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gahbench._util.errors import GahbenchError
from gahbench.contracts.truth import SEES_DATASET, Truth, visible_truth
from gahbench.evaluation.evaluation import Evaluation, optimal_images

#: Number of images that are denoised again, and largest change of their outputs, relative to the noise level: rounding
#: is about 1e-6, and 1 % changes a squared error by at most 1e-4 sigma^2.
REPEATED, REPEATS_WITHIN = 4, 0.01
#: Outputs have diverged if their root mean square is more than this many times that of the noisy images.
DIVERGED = 10.0
#: Number of scored images under fresh noise, whose squared errors may be larger by a factor and a share of sigma^2.
FRESH, FRESH_FACTOR, FRESH_SHARE = 2, 4.0, 0.1
#: Numbers of new images, of those compared with the optimum at the middle level, and of scored images that this takes.
IMAGES, COMPARED, MIN_IMAGES = 16, 12, 5
#: Probabilities that an honest entrant is flagged for its gain, and an optimal one for its error.
ALPHA, OPTIMAL_ALPHA = 1e-4, 1e-3
#: Largest and smallest number of draws for a claimed risk, which stop if the mean of all would have to differ by
#: ``CERTAIN`` standard errors from the mean so far to refute the claim, since large images are slow.
DRAWS, MIN_DRAWS, CERTAIN = 64, 8, 3.0
#: Standard errors, and shares of a claim, by which a mean error refutes it; draws may miss rare large errors above it.
STANDARD_ERRORS, ABOVE_SHARE, BELOW_SHARE = 5.0, 0.02, 0.25


@dataclass(frozen=True)
class Audit:
    """Reasons to flag a denoiser, remarks, the kind of its fresh images (``new`` if there are any), and numbers."""

    flags: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    images: str = ""
    facts: dict[str, Any] = field(default_factory=dict)


def audit(evaluation: Evaluation) -> Audit:
    """Check the denoiser of an evaluation that has been scored."""
    kind = evaluation.denoiser.kind
    if kind == "bound":
        return Audit()
    repetition, outputs = audit_repetition(evaluation), map(evaluation.denoised, evaluation.sigmas)
    # No other recorded images are known.
    if kind in SEES_DATASET or evaluation.captured is not None or not all(each.isfinite().all() for each in outputs):
        return repetition
    noise_flags, fresh = _compare_under_fresh_noise(evaluation), compare_on_fresh_images(evaluation)
    flags = (*repetition.flags, *noise_flags, *fresh.flags)
    return Audit(flags, repetition.notes, fresh.images, repetition.facts | fresh.facts)


def audit_repetition(evaluation: Evaluation) -> Audit:
    """Check that the outputs at the middle noise level repeat if images are denoised one by one in reverse order."""
    sigma = evaluation.sigmas[len(evaluation.sigmas) // 2]
    count = min(REPEATED, len(evaluation.clean), evaluation.batches.size)
    noisy, is_cached = evaluation.noisy(sigma)[:count], evaluation.denoiser.kind not in SEES_DATASET
    before = evaluation.denoised(sigma)[:count] if is_cached else _denoise(evaluation, sigma, noisy, slice(0, count))
    images = [slice(index, index + 1) for index in reversed(range(count))]
    changes = [_denoise(evaluation, sigma, noisy[image], image) - before[image].double() for image in images]
    differences = torch.cat(changes).square().flatten(1).mean(1).sqrt().nan_to_num(1e9, 1e9) / sigma
    difference = float(differences.sort().values[(count - 1) // 2])
    size = float(before.double().square().mean().sqrt() / noisy.double().square().mean().sqrt())
    if not math.isfinite(size):
        return Audit(notes=(f"diverged: its outputs are not finite at σ = {sigma:g}",))
    large = f"diverged: its outputs are {size:.1g} times as large as the noisy images at σ = {sigma:g}"
    changed = "not deterministic: the same noisy images, denoised again one by one in another order, differ by "
    # Rounding grows with the outputs.
    flags = (f"{changed}{difference:.2g} σ at σ = {sigma:g}",) if difference > REPEATS_WITHIN * max(1.0, size) else ()
    return Audit(flags, (large,) if size > DIVERGED else (), facts={"difference": difference, "size": size})


def _denoise(evaluation: Evaluation, sigma: float, noisy: Tensor, chosen: slice) -> Tensor:
    kind, start = evaluation.denoiser.kind, evaluation.start + chosen.start
    with torch.no_grad(), torch.random.fork_rng():
        torch.manual_seed(secrets.randbits(62))
        # Do not assign these clean images to a variable, here or in a calling function.
        truth = visible_truth(kind, Truth(evaluation.clean[chosen], evaluation.dataset, evaluation.split, start))
        return evaluation.apply(noisy, sigma, truth, chosen).double()


def _draw_errors(evaluation: Evaluation, sigma: float, count: int) -> tuple[slice, Tensor]:
    """Denoise random images of an evaluation under secret noise; return their slice and their squared errors."""
    generator = torch.Generator().manual_seed(secrets.randbits(62))
    first = int(torch.randint(len(evaluation.clean) - count + 1, (), generator=generator))
    chosen = slice(first, first + count)
    noisy = evaluation.add_noise(evaluation.clean[chosen], sigma, generator)
    denoised = _denoise(evaluation, sigma, noisy, chosen)
    return chosen, (denoised - evaluation.clean[chosen]).square().flatten(1).mean(1)


def _compare_under_fresh_noise(evaluation: Evaluation) -> list[str]:
    levels, count = [], min(FRESH, len(evaluation.clean), evaluation.batches.size)
    for sigma in evaluation.sigmas:
        chosen, errors = _draw_errors(evaluation, sigma, count)
        known = evaluation.denoised(sigma)[chosen].double() - evaluation.clean[chosen]
        fresh, scored = float(errors.mean()), float(known.square().mean())
        if not fresh <= FRESH_FACTOR * scored + FRESH_SHARE * sigma**2:
            levels.append(f"{fresh:.1e} instead of {scored:.1e} at σ = {sigma:g}")
    return [f"knows the noise: its squared error grows under fresh noise: {', '.join(levels)}"] if levels else []


def check_claimed_risk(evaluation: Evaluation) -> bool:
    """Return whether closed-form risks were used; raise if they disagree with squared errors under fresh noise."""
    is_bound = evaluation.denoiser.kind == "bound"
    used = {sigma: risk for sigma, risk in evaluation._risks.items() if risk is not None and not is_bound}
    for sigma, risk in used.items():
        is_consistent, excess = False, torch.empty(0, dtype=torch.float64)
        while len(excess) < DRAWS and not (is_consistent and len(excess) >= MIN_DRAWS):
            chosen, errors = _draw_errors(evaluation, sigma, min(DRAWS, len(risk), evaluation.batches.size))
            claims = risk[chosen].double()
            excess = torch.cat([excess, (errors - claims) / claims.clamp(min=1e-6 * sigma**2)])
            mean, error = float(excess.mean()), float(excess.std()) / len(excess) ** 0.5
            slack = STANDARD_ERRORS * float(excess.std()) / DRAWS**0.5 - CERTAIN * error * (len(excess) < DRAWS)
            is_consistent = -slack - BELOW_SHARE <= mean <= ABOVE_SHARE + slack
        if not is_consistent:
            raise ValueError(
                f"the expected error that its 'risk' claims is wrong: at σ = {sigma:g} it claims {risk.mean():.3g}; "
                f"{len(excess)} squared errors differ from their claims by {mean:+.2g} ± {error:.1g} of them; "
                "return the expected mean squared error per pixel of each image, or None"
            )
    return bool(used)


def compare_on_fresh_images(evaluation: Evaluation) -> Audit:
    """Test whether a denoiser is as good on images further along a stream, and no better than the optimum on them."""
    dataset, sigmas, count = evaluation.dataset, evaluation.sigmas, len(evaluation.clean)
    is_finite = dataset is None or dataset.available("test") is not None or dataset.sources("test", 1) is not None
    if dataset is None or is_finite or evaluation.split != "test" or count < MIN_IMAGES:
        return Audit()
    start = evaluation.start + count + secrets.randbelow(2**31)
    seeds = {sigma: secrets.randbits(62) for sigma in sigmas}
    hidden = replace(evaluation, clean=torch.full((IMAGES, *evaluation.shape), math.nan), dataset=None, start=0)

    def draw(sigma: float) -> Tensor:
        random = torch.Generator().manual_seed(seeds[sigma])
        noisy = evaluation.add_noise(dataset.images("test", IMAGES, start), sigma, random)
        # Datasets cache the images that they drew last; draw others, so that a denoiser cannot read the cache.
        dataset.images("test", 1, evaluation.start)
        return noisy

    # A denoiser that remembers images sees the noisiest first.
    outputs = {sigma: hidden.denoise(draw(sigma), sigma) for sigma in sorted(sigmas, reverse=True)}
    clean, middle = dataset.images("test", IMAGES, start), sigmas[len(sigmas) // 2]
    scored = {sigma: evaluation.denoised(sigma) for sigma in outputs}
    p, advantage = compare_gains(curves(evaluation.clean, scored), curves(clean, outputs))
    compared = replace(evaluation, clean=clean[:COMPARED], start=start)
    optimal_p = _optimal_p(compared, draw(middle)[:COMPARED], outputs[middle][:COMPARED], middle)
    flags, images = [], f"{IMAGES} new images of this dataset"
    if p < ALPHA:
        flags = [f"is better on the test images than elsewhere: its gain is {advantage:.1f} dB larger than on {images}"]
    if optimal_p < OPTIMAL_ALPHA:
        flags.append(f"has a smaller mean error than the optimum on {images} ({COMPARED} compared)")
    return Audit(tuple(flags), (), "new", {"start": start, "p": p, "optimal_p": optimal_p})


def curves(clean: Tensor, outputs: Mapping[float, Tensor]) -> NDArray[np.float64]:
    """Return the PSNR of outputs, and the expected PSNR of the oracle, at each level for each image, (2, L, N)."""
    from scipy.fft import dctn

    own = [(images.double() - clean).square().mean((1, 2, 3)).nan_to_num(1e10, 1e10) for images in outputs.values()]
    energy = dctn(clean.double().numpy(), axes=(-2, -1), norm="ortho") ** 2
    oracle = [np.minimum(energy, sigma**2).mean((1, 2, 3)) for sigma in outputs]
    return np.asarray(-10 * np.log10(np.maximum([[each.numpy() for each in own], oracle], 1e-12)))


def compare_gains(scored: NDArray[np.float64], fresh: NDArray[np.float64]) -> tuple[float, float]:
    """Return the p-value, and the advantage in dB that has it, of the PSNR and oracle (2, L, N) of scored images."""
    from scipy.stats import ttest_ind_from_stats

    # The first comparison is that of the average over levels.
    sets = [np.concatenate([curves.mean(1, keepdims=True), curves], 1) for curves in (scored, fresh)]
    own, oracle = np.concatenate([each - each.mean(-1, keepdims=True) for each in sets], -1)
    slope = (own * oracle).sum(-1, keepdims=True) / np.maximum((oracle**2).sum(-1, keepdims=True), 1e-12)
    gains = [curves[0] - slope * curves[1] for curves in sets]
    # Smaller spreads are rounding.
    moments = [part for gain in gains for part in (gain.mean(-1), gain.std(-1, ddof=1).clip(1e-3), gain.shape[-1])]
    tails = ttest_ind_from_stats(*moments, equal_var=False, alternative="greater").pvalue
    p = tails * np.r_[2.0, np.full(len(tails) - 1, 2.0 * (len(tails) - 1))]
    return min(float(p.min()), 1.0), float((moments[0] - moments[3])[p.argmin()])


def _optimal_p(evaluation: Evaluation, noisy: Tensor, denoised: Tensor, sigma: float) -> float:
    """Return the p-value of squared errors smaller than those of the optimum; 1 if it is unknown or inaccurate."""
    from scipy.special import stdtr

    optimum = None
    with contextlib.suppress(GahbenchError):
        optimum = optimal_images(evaluation, noisy, sigma)
    if optimum is None:
        return 1.0
    own, best = ((images.double() - evaluation.clean).square().mean((1, 2, 3)) for images in (denoised, optimum.mean))
    excess = (own - best) / optimum.error.clamp(min=1e-12)
    error = max(float(excess.std()) / len(excess) ** 0.5, 1e-12)
    return float(stdtr(len(excess) - 1, float(excess.mean()) / error))
