"""Metrics over training: learning times, and onsets of generalization and memorization."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from gahbench import Metric, Scores, TrainingData
from gahbench.evaluation import Denoiser, Evaluation, fit_slope, psnr_per_image, training_images
from gahbench.sampling import nearest_is_own, remove_shared

#: Tolerance of the test loss for tau_gen, as a fraction of its minimum, and relative gap for tau_mem.
NEAR, GAP = 0.05, 0.1
#: Largest number of images of each half.
IMAGES = 64
#: Components whose initial gain is closer than this to the target have no learning time.
MIN_DIFFERENCE = 0.1
#: Largest number of values of an image, whose covariance is computed.
MAX_VALUES = 4096
#: Largest numbers of test images, and of training images for the principal components.
TEST_IMAGES, TRAINING_IMAGES = 8, 4096
#: The slope is fitted only if at least this many components have a learning time.
MIN_COMPONENTS = 3
#: Confidence level of all lower limits together, number of bootstrap samples, and smallest number of starting noises.
LEVEL, DRAWS, MIN_NOISES = 0.95, 2000, 6


class TrainingTimes(Metric):
    """Octaves of training between generalization and memorization.

    Two networks are trained on halves A and B of the training set, of equal size. Their loss is the mean of
    |f(y) - x|^2 / (d sigma^2) over images, noise levels and both networks. The generalization time tau_gen is the first
    step at which the test loss is within 5 % of its minimum. The gap is the relative difference between
    the loss on the partner's half and on the own half. The memorization time tau_mem is the step from which the gap
    is at least 10 %. All four pairs of a network and a half are measured, so the expected gap is 0 for networks that
    do not depend on their half, for any images. Both times are interpolated between snapshots, linearly in the
    logarithm of the step. Bonnaire et al. (NeurIPS 2025, arXiv 2505.17638) find that tau_mem is proportional to the
    number of training images and that tau_gen is constant; between the two times networks generalize.

    The value is log2(tau_mem / tau_gen). There is no value if networks were not trained until they memorized, which
    needs a number of steps proportional to the number of images (``steps: {per_image: ...}``).

    Parts: ``generalization`` and ``memorization``, tau_gen and tau_mem in steps; ``loss-step``, the step of the
    smallest test loss; ``gap``, the gap at the end of training; ``steps``, the number of training steps; ``spacing``,
    the largest ratio of the steps of successive snapshots after the tenth step, which should be below 1.3. Arrays for
    figures: ``steps``, ``loss`` and ``gap``. The step from which on samples favour the own half is the part
    ``onset-step`` of ``biased-generalization``.
    """

    positive_parts = ("generalization", "memorization", "loss-step", "steps", "spacing")
    citation = "bonnaire-2025"
    unit = "octaves"
    titles: ClassVar[Mapping[str, str]] = {"generalization": "τ_gen (steps)", "memorization": "τ_mem (steps)"}
    needs = frozenset({"partner", "snapshots", "test", "training"})

    def score(self, evaluation: Evaluation) -> Scores:
        """Return a single value over all images and noise levels, and its parts."""
        partner = evaluation.partner
        if partner is None or not (evaluation.learned_from and partner.learned_from and evaluation.snapshots):
            return Scores([])
        first_half, second_half = evaluation.on_training(IMAGES), partner.on_training(IMAGES)
        steps, rows = [step for step, _ in evaluation.snapshots], []
        for (_, load), (_, load_other) in zip(evaluation.snapshots, partner.snapshots, strict=True):
            first, second = load(), load_other()
            test = _loss(evaluation, first) + _loss(evaluation, second)
            own = _loss(first_half, first) + _loss(second_half, second)
            rows.append((test / 2, 1 - own / (_loss(second_half, first) + _loss(first_half, second))))
        loss, gap = torch.tensor(rows, dtype=torch.float64).unbind(1)
        generalization = crossing_step(steps, loss, float(loss.min()) * (1 + NEAR))
        memorization = crossing_step(steps, -gap, -GAP, stays=True)
        values = {"generalization": generalization, "memorization": memorization, "gap": float(gap[-1])}
        values |= {"loss-step": steps[int(loss.argmin())], "steps": steps[-1], "spacing": snapshot_spacing(steps)}
        # NaN is left out.
        values[""] = math.log2(memorization / generalization)
        arrays = {"steps": torch.tensor(steps), "loss": loss, "gap": gap}
        return Scores.parts({part: torch.tensor(float(value)) for part, value in values.items()}, arrays)


def _loss(evaluation: Evaluation, denoiser: Denoiser) -> float:
    """Return the mean of |f(y) - x|^2 / (d sigma^2) over the images and noise levels of an evaluation."""
    network = evaluation.with_denoiser(denoiser)
    errors = [(network.denoised(s).double() - network.clean).square().mean() / s**2 for s in evaluation.sigmas]
    return float(torch.stack(errors).mean())


class LearningTimes(Metric):
    """Slope of the learning times of principal components against their variance; -1 for gradient descent.

    For a principal component u_k of the training images with variance lambda_k, the gain of the denoiser f is the mean
    over eight test images of <f(y + sigma u_k) - f(y - sigma u_k), u_k> / 2 sigma. The gain of the best linear
    denoiser, the target, is lambda_k / (lambda_k + sigma^2). The learning time tau_k is the training step at which the
    difference from the target has fallen to half of its value at the first snapshot, interpolated between snapshots
    linearly in the logarithm of the step. A component has no learning time if its first gain is within 0.1 of the
    target, or if the difference does not fall to half.

    A linear denoiser trained by gradient descent at a single noise level approaches each target exponentially, at a
    rate proportional to lambda_k + sigma^2, so components of large variance are learned first (Wang & Pehlevan 2025,
    arXiv 2503.03206). The value is the least-squares slope, at the lowest noise level, of log tau_k against
    log(lambda_k + sigma^2), which is -1 for such a denoiser. There is no value with fewer than three learning times.

    Parts: ``first`` and ``last``, the smallest and largest tau_k in steps; ``modes``, the number of learning times;
    ``spacing``, the largest ratio of the steps of successive snapshots after the tenth step, which should be below 1.3.
    Arrays for figures: ``steps``, ``variances`` lambda_k, ``times`` tau_k, and ``gains``, shape (T, K).

    Parameters
    ----------
    modes
        Largest number of components, at least 3; if there are more, a selection spaced evenly in the logarithm of the
        index is used.
    """

    positive_parts = ("first", "last", "modes", "spacing")
    citation = "wang-2025"
    higher_is_better = None
    titles: ClassVar[Mapping[str, str]] = {"": "slope of learning times"}
    needs = frozenset({"snapshots", "test", "training"})

    def __init__(self, modes: Annotated[int, Field(ge=MIN_COMPONENTS)] = 24) -> None:
        self.modes = modes

    def score(self, evaluation: Evaluation) -> Scores:
        """Return a single value and its parts."""
        data = evaluation.learned_from
        if data is None and evaluation.dataset is not None:
            # The network was trained on a stream of images; use its first images.
            data = TrainingData(evaluation.dataset)
        if data is None or not evaluation.snapshots:
            return Scores([])
        if math.prod(evaluation.shape) > MAX_VALUES:
            raise ValueError(f"learning-times needs the covariance; accepted: images of up to {MAX_VALUES} values")
        sigma = min(evaluation.sigmas)
        variances, vectors = self._components(data)
        few = replace(evaluation, clean=evaluation.clean[:TEST_IMAGES])
        steps = [step for step, _ in evaluation.snapshots]
        snapshots = (few.with_denoiser(load()) for _, load in evaluation.snapshots)
        gains = torch.stack([_gains_along(snapshot, vectors, sigma) for snapshot in snapshots])
        target = variances / (variances + sigma**2)
        start = (gains[0] - target).abs()
        remaining = (gains - target).abs() / start.clamp(min=MIN_DIFFERENCE)
        crossings = [crossing_step(steps, column, 0.5) for column in remaining.unbind(1)]
        times = torch.tensor(crossings, dtype=torch.float64).masked_fill(start < MIN_DIFFERENCE, torch.nan)
        known = times.isfinite()
        values = {"modes": float(known.sum()), "spacing": snapshot_spacing(steps)}
        if known.any():
            values |= {"first": float(times[known].min()), "last": float(times[known].max())}
        if known.sum() >= MIN_COMPONENTS:
            values[""] = float(fit_slope((variances[known] + sigma**2).log(), times[known].log()))
        arrays = {"steps": torch.tensor(steps), "variances": variances, "times": times, "gains": gains}
        return Scores.parts({part: torch.tensor(value) for part, value in values.items()}, arrays)

    def _components(self, data: TrainingData) -> tuple[Tensor, Tensor]:
        """Return the variances (K,) and vectors (K, C, H, W) of the selected components, float64."""
        images = data.training(TRAINING_IMAGES)
        variances, components = torch.linalg.eigh(torch.cov(images.flatten(1).double().mT, correction=0))
        variances, components = variances.flip(0), components.flip(1)
        # With fewer images than pixels, some components have no variance except for rounding errors.
        count = int((variances > 1e-9 * variances[0]).sum())
        if count <= self.modes:
            indices = list(range(count))
        else:
            indices = sorted({round(count ** (step / (self.modes - 1))) - 1 for step in range(self.modes)})
        return variances[indices], components[:, indices].mT.reshape(-1, *images.shape[1:])


def _gains_along(evaluation: Evaluation, vectors: Tensor, sigma: float) -> Tensor:
    """Return the mean gains along unit vectors, from central differences of step sigma, shape (K,), float64."""
    noisy, gains = evaluation.noisy(sigma), []
    for vector in vectors:
        step = (sigma * vector).to(noisy)
        forward, backward = (evaluation.denoise(noisy + sign * step, sigma).double() for sign in (1, -1))
        gains.append(((forward - backward).flatten(1) @ vector.flatten()).mean() / (2 * sigma))
    return torch.stack(gains)


class Doubling(Metric):
    """PSNR of a network minus its PSNR after half of the training steps: how much twice the steps gained.

    With the schedule ``constant`` the network after half of the steps is the network of a complete fit of half as many
    steps, so the gain is that of twice the training. With other schedules the learning rate is still high after half of
    the steps, and the gain is too large.

    The PSNR after half of the steps is interpolated between snapshots, linearly in the logarithm of the step. It is
    exact if there is a snapshot after half of the steps, as with 2^k steps and k + 1 snapshots. There is no value if
    all snapshots are of the second half.

    Part: ``half``, the PSNR after half of the steps.
    """

    unit = "dB"
    titles: ClassVar[dict[str, str]] = {"": "gain from twice the steps (dB)"}
    higher_is_better = False
    needs = frozenset({"snapshots", "test"})

    def score(self, evaluation: Evaluation) -> Scores:
        """Return the gain for every image and noise level."""
        steps = [step for step, _ in evaluation.snapshots]
        if not steps or steps[0] > steps[-1] / 2:
            return Scores([])
        half = math.log(steps[-1] / 2)
        after = next(index for index, step in enumerate(steps) if math.log(step) >= half)
        indices = [after] if math.log(steps[after]) == half else [after - 1, after]
        networks = [evaluation.with_denoiser(evaluation.snapshots[index][1]()) for index in indices]
        first, last = (math.log(steps[index]) for index in (indices[0], indices[-1]))
        share, values = (half - first) / (last - first) if last > first else 0.0, {}
        for sigma in evaluation.sigmas:
            psnrs = [psnr_per_image(network, sigma) for network in networks]
            values["half", sigma] = torch.lerp(psnrs[0], psnrs[-1], share)
            values["", sigma] = psnr_per_image(evaluation, sigma) - values["half", sigma]
        return Scores.parts(values)


class BiasedGeneralization(Metric):
    """Octaves of training from the onset of copying a network's own training half to the minimum of the test loss.

    The metric follows two networks during training, one on each half of the training set. Their test loss is the mean
    of |f(y) - x|^2 / (d sigma^2) over images, noise levels and both networks. At each snapshot both networks draw
    samples from the same starting noise. The fraction pi of samples nearest to the network's own half (``own-half``) is
    1/2 for networks that do not depend on their half. The onset is the first snapshot at and after which the lower
    limits of a simultaneous 95 % interval for pi, over starting noises, exceed 1/2. An onset while the test loss still
    falls is called biased generalization (arXiv 2603.03469): the network learns its own training set last.

    The value is log2(loss-step / onset-step), positive for biased generalization. There is no value if pi never stays
    above 1/2.

    Parts: ``loss-step``, the step of the smallest test loss; ``onset-step``; ``last``, pi at the end of training.
    Arrays for figures: ``steps``, ``loss``, ``pi`` and its lower limit ``pi_low``, and ``disagreement``, the mean of
    |f_A(y) - f_B(y)|^2 / (d sigma^2).
    """

    unit = "octaves"
    titles: ClassVar[Mapping[str, str]] = {"": "lead of copying (octaves)", "last": "π at the end of training"}
    share_parts = ("last",)
    positive_parts = ("loss-step", "onset-step")
    needs = frozenset({"partner", "samples", "snapshots", "test", "training"})
    higher_is_better = False

    def score(self, evaluation: Evaluation) -> Scores:
        """Return a single value over all images, noise levels and starting noises, and its parts."""
        partner = evaluation.partner
        if partner is None or not (evaluation.learned_from and partner.learned_from and evaluation.snapshots):
            return Scores([])
        halves = remove_shared(training_images(evaluation), training_images(partner))
        steps, losses, shares = [step for step, _ in evaluation.snapshots], [], []
        for (_, load), (_, load_other) in zip(evaluation.snapshots, partner.snapshots, strict=True):
            first, second = evaluation.with_denoiser(load()), partner.with_denoiser(load_other())
            losses.append(torch.stack([_losses(first, second, sigma) for sigma in evaluation.sigmas]).mean(0))
            shares.append(_own_half_shares(first, second, *halves))
        loss, disagreement = torch.stack(losses).unbind(1)
        pi = torch.stack(shares)
        low = _lower_limits(pi)
        best = steps[int(loss.argmin())]
        # The onset is the snapshot after the last one whose limit is not above one half.
        onset = max((index + 1 for index, limit in enumerate(low.tolist()) if not limit > 0.5), default=0)
        values = {"loss-step": float(best), "last": float(pi[-1].nanmean())}
        if onset < len(steps):
            values |= {"": math.log2(best / steps[onset]), "onset-step": float(steps[onset])}
        arrays = {"steps": torch.tensor(steps), "loss": loss, "disagreement": disagreement}
        arrays |= {"pi": pi.nanmean(1), "pi_low": low}
        return Scores.parts({part: torch.tensor(value) for part, value in values.items()}, arrays)


def _own_half_shares(first: Evaluation, second: Evaluation, first_half: Tensor, second_half: Tensor) -> Tensor:
    """Return pi for each starting noise, shape (N,), or NaN if one of the two samples did not converge."""
    converged = first.samples.converged & second.samples.converged
    shares, indices = torch.full((len(converged),), torch.nan, dtype=torch.float64), converged.nonzero()[:, 0]
    if len(indices) and len(first_half):
        samples, others = first.samples.images[indices], second.samples.images[indices]
        own, other = nearest_is_own(samples, first_half, second_half), nearest_is_own(others, second_half, first_half)
        shares[indices] = (own + other) / 2
    return shares


def _losses(first: Evaluation, second: Evaluation, sigma: float) -> Tensor:
    """Return the loss and the disagreement of two networks at a noise level, divided by sigma^2, float64."""
    denoised, other = first.denoised(sigma).double(), second.denoised(sigma).double()
    loss = (denoised - first.clean).square().mean() / 2 + (other - second.clean).square().mean() / 2
    return torch.stack([loss, (denoised - other).square().mean()]) / sigma**2


def _lower_limits(values: Tensor) -> Tensor:
    """Return simultaneous lower confidence limits of the means of rows of values, shape (T, N); NaN is missing.

    The limits come from a bootstrap of the largest deviation in standard errors; all rows share the resampled columns.
    """
    count = values.shape[1]
    chosen = torch.randint(count, (DRAWS, count), generator=torch.Generator().manual_seed(0))
    weights = torch.zeros(DRAWS, count, dtype=torch.float64).scatter_add_(1, chosen, torch.ones_like(chosen).double())
    sizes, means = (~values.isnan()).sum(1).double(), values.nanmean(1)
    drawn_sizes = weights @ (~values.isnan()).double().mT
    # A bootstrap sample without any value of a row has no deviation in that row.
    deviations = torch.where(drawn_sizes > 0, weights @ values.nan_to_num().mT / drawn_sizes.clamp(min=1) - means, 0)
    # The factor sqrt(n / (n - 1)) corrects the bias of the bootstrap variance.
    deviations *= (sizes / (sizes - 1).clamp(min=1)).sqrt()
    errors = deviations.square().mean(0).sqrt()
    is_known = sizes >= MIN_NOISES
    varies = is_known & (errors > 0)
    largest = (deviations / errors)[:, varies].amax(1).quantile(LEVEL) if varies.any() else 0.0
    return (means - largest * errors).where(is_known, torch.nan)


def crossing_step(steps: Sequence[int], values: Tensor, level: float, stays: bool = False) -> float:
    """Return the training step at which values first reach a level from above, linear in the logarithm; NaN if never.

    With ``stays`` values must remain at or below the level from that step on.
    """
    below = (values <= level).tolist()
    reached = [index for index in range(len(steps)) if (all(below[index:]) if stays else below[index])]
    index = reached[0] if reached else len(steps)
    if index == len(steps):
        return math.nan
    if index == 0:
        return float(steps[0])
    before, after = float(values[index - 1]), float(values[index])
    fraction = (before - level) / (before - after)
    return math.exp((1 - fraction) * math.log(steps[index - 1]) + fraction * math.log(steps[index]))


def snapshot_spacing(steps: Sequence[int]) -> float:
    """Return the largest ratio of steps of successive snapshots after the tenth step, and 1 without such snapshots."""
    return max((after / before for before, after in itertools.pairwise(steps) if before >= 10), default=1.0)
