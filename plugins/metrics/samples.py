"""Metrics of samples: copies of training images, agreement of pairs, diversity and quality."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from gahbench import Metric, Names, Reference, Scores, generator
from gahbench.evaluation import Evaluation, fit_on_same_images, training_images
from gahbench.sampling import nearest, nearest_by_cosine, nearest_is_own, pair_cosines, remove_shared

#: A sample with a ratio of distances below this value counts as memorized.
MEMORIZED = 1 / 3
#: Side of the patches in pixels, limited by the image side; number of directions, and largest number of patches.
PATCH, DIRECTIONS, MAX_PATCHES = 7, 128, 1 << 15
#: Number of images that are transformed at a time.
BATCH = 256


class Sampled(Metric):
    """Fraction of samples that converged: the final noise level was reached within the maximum number of steps.

    Other metrics of samples ignore samples that did not converge.

    Parts: ``steps``, the number of steps; ``sigma``, the noise level before the last denoising, in units of grey
    values.
    """

    titles: ClassVar[dict[str, str]] = {"": "converged samples (share)"}
    share_parts = ("",)
    needs = frozenset({"samples", "test"})

    def score(self, evaluation: Evaluation) -> Scores:
        """Return 1 for converged samples and 0 for other samples, and the parts."""
        drawn = evaluation.samples
        return Scores.parts({"": drawn.converged, "steps": drawn.steps, "sigma": drawn.sigma})


class Memorization(Metric):
    """Memorization ratio: fraction of samples that are three times nearer to a training image than to any other.

    A sample s is memorized if |s - x_1| / |s - x_2| < 1/3 for its nearest and second nearest training images (Yoon et
    al. 2023). With a single training image, x_2 is the constant image with the same mean.

    Parts: ``ratio``, the ratio of distances for each sample; ``affine``, the fraction of memorized samples if training
    images may change in brightness and contrast, as in images memorized by bias-free networks: the distances are then
    min |s - a x - b| over a >= 0 and b, and x_1 and x_2 the images of the largest correlation; ``duplicate``, the
    fraction of samples whose distance to the nearest training image is below that of 99 % of the test images.
    """

    citation = "yoon-2023"
    titles: ClassVar[dict[str, str]] = {
        "": "memorized samples (share)",
        "affine": "memorized, up to brightness and contrast",
        "duplicate": "near-duplicates (share)",
    }
    higher_is_better = False
    share_parts = ("", "ratio", "affine", "duplicate")
    needs = frozenset({"samples", "test", "training"})

    def score(self, evaluation: Evaluation) -> Scores:
        """Return 1 for memorized samples and 0 for other samples, and the parts."""
        indices, count = evaluation.samples.converged.nonzero()[:, 0], len(evaluation.samples)
        if not len(indices) or evaluation.learned_from is None:
            return Scores([])
        samples, training = evaluation.samples.images[indices], training_images(evaluation)
        distances = nearest(samples, training, 2).values
        if len(training) == 1:
            flat = training.double().mean((2, 3), keepdim=True).expand_as(training)
            distances = torch.cat([distances, nearest(samples, flat).values], 1)
        ratios = _ratios(distances)
        # min |s - a x - b| is proportional to the sine of the angle between s and x, less their means.
        cosines = nearest_by_cosine(samples, training, 2).values.clamp(min=0)
        sines = (1 - cosines.square()).sqrt()
        affine = _ratios(sines if len(training) > 1 else torch.cat([sines, torch.ones_like(sines)], 1))
        threshold = nearest(evaluation.clean, training).values[:, 0].quantile(0.01)
        parts = {
            "": ratios < MEMORIZED,
            "ratio": ratios,
            "affine": affine < MEMORIZED,
            "duplicate": distances[:, 0] < threshold,
        }
        return at_samples(parts, indices, count)


def _ratios(distances: Tensor) -> Tensor:
    """Return the ratios of the first and second of distances (N, 2); 0 for exact copies, also of duplicates."""
    return torch.where(distances[:, 0] == 0, 0.0, distances[:, 0] / distances[:, 1])


class ClosestTraining(Metric):
    """Cosine of each sample with the most similar training image, after removing the mean of each image.

    The value is 1 for a copy (Kadkhodaie et al. 2024, figure 2). At most 100,000 training images are compared. Large
    training sets contain an image similar to any sample, so compare the value with the part ``fresh``.

    Parts: ``fresh``, the cosine for test images instead of samples; ``raw``, the cosine without removing means;
    ``distance``, the root mean square distance to the nearest training image. Arrays for figures: samples and their
    most similar training images.
    """

    positive_parts = ("distance",)
    citation = "kadkhodaie-2024"
    titles: ClassVar[dict[str, str]] = {"": "cosine, closest training image"}
    nulls: ClassVar[dict[str, str]] = {"": "fresh"}
    higher_is_better = False
    needs = frozenset({"samples", "test", "training"})

    def score(self, evaluation: Evaluation) -> Scores:
        """Return the cosine and the parts for every sample."""
        indices, count = evaluation.samples.converged.nonzero()[:, 0], len(evaluation.samples)
        if not len(indices) or evaluation.learned_from is None:
            return Scores([])
        samples, training = evaluation.samples.images[indices], training_images(evaluation)
        closest = nearest_by_cosine(samples, training)
        parts = {
            "": closest.values[:, 0],
            "raw": nearest_by_cosine(samples, training, centred=False).values[:, 0],
            "distance": nearest(samples, training).values[:, 0] / samples[0].numel() ** 0.5,
        }
        fresh = nearest_by_cosine(evaluation.clean[:count], training).values[:, 0]
        arrays = {"samples": samples, "closest": training[closest.indices[:, 0]], "cosine": closest.values[:, 0]}
        return at_samples(parts, indices, count, arrays, fresh=fresh)


class OwnHalf(Metric):
    """Fraction of samples whose nearest training image is in the half on which their network was trained.

    Two networks are trained on halves A and B of the training set, of equal size. The value pi averages two fractions
    for the same starting noise: the fraction of samples of the network of A whose nearest image in A and B is in A, and
    the fraction of samples of the network of B whose nearest image is in B. The expectation is exactly 1/2 for networks
    that do not depend on their half, for any images, without thresholds or calibration. It is 1 for copies. The average
    over both halves is necessary, since one half may be nearer to all samples. Images in both halves are excluded.

    The value may be near 1/2 or below for copies that differ in brightness or contrast, as in images memorized by
    bias-free networks. If all samples are too bright, the nearest image is the brightest image of both halves,
    regardless of the content of the sample. The part ``affine`` compares images up to brightness and contrast; its
    expectation is also 1/2 for networks that do not depend on their half.

    Parts: ``affine``; ``null``, 1/2; ``c-t``, the Mann-Whitney statistic that compares distances to the own half of
    samples and of test images, in standard deviations (Meehan, Chaudhuri & Dasgupta 2020, without cells). Its mean over
    samples is about 0 for new images, below -3 for copies, and above 3 for samples unlike any training image.
    """

    citation = "meehan-2020"
    titles: ClassVar[Mapping[str, str]] = {
        "": "π: samples nearest to their own half",
        "affine": "π up to brightness and contrast",
        "c-t": "C_T (standard deviations)",
    }
    nulls: ClassVar[Mapping[str, str]] = {"": "null"}
    share_parts = ("", "affine")
    higher_is_better = False
    needs = frozenset({"partner", "samples", "test", "training"})

    def score(self, evaluation: Evaluation) -> Scores:
        """Return the value and the parts for every starting noise for which both samples converged."""
        partner = evaluation.partner
        if partner is None or evaluation.learned_from is None or partner.learned_from is None:
            return Scores([])
        converged = evaluation.samples.converged & partner.samples.converged
        indices, count = converged.nonzero()[:, 0], len(converged)
        own_half, other_half = remove_shared(training_images(evaluation), training_images(partner))
        if not len(indices) or not len(own_half):
            return Scores([])
        samples, others = evaluation.samples.images[indices], partner.samples.images[indices]

        def mean(measure: Callable[..., Tensor], *arguments: Any) -> Tensor:
            first = measure(samples, own_half, other_half, *arguments)
            return (first.double() + measure(others, other_half, own_half, *arguments)) / 2

        parts = {"": mean(nearest_is_own), "affine": mean(nearest_is_own, True)}
        parts |= {"null": torch.full((len(indices),), 0.5), "c-t": mean(_ranks, evaluation.clean)}
        return at_samples(parts, indices, count)


def _ranks(samples: Tensor, images: Tensor, _: Tensor, fresh: Tensor) -> Tensor:
    """Return values of samples, shape (M,), whose mean is the standardized rank sum of distances to images."""
    distances, fresh_distances = (nearest(batch, images).values[:, 0] for batch in (samples, fresh))
    # Ties count as one half.
    is_nearer = (fresh_distances[None] < distances[:, None]).double()
    is_nearer += 0.5 * (fresh_distances[None] == distances[:, None]).double()
    count, fresh_count = len(distances), len(fresh_distances)
    deviation = math.sqrt(count * fresh_count * (count + fresh_count + 1) / 12)
    return (is_nearer.mean(1) - 0.5) * count * fresh_count / deviation


class PairCosine(Metric):
    """Cosine between samples that two denoisers draw from the same noise, after removing the mean of each image.

    The denoisers are trained on halves of the training set that share no image. The cosine is near 1 if both model the
    same density (Kadkhodaie 2024, figure 2).

    Parts: ``raw``, the cosine without removing means; ``own``, the cosine after removing the mean test image, which
    ignores features that all images of the dataset share; ``null``, the cosine between samples from different noise.
    Arrays for figures: samples of both denoisers and their most similar training images.
    """

    citation = "kadkhodaie-2024"
    titles: ClassVar[dict[str, str]] = {"": "cosine of paired samples", "own": "cosine of paired samples, mean removed"}
    nulls: ClassVar[dict[str, str]] = {"": "null"}
    needs = frozenset({"partner", "samples", "test", "training"})

    def score(self, evaluation: Evaluation) -> Scores:
        """Return the cosine and the parts for every pair of converged samples."""
        partner = evaluation.partner
        if partner is None or evaluation.learned_from is None:
            return Scores([])
        converged = evaluation.samples.converged & partner.samples.converged
        indices, count = converged.nonzero()[:, 0], len(converged)
        if not len(indices):
            return Scores([])
        samples, others = evaluation.samples.images[indices], partner.samples.images[indices]
        # Removing the mean of two training images would make copies of them point in opposite directions.
        parts = {
            "": pair_cosines(samples, others),
            "raw": pair_cosines(samples, others, centred=False),
            "own": pair_cosines(samples, others, centred=False, origin=evaluation.clean.mean(0)),
        }
        if len(indices) > 1:
            parts["null"] = pair_cosines(samples, others.roll(-1, 0))
        arrays = {"samples": samples, "partner_samples": others, "pair_cosine": parts[""]}
        for prefix, images, own in (("", samples, evaluation), ("partner_", others, partner)):
            training = training_images(own)
            closest = nearest_by_cosine(images, training)
            arrays[f"{prefix}closest"] = training[closest.indices[:, 0]]
            arrays[f"{prefix}closest_cosine"] = closest.values[:, 0]
        return at_samples(parts, indices, count, arrays)


class SamplePrediction(Metric):
    """Fraction of a sample that a reference predicts from the same noise: r^2 between the two images.

    The value is the squared correlation over pixels and channels, and 0 if the correlation is negative. The value does
    not depend on brightness and contrast. The reference is fitted to the training images of the denoiser, or to the
    first training images if its parameters limit their number, and sampled with the same settings.

    With ``local-score`` the value measures how far samples of a network are composed of training patches. Kamb &
    Ganguli, ICML 2025 (arXiv 2412.20292), report median r^2 of 0.94 to 0.96 between samples of purely convolutional
    networks and of their best score machine; their published evaluation script computes medians of the correlation.
    With ``empirical-bayes`` the value compares a sample with the training image to which the same noise leads.

    Part: ``null``, r^2 with a sample of the reference from different noise, which shows the similarity of all samples.
    Arrays for figures: samples and predictions.

    Parameters
    ----------
    to
        The reference, of kind ``classical``, ``trained`` or ``optimal``.
    max_samples
        Largest number of samples that are predicted, at least 2; ``null`` for all.
    """

    share_parts = ("", "null")
    citation = "kamb-2025"
    unit = "r²"
    titles: ClassVar[dict[str, str]] = {"": "r² of samples, {to}"}
    nulls: ClassVar[dict[str, str]] = {"": "null"}
    needs = frozenset({"samples", "test", "training"})
    label_parameters = ("to",)

    def __init__(
        self,
        to: Annotated[Reference, Names("reference", default="local-score")],
        max_samples: Annotated[int, Field(ge=2)] | None = None,
    ) -> None:
        if to.kind in ("oracle", "bound"):
            raise ValueError(f"to: a reference of kind '{to.kind}' sees the clean image; accepted: other kinds")
        self.to, self.max_samples = to, max_samples

    def score(self, evaluation: Evaluation) -> Scores:
        """Return r^2 and the part for every starting noise for which both samples converged."""
        reference = fit_on_same_images(self.to, evaluation)
        if reference is None:
            return Scores([])
        drawn = evaluation.samples
        count = min(len(drawn), self.max_samples or len(drawn))
        settings = evaluation.sampling.model_copy(update={"count": count})
        predicted = replace(evaluation.with_denoiser(reference), sampling=settings).samples
        indices = (drawn.converged[:count] & predicted.converged).nonzero()[:, 0]
        if not len(indices):
            return Scores([])
        samples, predictions = drawn.images[indices], predicted.images[indices]
        # A negative correlation predicts nothing.
        parts = {"": pair_cosines(samples, predictions).clamp(min=0).square()}
        if len(indices) > 1:
            parts["null"] = pair_cosines(samples, predictions.roll(-1, 0)).clamp(min=0).square()
        arrays = {"indices": indices, "samples": samples, "predicted": predictions, "r2": parts[""]}
        return at_samples(parts, indices, len(drawn), arrays)


class SampleDiversity(Metric):
    """Root mean square distance between samples, divided by the distance between test images; 1 for equal diversity.

    Part: ``vendi``, the effective number of different samples, relative to the effective number of as many test images,
    after removing the mean test image. The number is exp(-sum_i l_i log l_i), where l_i are the eigenvalues of K / N
    and K is the matrix of the cosines of all pairs (Friedman & Dieng 2023, definition 3.1).
    """

    positive_parts = ("", "vendi")
    citation = "friedman-2023"
    titles: ClassVar[dict[str, str]] = {"": "spread of samples (relative)", "vendi": "different samples (relative)"}
    needs = frozenset({"samples", "test"})
    min_images = 2

    def score(self, evaluation: Evaluation) -> Scores:
        """Return a single value for all samples, and its part; no scores with fewer than two converged samples."""
        samples = evaluation.samples.images[evaluation.samples.converged]
        count = min(len(samples), len(evaluation.clean))
        if count < 2:
            return Scores([])
        mean = evaluation.clean.mean(0)
        vendi, fresh = (_vendi_score(images[:count] - mean) for images in (samples, evaluation.clean))
        # The trace of the covariance is half the mean of |s_i - s_j|^2 over all pairs.
        spread, images_spread = (
            images.flatten(1).double().var(0).sum().sqrt() for images in (samples, evaluation.clean)
        )
        return Scores.parts({"": spread / images_spread, "vendi": vendi / fresh})


def _vendi_score(images: Tensor) -> Tensor:
    """Return the effective number of different images, from 1 to their number."""
    vectors = functional.normalize(images.flatten(1).double())
    products = vectors @ vectors.mT if len(vectors) <= vectors.shape[1] else vectors.mT @ vectors
    entropy: Tensor = torch.special.entr(torch.linalg.eigvalsh(products / len(vectors)).clamp(min=0)).sum()
    return entropy.exp()


class SampleQuality(Metric):
    """Root mean square difference in dB, over radial frequencies, between the power spectra of samples and test images.

    The mean of each image is subtracted, and rows and columns are multiplied by a Hann window, because the jump between
    opposite borders would add power at all frequencies. The difference detects blur and missing texture, but not
    copies.

    Parts: ``patches``, the sliced Wasserstein distance between 7x7 patches, after removing their means: the root mean
    square difference of the quantiles of both sets, over 128 random projections (Rabin et al. 2011); ``null`` and
    ``patches-null``, both distances for the same number of validation images in place of samples, which show the effect
    of the number of samples.
    """

    positive_parts = ("", "patches", "null", "patches-null")
    citation = "rabin-2011"
    unit = "dB"
    titles: ClassVar[dict[str, str]] = {"": "power spectrum distance (dB)", "patches": "patch distance (grey scale)"}
    nulls: ClassVar[dict[str, str]] = {"": "null", "patches": "patches-null"}
    higher_is_better = False
    needs = frozenset({"samples", "test"})

    def score(self, evaluation: Evaluation) -> Scores:
        """Return a single value for all samples, and its parts."""
        samples, real = evaluation.samples.images[evaluation.samples.converged], evaluation.clean
        if not len(samples):
            return Scores([])
        values = dict(zip(("", "patches"), _distances(samples, real), strict=True))
        dataset = evaluation.dataset
        available = dataset.available("validation") if dataset is not None else 0
        if dataset is not None and available != 0:
            fresh = dataset.images("validation", len(samples) if available is None else min(available, len(samples)))
            values |= zip(("null", "patches-null"), _distances(fresh, real), strict=True)
        return Scores.parts(values)


def _distances(samples: Tensor, images: Tensor) -> tuple[Tensor, Tensor]:
    """Return the distances between the spectra, in dB, and between the patches of two sets of images."""
    decibels = 10 * (_spectrum(samples).log10() - _spectrum(images).log10())
    side = min(PATCH, *images.shape[2:])
    positions = math.prod(length - side + 1 for length in images.shape[2:])
    count = min(MAX_PATCHES, positions * min(len(samples), len(images)))
    directions = generator("data", "directions", 0)
    axes = torch.randn(images.shape[1] * side**2, DIRECTIONS, dtype=torch.float64, generator=directions)
    # Directions of zero mean ignore the mean of a patch.
    axes -= axes.mean(0)
    axes /= axes.norm(dim=0)
    first, second = (
        (_patches(values, side, count, index) @ axes).sort(dim=0).values
        for index, values in enumerate((samples, images))
    )
    return decibels.square().mean().sqrt(), (first - second).square().mean().sqrt()


def _spectrum(images: Tensor) -> Tensor:
    """Return the mean power at all frequencies that round to 1, 2, ... cycles per shorter side; s^2 for white noise."""
    height, width = images.shape[2:]
    rows, columns = (torch.hann_window(side + 2, periodic=False, dtype=torch.float64)[1:-1] for side in (height, width))
    window = rows[:, None] * columns
    window = window / window.square().mean().sqrt()
    power = torch.zeros(height, width, dtype=torch.float64)
    for batch in torch.split(images, BATCH):
        centred = batch.double() - batch.double().mean((1, 2, 3), keepdim=True)
        power += torch.fft.fft2(centred * window, norm="ortho").abs().square().sum((0, 1))
    rows, columns = (torch.fft.fftfreq(side, dtype=torch.float64) for side in (height, width))
    radius = (torch.hypot(rows[:, None], columns) * min(height, width)).round().long().flatten()
    sums = torch.bincount(radius, power.flatten() / (images.shape[0] * images.shape[1]))
    return (sums / torch.bincount(radius))[1 : min(height, width) // 2 + 1]


def _patches(images: Tensor, side: int, count: int, index: int) -> Tensor:
    """Return patches at random positions, which depend on the index of the set, shape (count, C * side * side)."""
    windows = images.unfold(2, side, 1).unfold(3, side, 1)
    rows, columns = windows.shape[2:4]
    total, random = len(images) * rows * columns, generator("data", "patches", 0, index)
    if total <= 1 << 24:
        chosen = torch.randperm(total, generator=random)[:count]
    else:
        # Repeated positions are rare among this many positions.
        chosen = torch.randint(total, (count,), generator=random)
    image, position = chosen // (rows * columns), chosen % (rows * columns)
    return windows[image, :, position // columns, position % columns].flatten(1).double()


def at_samples(
    parts: Mapping[str, Tensor],
    indices: Tensor,
    count: int,
    arrays: Mapping[str, Tensor] | None = None,
    **others: Tensor,
) -> Scores:
    """Lay out parts that have values at some of ``count`` samples, and others that have values at all."""
    empty = torch.full((count,), torch.nan, dtype=torch.float64)
    values = {part: empty.index_copy(0, indices, value.double().cpu()) for part, value in parts.items()}
    return Scores.parts(values | others, arrays)
