"""A test of whether a denoiser is as good on fresh images as on the images that it was scored on.

A denoiser that knows the test images (because it was trained or fitted on them, blends them in, projects onto their
span, or finds them in memory) does better on these images than on other images of the dataset. So :data:`IMAGES` fresh
images are drawn after scoring, far along the stream of the dataset, under fresh noise. Their position in the stream is
random and is not used again. Neither the clean images nor their noise exist while the denoiser runs: they are drawn
again, from their position and seeds, once all outputs have been computed.

Images differ in difficulty. Much of this is explained by the expected PSNR of an oracle that thresholds coefficients of
the discrete cosine transform: the mean over k of min(c_k^2, sigma^2), in decibels. The **gain** is the PSNR of the
denoiser after regression on the PSNR of the oracle, with a slope fitted within the two sets of images. A one-sided
Welch t test compares the mean gains on scored and on fresh images. Half of :data:`ALPHA` is spent on the average over
noise levels; the individual noise levels share the other half.

If the optimum of the dataset or a lower bound is known, squared errors on some of the fresh images are compared with
those of the best denoiser, or of the genie, on the same noisy images: no denoiser is better except by chance.

References
----------
Welch, *The generalization of Student's problem when several different population variances are involved*, Biometrika
34, 1947.
"""

from __future__ import annotations

import functools
import math
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gahbench._util.errors import GahbenchError
from gahbench.contracts.datasets import Dataset, Split, validate_sources
from gahbench.contracts.truth import Truth, visible_truth

if TYPE_CHECKING:
    from gahbench.evaluation.evaluation import Evaluation

Array = NDArray[np.float64]

#: Number of fresh images, which are the same at all noise levels.
IMAGES = 16
#: Number of fresh images that are compared with the optimum, at the middle noise level; the optimum may take a second
#: for each image.
COMPARED = 12
#: Minimum number of images, or sources of images, that the test needs in each set.
MIN_SOURCES = 5
#: The probability that an honest entrant is flagged for an advantage on scored images.
ALPHA = 1e-4
#: The probability that an entrant as good as the optimum is flagged; few entrants are that good.
OPTIMAL_ALPHA = 1e-3
#: Fresh images of an endless stream start within this many images after the scored images.
LAST_START = 2**31
#: Largest advantage in dB that is not flagged on a finite dataset, since its splits may differ in kind.
FINITE_ADVANTAGE = 3.0
#: Squared errors per pixel below this are rounding errors.
_MIN_ERROR = 1e-12


@dataclass(frozen=True)
class FreshImages:
    """The position of images of a dataset that no unit of a suite uses."""

    split: Split
    start: int
    is_stream: bool

    @classmethod
    def choose(cls, evaluation: Evaluation) -> FreshImages | None:
        """Choose random images that an evaluation does not use; ``None`` if the dataset cannot provide enough."""
        dataset, first_unused = evaluation.dataset, evaluation.start + len(evaluation.clean)
        if dataset is None or evaluation.split != "test" or dataset.shapes(first_unused) is not None:
            return None
        if dataset.available("test") is None:
            has_single_images = validate_sources(dataset, "test", 1) is None
            return cls("test", first_unused + secrets.randbelow(LAST_START), True) if has_single_images else None
        candidates: tuple[tuple[Split, int], ...] = (("test", first_unused), ("validation", 0))
        for split, first in candidates:
            spare = (dataset.available(split) or 0) - first - IMAGES
            if spare >= 0:
                return cls(split, first + secrets.randbelow(spare + 1), False)
        return None


@dataclass(frozen=True)
class FreshResult:
    """The outcome of the test of a denoiser on fresh images.

    Parameters
    ----------
    images
        The position of the fresh images.
    advantage
        Advantage on scored over fresh images, averaged over noise levels, in dB.
    detectable
        The smallest average advantage that would be flagged, in dB.
    sigma_advantage
        Advantage in the comparison with the smallest p-value: at one noise level, or the average; in dB.
    p
        p-value of the advantage, corrected for the number of comparisons.
    optimal_p
        p-value of squared errors smaller than those of the optimum; ``None`` if the optimum cannot be computed.
    """

    images: FreshImages
    advantage: float
    detectable: float
    sigma_advantage: float
    p: float
    optimal_p: float | None

    @property
    def flags(self) -> list[str]:
        """Reasons why the scores are flagged; empty for honest entrants."""
        flags = []
        images = f"{IMAGES} {'new' if self.images.is_stream else 'other'} images of this dataset"
        if self.p < ALPHA and (self.images.is_stream or self.sigma_advantage > FINITE_ADVANTAGE):
            flags.append(
                f"is better on the test images than elsewhere: its gain is {self.sigma_advantage:.1f} dB larger than "
                f"on {images}"
            )
        if self.optimal_p is not None and self.optimal_p < OPTIMAL_ALPHA:
            flags.append(f"has a smaller mean error than the optimum on {images} ({COMPARED} compared)")
        return flags

    def record(self) -> dict[str, Any]:
        """Return the numbers as JSON types."""
        return {
            "split": self.images.split,
            "start": self.images.start,
            "images": IMAGES,
            "advantage": self.advantage,
            "detectable": self.detectable,
            "p": self.p,
            "optimal_p": self.optimal_p,
        }


