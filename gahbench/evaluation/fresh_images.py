"""A test on fresh images, which nobody has seen.

Is a denoiser as good on them as on the images that it is scored on?

A denoiser that knows the test images, since it was trained or fitted to them, blends them in, projects on their span or
finds them in memory, is better on those than on other images of the family. So :data:`IMAGES` further images are drawn
after the scores, far along the stream of the dataset, under noise that is drawn then. The place in the stream is chosen
at random and is not used again. Neither these clean images nor their noise exist while the denoiser runs: they are
drawn a second time, from their place and seeds, when all its outputs are there.

The images differ in difficulty. What explains much of it is the PSNR that an oracle reaches which thresholds the
coefficients of the discrete cosine transform, in expectation over the noise: mean over k of min(c_k^2, sigma^2), in
decibels. The **gain** is the PSNR of the denoiser less as much of that of the oracle as regression within the two sets
finds. Its mean over the scored images is compared with that over the fresh ones by Welch's one-sided t test: of the
mean over noise levels, and of each level, with half of :data:`ALPHA` for the former and the rest shared by the latter.

Where the optimum of the dataset or a lower bound is known, squared errors on some of the fresh images are compared with
those of the best denoiser, or the genie, for the same noisy images: none is better but by chance.

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
from gahbench.contracts.denoisers import visible_truth
from gahbench.contracts.truth import Truth

if TYPE_CHECKING:
    from gahbench.evaluation.evaluation import Evaluation

Array = NDArray[np.float64]

#: Fresh images, the same at all noise levels.
IMAGES = 16
#: Number of fresh images that are compared with the optimum, at the middle noise level: one may take a second.
COMPARED = 12
#: Fewer images, or sources of images, are no sample.
MIN_SOURCES = 5
#: The probability that an honest row is marked.
ALPHA = 1e-4
#: The same for one that is as good as the optimum, which hardly any is.
OPTIMAL_ALPHA = 1e-3
#: Fresh images start in front of this place of a stream that never ends.
LAST_START = 2**31
#: Splits of a finite set may hold images of different kinds, so that only a larger advantage is marked, in dB.
FINITE_ADVANTAGE = 3.0
#: Squared errors per pixel below this are rounding.
_LEAST_ERROR = 1e-12


@dataclass(frozen=True)
class FreshImages:
    """Images of a dataset that no unit of a suite uses."""

    split: Split
    start: int
    is_stream: bool

    @classmethod
    def choose(cls, evaluation: Evaluation) -> FreshImages | None:
        """Choose images at random beyond those of an evaluation; ``None`` where the dataset has none to spare."""
        dataset, scored = evaluation.dataset, evaluation.start + len(evaluation.clean)
        if dataset is None or evaluation.split != "test" or dataset.shapes(scored) is not None:
            return None
        if dataset.available("test") is None:
            is_one_each = validate_sources(dataset, "test", 1) is None
            return cls("test", scored + secrets.randbelow(LAST_START), True) if is_one_each else None
        places: tuple[tuple[Split, int], ...] = (("test", scored), ("validation", 0))
        for split, first in places:
            spare = (dataset.available(split) or 0) - first - IMAGES
            if spare >= 0:
                return cls(split, first + secrets.randbelow(spare + 1), False)
        return None


@dataclass(frozen=True)
class FreshResult:
    """The outcome of the test of a denoiser on fresh images."""

    images: FreshImages
    advantage: float
    detectable: float
    sigma_advantage: float
    p: float
    optimal_p: float | None

    @property
    def marks(self) -> list[str]:
        """Why the scores are not to be relied on; empty for honest rows."""
        marks = []
        images = f"{IMAGES} {'new' if self.images.is_stream else 'other'} images of this dataset"
        if self.p < ALPHA and (self.images.is_stream or self.sigma_advantage > FINITE_ADVANTAGE):
            marks.append(
                f"is better on the test images than elsewhere: its gain is {self.sigma_advantage:.1f} dB larger than "
                f"on {images}"
            )
        if self.optimal_p is not None and self.optimal_p < OPTIMAL_ALPHA:
            marks.append(f"has a smaller mean error than the optimum on {images} ({COMPARED} compared)")
        return marks

    def record(self) -> dict[str, Any]:
        """Return the numbers as plain JSON."""
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
    """Test whether a denoiser is as good on fresh images as on the evaluated ones, and no better than the optimum."""
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
        # A denoiser is not marked for images that cannot be read.
        return None
    seeds = [secrets.randbits(62) for _ in sigmas]
    denoised = _denoise_fresh(evaluation, images, seeds)
    clean = _draw(dataset, images)
    known = [evaluation.denoised(sigma) for sigma in sigmas]
    scored, scored_oracle = _by_source(_curves(sigmas, evaluation.clean, known), scored_groups)
    fresh, fresh_oracle = _by_source(_curves(sigmas, clean, denoised), fresh_groups)
    middle = len(sigmas) // 2
    p, place, advantages, detectable = compare_levels(scored, scored_oracle, fresh, fresh_oracle)
    return FreshResult(
        images,
        float(advantages[0]),
        float(detectable),
        float(advantages[int(place)]),
        float(p),
        _optimal_p(dataset, images, sigmas[middle], seeds[middle], clean, denoised[middle]),
    )


def _curves(sigmas: Sequence[float], clean: Tensor, denoised: Sequence[Tensor]) -> Array:
    """Return the PSNR of a denoiser and of the oracle at each noise level, shape (2, L, N)."""
    own = np.stack([psnr(images, clean) for images in denoised])
    return np.stack([own, np.stack([oracle_psnr(clean, sigma) for sigma in sigmas])])


def psnr(denoised: Tensor, clean: Tensor) -> Array:
    """Return the PSNR of each image, shape (N,), in dB: at most that of rounding, -100 for outputs without number."""
    squared = (denoised.double() - clean.double()).square().flatten(1).mean(1).nan_to_num(1e10, 1e10)
    return np.asarray(-10 * torch.log10(squared.clamp(min=_LEAST_ERROR)))


def oracle_psnr(clean: Tensor, sigma: float) -> Array:
    """Return the expected PSNR of an oracle that keeps cosine coefficients above sigma, per image, shape (N,)."""
    from scipy.fft import dctn

    coefficients = dctn(clean.double().numpy(), axes=(-2, -1), norm="ortho")
    errors = np.minimum(coefficients**2, sigma**2).mean(axis=(1, 2, 3))
    return np.asarray(-10 * np.log10(np.maximum(errors, _LEAST_ERROR)))


def welch(scored: Array, scored_oracle: Array, fresh: Array, fresh_oracle: Array) -> tuple[Array, Array, Array]:
    """Test whether gains are larger on scored than on fresh images, as the docstring of this module says."""
    y, x, v, u = (values - values.mean(-1, keepdims=True) for values in (scored, scored_oracle, fresh, fresh_oracle))
    counts = scored.shape[-1], fresh.shape[-1]
    spread = np.maximum((x * x).sum(-1) + (u * u).sum(-1), 1e-12)
    slope = ((y * x).sum(-1) + (v * u).sum(-1)) / spread
    offset = scored_oracle.mean(-1) - fresh_oracle.mean(-1)
    advantage = scored.mean(-1) - fresh.mean(-1) - slope * offset
    squares = ((y - slope[..., None] * x) ** 2).sum(-1), ((v - slope[..., None] * u) ** 2).sum(-1)
    parts = [found / (count * (count - 1)) for found, count in zip(squares, counts, strict=True)]
    # The slope is estimated too.
    pooled = (squares[0] + squares[1]) / (sum(counts) - 3)
    error = np.sqrt(parts[0] + parts[1] + pooled * offset**2 / spread)
    weights = parts[0] ** 2 / (counts[0] - 1) + parts[1] ** 2 / (counts[1] - 1)
    freedom = np.maximum((parts[0] + parts[1]) ** 2 / np.maximum(weights, 1e-300) - 1, 1.0)
    return advantage, error, freedom


def compare_levels(
    scored: Array, scored_oracle: Array, fresh: Array, fresh_oracle: Array
) -> tuple[Array, Array, Array, Array]:
    """Compare gains over several noise levels: their mean, and each level."""
    from scipy.special import stdtr, stdtrit

    levels = scored.shape[0]
    sets = (np.concatenate([values.mean(0)[None], values]) for values in (scored, scored_oracle, fresh, fresh_oracle))
    advantages, errors, freedom = welch(*sets)
    # Ignore differences caused by rounding.
    tails = stdtr(freedom, -advantages / np.maximum(errors, 1e-6))
    shares = np.concatenate([[2.0], np.full(levels, 2.0 * levels)]) if levels > 1 else np.array([1.0, 1.0])
    p = tails * shares.reshape(-1, *(1 for _ in range(tails.ndim - 1)))
    detectable = -stdtrit(freedom[0], ALPHA / shares[0]) * errors[0]
    return np.minimum(p.min(0), 1.0), p.argmin(0), advantages, detectable


def _optimal_p(
    dataset: Dataset, images: FreshImages, sigma: float, seed: int, clean: Tensor, denoised: Tensor
) -> float | None:
    """Return the p-value of squared errors so far below those of the best denoiser; ``None`` where it is not known."""
    from scipy.special import stdtr

    if dataset.optimum.kind not in ("exact", "bracket"):
        return None
    noisy, clean, denoised = _add_noise(clean, sigma, seed)[:COMPARED], clean[:COMPARED], denoised[:COMPARED]
    try:
        if dataset.optimum.kind == "exact":
            posterior = dataset.posterior(noisy, sigma)
            best, expected = posterior.mean, posterior.trace / noisy[0].numel()
        else:
            best = dataset.genie(noisy, sigma, images.split, images.start)
            expected = dataset.lower_bound(images.split, COMPARED, sigma, images.start)
    except GahbenchError:
        # Importance sampling, for example, may not be accurate enough.
        return None
    own, least = ((one.double() - clean).square().flatten(1).mean(1) for one in (denoised, best))
    excess = (own - least) / expected.double().clamp(min=_LEAST_ERROR)
    if not bool(excess.isfinite().all()):
        return 1.0
    error = max(float(excess.std()) / COMPARED**0.5, _LEAST_ERROR)
    return float(stdtr(COMPARED - 1, float(excess.mean()) / error))


def _denoise_fresh(evaluation: Evaluation, images: FreshImages, seeds: Sequence[int]) -> list[Tensor]:
    """Return the outputs for fresh images, in the order of the noise levels; the largest level comes first."""
    dataset = evaluation.dataset
    assert dataset is not None
    outputs: dict[float, Tensor] = {}
    levels = dict(zip(evaluation.sigmas, seeds, strict=True))
    for sigma in sorted(levels, reverse=True):
        noisy = _add_noise(_draw(dataset, images), sigma, levels[sigma])
        # Datasets keep the images that they drew last.
        dataset.images("test", 1, evaluation.start)
        outputs[sigma] = evaluation.batches.run(functools.partial(_denoise, evaluation, noisy, sigma))
    return [outputs[sigma] for sigma in evaluation.sigmas]


def _denoise(evaluation: Evaluation, noisy: Tensor, sigma: float, size: int) -> Tensor:
    """Return denoised images, computed in batches of a size."""
    denoiser, parts = evaluation.denoiser, []
    for batch in torch.split(noisy, size):
        # A denoiser that knew the index could draw these images.
        truth = visible_truth(denoiser.kind, Truth(torch.full_like(batch, math.nan)))
        with torch.no_grad(), torch.random.fork_rng():
            torch.manual_seed(secrets.randbits(62))
            parts.append(evaluation._checked(denoiser.denoise(batch, sigma, truth), batch))
    return torch.cat(parts).float()


def _draw(dataset: Dataset, images: FreshImages) -> Tensor:
    return dataset.images(images.split, IMAGES, images.start)


def _add_noise(clean: Tensor, sigma: float, seed: int) -> Tensor:
    return clean + sigma * torch.randn(clean.shape, generator=torch.Generator().manual_seed(seed))


def _sources(dataset: Dataset, split: Split, start: int, count: int) -> list[int]:
    """Return the source of each of some images, by number."""
    if dataset.available(split) is None:
        return list(range(count))
    found = validate_sources(dataset, split, start + count)
    return list(range(count)) if found is None else found[start:]


def _by_source(values: Array, sources: Sequence[int]) -> Array:
    """Return the means over the images of each source, shape (..., S), of values (..., N)."""
    _, group = np.unique(np.asarray(sources), return_inverse=True)
    return np.asarray(values @ np.eye(int(group.max()) + 1)[group] / np.bincount(group))
