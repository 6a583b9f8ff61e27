"""Distances of denoisers from other denoisers: the optimum, references, partners, and themselves on training images."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from gahbench import Metric, Names, Reference, Scores, Shape, TrainingData
from gahbench.evaluation import Evaluation, PerLevel, fit_on_same_images, psnr_of_error, psnr_per_image

#: Kinds of denoisers that see the clean image.
SEES_CLEAN = ("oracle", "bound")
#: Largest number of values of an image, whose covariance is computed.
MAX_VALUES = 4096


class OptimumDistance(PerLevel):
    """Mean squared distance from the optimal denoiser f*, |f(y) - f*(y)|^2 / d, in squared grey values.

    f* is the posterior mean if the optimum of the dataset is exact. If the optimum is a bracket, f* is the genie, the
    conditional mean given the noisy image and additional information. By Pythagoras the expected squared error of f is
    the error of f* plus this distance, since f* is a conditional mean given at least the noisy image; its expectation,
    times d / sigma^3, is the integrand of equation 5 of Kadkhodaie 2024. Boards compute deficits and the KL bound from
    the distance, which is never negative, and has a smaller variance than a difference of errors. There is no value for
    oracles and bounds, which use more than the noisy image, or if the optimum is unknown.

    On manifolds f* is estimated by importance sampling, and its error adds to the distance: about 0.1 % of the optimal
    error for the intended 800 effective samples, and 1 % for the minimum of 100.

    Part: ``optimal-error``, the expected mean squared error of f* in closed form.
    """

    citation = "kadkhodaie-2024"
    higher_is_better = False
    any_noise = True

    def parts(self, evaluation: Evaluation, sigma: float) -> dict[str, Tensor]:
        """Return the distance and the optimal error."""
        best = None if evaluation.denoiser.kind in SEES_CLEAN else evaluation.optimum(sigma)
        if best is None:
            return {}
        return {"": _mean_square(evaluation.denoised(sigma) - best.mean), "optimal-error": best.error}


class OptimumCross(PerLevel):
    """Inner product between a denoiser's difference from the optimum and the error of the optimum, per pixel.

    The value is <f(y) - f*(y), x - f*(y)> / d in squared grey values, with f* as in ``optimum-distance``. Its
    expectation is 0 for every f that uses only the noisy image. A value significantly above 0 shows that the denoiser
    is nearer to the clean image x than is possible. A value significantly below 0 shows that f* is not optimal. Boards
    flag such entrants.
    """

    higher_is_better = None
    any_noise = True

    def parts(self, evaluation: Evaluation, sigma: float) -> dict[str, Tensor]:
        """Return the inner product."""
        best = None if evaluation.denoiser.kind in SEES_CLEAN else evaluation.optimum(sigma)
        if best is None:
            return {}
        difference, error = evaluation.denoised(sigma).double() - best.mean, evaluation.clean.double() - best.mean
        return {"": (difference * error).flatten(1).mean(1)}


class Distance(Metric):
    """Root mean square distance of the denoiser f from a reference g on the same noisy images, |f(y) - g(y)| / sqrt(d).

    The reference is fitted to the training images of the denoiser, or to the first training images if its parameters
    limit their number. ``empirical-bayes`` memorizes perfectly, ``wiener-linear`` is the best affine denoiser of the
    training set, and ``local-score`` the best denoiser with the constraints of a convolutional network (Kamb & Ganguli
    2025). A small distance on training images indicates memorization. A small distance on test images indicates that
    the denoiser generalizes like the reference.

    Parts: ``db``, the distance in dB, 20 log10; ``r2``, the squared cosine of the scores f(y) - y and g(y) - y, which
    is the fraction of the denoiser's score that the reference predicts up to a factor; ``relative``, the mean square
    distance in dB relative to the squared error of the denoiser.

    Parameters
    ----------
    to
        The reference, of kind ``classical``, ``trained`` or ``optimal``.
    """

    positive_parts = ("",)
    share_parts = ("r2",)
    citation = "kamb-2025"
    unit = "grey scale"
    titles: ClassVar[dict[str, str]] = {"": "distance from {to}", "r2": "r² of scores, {to}"}
    higher_is_better = False
    needs = frozenset({"training"})
    label_parameters = ("to",)

    def __init__(self, to: Annotated[Reference, Names("reference", default="empirical-bayes")]) -> None:
        if to.kind in SEES_CLEAN:
            raise ValueError(f"to: a reference of kind '{to.kind}' sees the clean image; accepted: other kinds")
        self.to = to

    def score(self, evaluation: Evaluation) -> Scores:
        """Return the distance for every image at every noise level."""
        reference = fit_on_same_images(self.to, evaluation)
        if reference is None:
            return Scores([])
        other = evaluation.with_denoiser(reference)
        values: dict[tuple[str, float], Tensor] = {}
        for sigma in evaluation.sigmas:
            noisy, denoised = evaluation.noisy(sigma), evaluation.denoised(sigma)
            predicted = other.denoised(sigma).cpu()
            square = _mean_square(denoised - predicted.double())
            parts = {
                "": square.sqrt(),
                "db": -psnr_of_error(square),
                "r2": _cosine(denoised - noisy, predicted - noisy) ** 2,
            }
            parts["relative"] = psnr_of_error(_mean_square(denoised - evaluation.clean.double())) - psnr_of_error(
                square
            )
            values |= {(part, sigma): value for part, value in parts.items()}
        return Scores.parts(values)


class GaussianShare(Metric):
    """Fraction of the denoiser's score that is the score of a Gaussian: 1 - E|s - s_G|^2 / E|s|^2.

    The score of the denoiser f is s = (f(y) - y) / sigma^2. The score s_G is the score of a noisy Gaussian with the
    mean and covariance of the training images, which is the score of the best affine denoiser (``wiener-linear``). At
    high noise levels the scores of networks are almost Gaussian (Wang & Vastola 2024).

    Parts: ``null``, the same fraction for the score (m - y) / sigma^2 towards the mean image m, which is also large at
    high noise levels; ``size``, |s|^2; ``explained``, |s|^2 - |s - s_G|^2; ``explained-by-mean``,
    |s|^2 - |s - (m - y) / sigma^2|^2. The last three are per pixel and multiplied by sigma^2. Boards show the fractions
    as ratios of means.

    Parameters
    ----------
    images
        Largest number of training images for the mean and covariance.
    """

    citation = "wang-2024"
    needs = frozenset({"training"})
    higher_is_better = None
    titles: ClassVar[Mapping[str, str]] = {"": "Gaussian share of the score"}
    nulls: ClassVar[Mapping[str, str]] = {"": "null"}
    ratios: ClassVar[Mapping[str, tuple[str, str]]] = {"": ("explained", "size"), "null": ("explained-by-mean", "size")}

    def __init__(self, images: Annotated[int, Field(ge=2)] = 4096) -> None:
        self.images = images

    def check(self, shape: Shape, sigmas: Sequence[float]) -> None:
        """Raise ``ValueError`` for images with too many values for a covariance."""
        if math.prod(shape) > MAX_VALUES:
            raise ValueError(
                f"gaussian-share needs the covariance of all values; accepted: images of up to {MAX_VALUES} values "
                f"(64x64 grey), not {'x'.join(map(str, shape))}"
            )

    def score(self, evaluation: Evaluation) -> Scores:
        """Return the parts for every image at every noise level; no scores for images without a dataset."""
        learned_from = evaluation.learned_from
        if learned_from is None and evaluation.dataset is not None:
            # The denoiser was trained on a stream of images; use its first images.
            learned_from = TrainingData(evaluation.dataset)
        if learned_from is None:
            return Scores([])
        images = learned_from.training(self.images).double().flatten(1)
        mean = images.mean(0)
        variances, components = torch.linalg.eigh(torch.cov(images.mT, correction=0))
        values: dict[tuple[str, float], Tensor] = {}
        for sigma in evaluation.sigmas:
            noisy, denoised = (
                batch.double().flatten(1) for batch in (evaluation.noisy(sigma), evaluation.denoised(sigma))
            )
            # Rounding can make zero variances negative.
            weights = variances.clamp(min=0) / (variances.clamp(min=0) + sigma**2)
            affine = mean + ((noisy - mean) @ components * weights) @ components.mT
            size, rest, around_mean = (
                (denoised - other).square().mean(1) / sigma**2 for other in (noisy, affine, mean)
            )
            parts = {"size": size, "explained": size - rest, "explained-by-mean": size - around_mean}
            values |= {(part, sigma): value for part, value in parts.items()}
        return Scores.parts(values)


class ModelVariance(PerLevel):
    """Mean square difference of two denoisers trained on different images, |f_A(y) - f_B(y)|^2 / d, in dB.

    The denoisers f_A and f_B are trained on halves of the training set that share no image, and see the same noisy
    image y. The value is twice the variance over training sets, the model variance of Kadkhodaie et al. 2024 (section
    2), and tends to 0 (-inf dB) as denoisers generalize. Decibels are averaged, as for PSNR; their mean is below the
    mean square difference in decibels, which follows from the part ``square``. Values are at least -140 dB.

    Parts: ``relative``, the difference in dB relative to the mean squared error of both denoisers, about 3 dB for
    independent errors and much less for nearly equal functions; ``square``, the mean square difference.
    """

    positive_parts = ("square",)
    citation = "kadkhodaie-2024"
    unit = "dB"
    titles: ClassVar[dict[str, str]] = {"": "model variance (dB)", "relative": "model variance over error (dB)"}
    higher_is_better = False
    needs = frozenset({"partner"})

    def parts(self, evaluation: Evaluation, sigma: float) -> dict[str, Tensor]:
        """Return the difference and the parts; no values without a partner."""
        if evaluation.partner is None:
            return {}
        denoised, other = evaluation.denoised(sigma).double(), evaluation.partner.denoised(sigma).double()
        square = _mean_square(denoised - other)
        error = (_mean_square(denoised - evaluation.clean) + _mean_square(other - evaluation.clean)) / 2
        difference = psnr_of_error(square)
        return {"": -difference, "relative": psnr_of_error(error) - difference, "square": square}


class ScoreAgreement(PerLevel):
    """Cosine between the scores of two denoisers trained on different images.

    The score of the density that a denoiser f models is (f(y) - y) / sigma^2 (Miyasawa 1961; Kadkhodaie 2024, equation
    3). The scores of any two denoisers are similar, since both point from the noisy image to the clean image. Their
    cosine is therefore near 1 even for clearly different functions.

    Part: ``errors``, the cosine between the errors f(y) - x, which contain only the noise that both denoisers fail to
    remove: 0 for independent errors, 1 for the same function.
    """

    citation = ("miyasawa-1961", "kadkhodaie-2024")
    titles: ClassVar[dict[str, str]] = {"": "cosine of scores", "errors": "cosine of errors"}
    needs = frozenset({"partner"})

    def parts(self, evaluation: Evaluation, sigma: float) -> dict[str, Tensor]:
        """Return the cosines; no values without a partner."""
        if evaluation.partner is None:
            return {}
        noisy, clean = evaluation.noisy(sigma), evaluation.clean
        denoised, other = evaluation.denoised(sigma), evaluation.partner.denoised(sigma)
        return {"": _cosine(denoised - noisy, other - noisy), "errors": _cosine(denoised - clean, other - clean)}


class GeneralizationGap(Metric):
    """Mean PSNR on training images minus the PSNR on each test image (Kadkhodaie 2024, figure 1).

    The mean is over as many training images as test images, or over all training images if there are fewer. The value
    is 0 for a denoiser that generalizes, and large for a denoiser that memorizes. Denoisers that were not trained are
    evaluated on the ``train`` split, on which the expected value is 0. Intervals are over the test images, for fixed
    training images.

    Part: ``train``, the mean PSNR on training images.
    """

    citation = "kadkhodaie-2024"
    unit = "dB"
    titles: ClassVar[dict[str, str]] = {"": "train minus test PSNR (dB)"}
    higher_is_better = False
    needs = frozenset({"test", "training"})

    def score(self, evaluation: Evaluation) -> Scores:
        """Return the gap for every image and noise level; no scores for denoisers trained on a stream of images."""
        if evaluation.learned_from is None:
            return Scores([])
        training_evaluation = evaluation.on_training(len(evaluation.clean))
        values: dict[tuple[str, float], Tensor] = {}
        for sigma in evaluation.sigmas:
            test, train = psnr_per_image(evaluation, sigma), psnr_per_image(training_evaluation, sigma).mean()
            values["", sigma] = train - test
            values["train", sigma] = train.expand(len(test))
        return Scores.parts(values)


def _mean_square(difference: Tensor) -> Tensor:
    """Return the mean square of each image, shape (N,), float64."""
    return difference.double().square().flatten(1).mean(1)


def _cosine(first: Tensor, second: Tensor) -> Tensor:
    """Return the cosines between pairs of images, shape (N,), float64; NaN if an image is 0."""
    left, right = first.double().flatten(1), second.double().flatten(1)
    return (left * right).sum(1) / (left.square().sum(1) * right.square().sum(1)).sqrt()