def compare_on_fresh_images(evaluation: Evaluation) -> FreshResult | None:
    """Test whether a denoiser is as good on fresh images as on evaluated images, and no better than the optimum."""
    images, dataset, sigmas = FreshImages.choose(evaluation), evaluation.dataset, evaluation.sigmas
    if images is None or dataset is None:
        return None
    scored_groups = _sources(dataset, "test", evaluation.start, len(evaluation.clean))
    fresh_groups = _sources(dataset, images.split, images.start, IMAGES)
    if min(len(set(scored_groups)), len(set(fresh_groups))) < MIN_SOURCES:
        return None
    try:
        _draw(dataset, images)
    except (GahbenchError, OSError):
        # Skip the test if the images cannot be read.
        return None
    seeds = [secrets.randbits(62) for _ in sigmas]
    denoised = _denoise_fresh(evaluation, images, seeds)
    clean = _draw(dataset, images)
    denoised_scored = [evaluation.denoised(sigma) for sigma in sigmas]
    scored, scored_oracle = _by_source(_curves(sigmas, evaluation.clean, denoised_scored), scored_groups)
    fresh, fresh_oracle = _by_source(_curves(sigmas, clean, denoised), fresh_groups)
    middle = len(sigmas) // 2
    p, level, advantages, detectable = compare_levels(scored, scored_oracle, fresh, fresh_oracle)
    return FreshResult(
        images,
        float(advantages[0]),
        float(detectable),
        float(advantages[int(level)]),
        float(p),
        _optimal_p(evaluation, dataset, images, sigmas[middle], seeds[middle], clean, denoised[middle]),
    )


def _curves(sigmas: Sequence[float], clean: Tensor, denoised: Sequence[Tensor]) -> Array:
    """Return the PSNR of a denoiser and of the oracle at each noise level, shape (2, L, N)."""
    own = np.stack([psnr(images, clean) for images in denoised])
    return np.stack([own, np.stack([oracle_psnr(clean, sigma) for sigma in sigmas])])


def psnr(denoised: Tensor, clean: Tensor) -> Array:
    """Return the PSNR of each image in dB, shape (N,): at most 120, and -100 for outputs that are not finite."""
    squared = (denoised.double() - clean.double()).square().flatten(1).mean(1).nan_to_num(1e10, 1e10)
    return np.asarray(-10 * torch.log10(squared.clamp(min=_MIN_ERROR)))


def oracle_psnr(clean: Tensor, sigma: float) -> Array:
    """Return the expected PSNR of an oracle that keeps cosine coefficients above sigma, for each image, shape (N,)."""
    from scipy.fft import dctn

    coefficients = dctn(clean.double().numpy(), axes=(-2, -1), norm="ortho")
    errors = np.minimum(coefficients**2, sigma**2).mean(axis=(1, 2, 3))
    return np.asarray(-10 * np.log10(np.maximum(errors, _MIN_ERROR)))


def welch(scored: Array, scored_oracle: Array, fresh: Array, fresh_oracle: Array) -> tuple[Array, Array, Array]:
    """Return the advantage in gain on scored over fresh images, with its standard error and degrees of freedom."""
    y, x, v, u = (values - values.mean(-1, keepdims=True) for values in (scored, scored_oracle, fresh, fresh_oracle))
    counts = scored.shape[-1], fresh.shape[-1]
    spread = np.maximum((x * x).sum(-1) + (u * u).sum(-1), 1e-12)
    slope = ((y * x).sum(-1) + (v * u).sum(-1)) / spread
    offset = scored_oracle.mean(-1) - fresh_oracle.mean(-1)
    advantage = scored.mean(-1) - fresh.mean(-1) - slope * offset
    squares = ((y - slope[..., None] * x) ** 2).sum(-1), ((v - slope[..., None] * u) ** 2).sum(-1)
    mean_variances = [squared / (count * (count - 1)) for squared, count in zip(squares, counts, strict=True)]
    # The third term of the variance accounts for the estimated slope.
    pooled = (squares[0] + squares[1]) / (sum(counts) - 3)
    error = np.sqrt(mean_variances[0] + mean_variances[1] + pooled * offset**2 / spread)
    weights = mean_variances[0] ** 2 / (counts[0] - 1) + mean_variances[1] ** 2 / (counts[1] - 1)
    dof = np.maximum((mean_variances[0] + mean_variances[1]) ** 2 / np.maximum(weights, 1e-300) - 1, 1.0)
    return advantage, error, dof


