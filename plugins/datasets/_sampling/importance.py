"""Posterior mean and spread on a manifold, by adaptive importance sampling around the modes."""

from __future__ import annotations

import torch
from torch import Tensor

from gahbench import OptimumError, Posterior

from .modes import first_proposals
from .proposals import Draws, Mixture
from .target import Estimate, Family, Target

#: Draws of each round that a proposal learns from, and the number of rounds.
LEARNING_DRAWS = 1024
ROUNDS = 2
#: Draws that are weighed, and how often they are doubled for images with fewer effective samples than wanted.
DRAWS = 4096
DOUBLINGS = 3
WANTED = 800.0
#: With fewer effective samples a posterior is refused: independent ones add 1 % to the squared error of the mean.
REFUSED = 100.0
#: Weights do not show a mode that was never found; but then the noisy image is too far from what was. A squared
#: distance is refused from so many standard deviations above its expectation, those of a chi-squared variable.
MISFIT = 10.0
#: Images that are searched for together, and pixels of images that are sampled together.
SEARCHED_TOGETHER = 256
PIXELS_TOGETHER = 2**12


def posterior(family: Family, noisy: Tensor, sigma: float, covariance: bool = False) -> Posterior:
    """Return the posterior of a family's images given noisy ones."""
    pieces = [_posterior(Target(family, images, sigma), covariance) for images in torch.split(noisy, SEARCHED_TOGETHER)]
    sampled = [piece.ess_fraction for piece in pieces if piece.ess_fraction is not None]
    spread = [piece.covariance for piece in pieces if piece.covariance is not None]
    return Posterior(
        torch.cat([piece.mean for piece in pieces]),
        torch.cat([piece.trace for piece in pieces]),
        torch.cat(sampled) if sampled else None,
        torch.cat(spread) if spread else None,
    )


def _posterior(target: Target, covariance: bool) -> Posterior:
    if target.family.nonlinear == 0:
        start = target.data.new_zeros(len(target), 1, 0), target.data.new_zeros(len(target), 1)
        estimate = target.estimate(*start, covariance)
        return Posterior(estimate.mean, estimate.trace, None, estimate.covariance)
    proposals = first_proposals(target)
    mean, trace = torch.empty_like(target.data), torch.empty_like(target.data[:, 0])
    ess_fraction = torch.empty_like(trace)
    size = target.data.shape[1]
    spread = target.data.new_empty(len(target), size, size) if covariance else None
    together = max(1, PIXELS_TOGETHER // target.data.shape[1])
    for images in torch.split(torch.arange(len(target), device=trace.device), together):
        mixture = _learned(target[images], proposals[images])
        draws = DRAWS
        for doubling in range(DOUBLINGS + 1):
            points, estimate = _weighed(target[images], mixture, f"weighing {doubling}", draws, covariance)
            if spread is not None and estimate.covariance is not None:
                spread[images] = estimate.covariance
            mean[images], trace[images], ess_fraction[images] = (
                estimate.mean,
                estimate.trace,
                estimate.ess / draws,
            )
            # Not a number is short, too.
            short = ~(estimate.ess >= WANTED)
            if not short.any():
                break
            if doubling == DOUBLINGS:
                _check_weights(estimate.ess, target.sigma, draws)
            mixture = mixture[short].updated(points[short], estimate.shares[short])
            images, draws = images[short], 2 * draws
    _check_distances((target.data - mean) / target.sigma, target.sigma)
    return Posterior(mean, trace, ess_fraction, spread)


def _learned(target: Target, mixture: Mixture) -> Mixture:
    for number in range(ROUNDS):
        points = mixture.sample(Draws.named(f"learning {number}", LEARNING_DRAWS, target.family.nonlinear))
        log_weights = target.log_density(points) - mixture.log_density(points)
        mixture = mixture.updated(points, torch.softmax(log_weights, dim=1))
    return mixture


def _weighed(target: Target, mixture: Mixture, name: str, draws: int, covariance: bool) -> tuple[Tensor, Estimate]:
    points = mixture.sample(Draws.named(name, draws, target.family.nonlinear))
    return points, target.estimate(points, mixture.log_density(points), covariance)


def _check_weights(ess: Tensor, sigma: float, draws: int) -> None:
    """Raise ``OptimumError`` if one of the effective sample sizes is too small."""
    lowest = float(ess.min())
    if not lowest >= REFUSED:
        raise OptimumError(
            f"sigma={sigma:g}: the posterior of an image rests on {lowest:.3g} effective samples of {draws}, accepted "
            f"are at least {REFUSED:g}; leave this noise level out, or give the family parameters that the image "
            "depends on more evenly"
        )


def _check_distances(residuals: Tensor, sigma: float) -> None:
    """Raise ``OptimumError`` if residuals (N, d), in standard deviations of the noise, are not like noise."""
    farthest, pixels = float(residuals.square().sum(1).max()), residuals.shape[1]
    if not farthest <= pixels + MISFIT * (2 * pixels) ** 0.5:
        raise OptimumError(
            f"sigma={sigma:g}: the nearest images found are {(farthest / pixels) ** 0.5:.3g} sigma per pixel from a "
            "noisy one, accepted are about 1, as for noise; give images of this family with noise of this sigma, "
            "or leave the noise level out: with parameters that matter so finely the posterior cannot be searched"
        )