def compare_levels(
    scored: Array, scored_oracle: Array, fresh: Array, fresh_oracle: Array
) -> tuple[Array, Array, Array, Array]:
    """Compare the gains averaged over noise levels, and the gains at each noise level.

    Returns the corrected p-value, the index of the comparison with the smallest p-value (0 for the average), the
    advantages in all comparisons, and the smallest average advantage that would be flagged.
    """
    from scipy.special import stdtr, stdtrit

    levels = scored.shape[0]
    sets = (np.concatenate([values.mean(0)[None], values]) for values in (scored, scored_oracle, fresh, fresh_oracle))
    advantages, errors, dof = welch(*sets)
    # The lower limit of the standard error ignores differences caused by rounding.
    tails = stdtr(dof, -advantages / np.maximum(errors, 1e-6))
    shares = np.concatenate([[2.0], np.full(levels, 2.0 * levels)]) if levels > 1 else np.array([1.0, 1.0])
    p = tails * shares.reshape(-1, *(1 for _ in range(tails.ndim - 1)))
    detectable = -stdtrit(dof[0], ALPHA / shares[0]) * errors[0]
    return np.minimum(p.min(0), 1.0), p.argmin(0), advantages, detectable


def _optimal_p(
    evaluation: Evaluation,
    dataset: Dataset,
    images: FreshImages,
    sigma: float,
    seed: int,
    clean: Tensor,
    denoised: Tensor,
) -> float | None:
    """Return the p-value of squared errors smaller than the optimum's; ``None`` if the optimum is unknown."""
    from scipy.special import stdtr

    kind = dataset.optimum.kind
    if kind not in ("exact", "bracket"):
        return None
    noisy = _add_noise(evaluation, clean, sigma, seed)[:COMPARED]
    clean, denoised = clean[:COMPARED], denoised[:COMPARED]
    try:
        if kind == "exact":
            posterior = dataset.posterior(noisy, sigma)
            best, expected = posterior.mean, posterior.trace / noisy[0].numel()
        else:
            best = dataset.genie(noisy, sigma, images.split, images.start)
            expected = dataset.lower_bound(images.split, COMPARED, sigma, images.start)
    except GahbenchError:
        # The optimum may not be computable accurately enough, for example by importance sampling.
        return None
    own_errors, optimal_errors = ((output.double() - clean).square().flatten(1).mean(1) for output in (denoised, best))
    excess = (own_errors - optimal_errors) / expected.double().clamp(min=_MIN_ERROR)
    if not bool(excess.isfinite().all()):
        return 1.0
    error = max(float(excess.std()) / COMPARED**0.5, _MIN_ERROR)
    return float(stdtr(COMPARED - 1, float(excess.mean()) / error))


def _denoise_fresh(evaluation: Evaluation, images: FreshImages, seeds: Sequence[int]) -> list[Tensor]:
    """Return the outputs for fresh images, in the order of the noise levels; the largest level is computed first."""
    dataset = evaluation.dataset
    assert dataset is not None
    outputs: dict[float, Tensor] = {}
    levels = dict(zip(evaluation.sigmas, seeds, strict=True))
    for sigma in sorted(levels, reverse=True):
        noisy = _add_noise(evaluation, _draw(dataset, images), sigma, levels[sigma])
        # Datasets cache the images that they drew last; draw other images, so that a denoiser cannot read the cache.
        dataset.images("test", 1, evaluation.start)
        outputs[sigma] = evaluation.batches.run(functools.partial(_denoise, evaluation, noisy, sigma))
    return [outputs[sigma] for sigma in evaluation.sigmas]


def _denoise(evaluation: Evaluation, noisy: Tensor, sigma: float, size: int) -> Tensor:
    """Return denoised images, computed in batches of ``size`` images."""
    denoiser, parts = evaluation.denoiser, []
    for batch in torch.split(noisy, size):
        # Hide the index of the images, with which a denoiser could draw them.
        truth = visible_truth(denoiser.kind, Truth(torch.full_like(batch, math.nan)))
        with torch.no_grad(), torch.random.fork_rng():
            torch.manual_seed(secrets.randbits(62))
            parts.append(evaluation.apply(batch, sigma, truth))
    return torch.cat(parts).float()


def _draw(dataset: Dataset, images: FreshImages) -> Tensor:
    return dataset.images(images.split, IMAGES, images.start)


def _add_noise(evaluation: Evaluation, clean: Tensor, sigma: float, seed: int) -> Tensor:
    return evaluation.add_noise(clean, sigma, torch.Generator().manual_seed(seed))


def _sources(dataset: Dataset, split: Split, start: int, count: int) -> list[int]:
    """Return an integer that identifies the source of each of ``count`` images."""
    if dataset.available(split) is None:
        return list(range(count))
    sources = validate_sources(dataset, split, start + count)
    return list(range(count)) if sources is None else sources[start:]


def _by_source(values: Array, sources: Sequence[int]) -> Array:
    """Return the means over the images of each source, shape (..., S), of values (..., N)."""
    _, group_of_image = np.unique(np.asarray(sources), return_inverse=True)
    return np.asarray(values @ np.eye(int(group_of_image.max()) + 1)[group_of_image] / np.bincount(group_of_image))
