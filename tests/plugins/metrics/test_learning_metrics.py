"""Gaps, distances and training times of denoisers with known functions and training."""

import functools
import math

import pytest
import torch
from given_images import GivenImages
from known_filters import Filters, create, group_by_part, random_images, samples, table
from random_images import normal

from gahbench.contracts.truth import TrainingData
from gahbench.evaluation.evaluation import Evaluation
from gahbench_plugins.metrics.memory import collapse_levels
from gahbench_plugins.metrics.training import crossing_step

SIGMAS = (0.1, 0.5)
EYE = torch.eye(64)


def images(count=6, seed=0, side=8):
    return random_images(count, 1, side, side, seed=seed)


def evaluation(reference, clean=None, learned=None, partner=None, sigmas=SIGMAS):
    """Return the evaluation of a denoiser with given training images, and a partner without training images."""
    clean = images() if clean is None else clean
    result = Evaluation(reference, clean, list(sigmas), learned_from=learned)
    if partner is not None:
        result.partner = result.with_denoiser(partner)
    return result


def scaled(factor):
    return Filters(factor * EYE[None])


def along(snapshots, **options):
    """Return the evaluation of the last of several denoisers, given by the number of steps after which they are saved.

    The denoisers are built when a metric asks for them.
    """
    result = evaluation(snapshots[max(snapshots)](), **options)
    result.snapshots = list(snapshots.items())
    return result


def empirical(learned):
    reference = create("reference", "empirical-bayes")
    reference.fit(learned)
    return reference


def test_the_gap_of_a_denoiser_that_returns_its_only_training_image():
    learned = TrainingData(GivenImages(images(1, seed=1)))
    clean = images(4)
    result = table("generalization-gap", evaluation(empirical(learned), clean, learned))
    error = (clean - images(1, seed=1)).square().flatten(1).mean(1).double()
    for sigma in SIGMAS:
        # On its training image the denoiser has no error, and PSNR is limited to 140 dB.
        assert result["train", sigma] == pytest.approx([140.0] * 4)
        assert result["", sigma] == pytest.approx((140 + 10 * error.log10()).tolist(), abs=1e-4)


def test_the_variance_of_two_scalings_follows_from_the_noisy_image():
    result = evaluation(scaled(0.9), partner=scaled(0.6))
    scores_ = table("model-variance", result)
    for sigma in SIGMAS:
        noisy = result.noisy(sigma).double()
        square = 0.09 * noisy.square().flatten(1).mean(1)
        assert scores_["square", sigma] == pytest.approx(square.tolist(), rel=1e-5)
        assert scores_["", sigma] == pytest.approx((10 * square.log10()).tolist(), abs=1e-4)
        errors = [(factor * noisy - result.clean).square().flatten(1).mean(1) for factor in (0.9, 0.6)]
        relative = 10 * (square / (sum(errors) / 2)).log10()
        assert scores_["relative", sigma] == pytest.approx(relative.tolist(), abs=1e-4)


def test_a_constant_shift_is_the_distance():
    learned = TrainingData(GivenImages(images(5, seed=1)))

    class Shifted(Filters):
        def denoise(self, noisy, sigma, truth):
            return empirical(learned).denoise(noisy, sigma, truth) + 0.03

    scores_ = table("distance[empirical-bayes]", evaluation(Shifted(EYE[None]), learned=learned))
    assert scores_["", 0.5] == pytest.approx([0.03] * 6, rel=1e-4)
    assert scores_["db", 0.5] == pytest.approx([20 * math.log10(0.03)] * 6, abs=1e-3)


class At(Filters):
    """A network after some steps, which replaces known images by themselves with given errors, and draws samples."""

    def __init__(self, known, losses, drawn=None):
        super().__init__(torch.eye(known[0].numel())[None])
        self.known, self.errors, self.drawn = known, torch.tensor(losses).sqrt(), drawn

    def denoise(self, noisy, sigma, truth):
        nearest = torch.cdist(noisy.flatten(1), self.known.flatten(1)).argmin(1)
        return self.known[nearest] + sigma * self.errors[nearest].view(-1, 1, 1, 1)


def follow(metric, build, halves, fresh, steps):
    """Return the values by part and the arrays of a metric of training for networks ``build(index, half)``."""
    result, partner = (
        along(
            {step: functools.partial(build, index, half) for index, step in enumerate(steps)},
            clean=fresh,
            learned=TrainingData(GivenImages(halves[half])),
            sigmas=SIGMAS[:1],
        )
        for half in (0, 1)
    )
    result.partner = partner
    scores = create("metric", metric).score(result)
    return dict(zip(scores.part, scores.value, strict=True)), scores.arrays


def test_copies_before_the_minimum_loss_are_biased_generalization(monkeypatch):
    fresh, halves, others = images(8), (images(20, 1), images(20, 2)), images(32, 3)
    losses, copies = [1.0, 0.3, 0.25, 0.2], [0.0, 0.8, 0.9, 1.0]

    def build(index, half):
        count = round(32 * copies[index])
        drawn = torch.cat([halves[half].repeat(2, 1, 1, 1)[:count] + 1e-3, others[count:]])
        return At(fresh, [losses[index]] * 8, samples(drawn))

    monkeypatch.setattr(Evaluation, "samples", property(lambda self: self.denoiser.drawn))
    scores_, arrays = follow("biased-generalization", build, halves, fresh, (1, 10, 100, 1000))
    assert scores_ == {"": pytest.approx(math.log2(100)), "loss-step": 1000, "onset-step": 10, "last": 1}
    assert arrays["loss"].tolist() == pytest.approx(losses, rel=1e-4)
    # Fresh samples of both networks are nearest to the same half, which is only one network's own half.
    assert arrays["pi"].tolist() == pytest.approx([0.5, 0.5 + 13 / 32, 0.5 + 14.5 / 32, 1], abs=1e-6)
    assert (arrays["pi_low"] <= arrays["pi"]).all()
    assert arrays["steps"].tolist() == [1, 10, 100, 1000]


SIDE = 4


def geometric(last, ratio=1.25):
    """Return the steps of snapshots, up to and including the last step."""
    count = math.ceil(math.log(last) / math.log(ratio)) + 1
    return sorted({round(last ** (index / (count - 1))) for index in range(count)})


def test_crossings_are_between_snapshots():
    steps = [1, 10, 100, 1000]
    falling = torch.tensor([1.0, 0.8, 0.4, 0.2])
    assert crossing_step(steps, falling, 0.6) == pytest.approx(10**1.5)
    assert crossing_step(steps, falling, 0.4) == pytest.approx(100)
    assert crossing_step(steps, falling, 2.0) == 1
    assert math.isnan(crossing_step(steps, falling, 0.1))
    back = torch.tensor([1.0, 0.4, 1.0, 0.2])
    assert crossing_step(steps, back, 0.6) == pytest.approx(10 ** (2 / 3))
    assert crossing_step(steps, back, 0.6, stays=True) == pytest.approx(10**2.5)
    assert math.isnan(crossing_step(steps, back.flip(0), 0.6, stays=True))


def test_learning_times_of_a_linear_model_are_inverse_to_the_variance():
    """The model is trained by gradient descent on the expected loss from 0, on images with known variances."""
    sigma, rate, last = 0.02, 0.04, 4000
    basis = torch.linalg.qr(normal(16, 16)).Q
    rows = (16 * 10.0 ** -torch.linspace(0, 2, 16).double()).sqrt()[:, None] * basis.mT
    learned = torch.cat([rows, -rows])
    second = learned.mT @ learned / 32
    noisy = second + sigma**2 * torch.eye(16).double()
    steps, snapshots, weight = geometric(last), {}, torch.zeros(16, 16).double()
    for step in range(1, last + 1):
        weight = weight - rate * (weight @ noisy - second)
        if step in steps:
            snapshots[step] = functools.partial(Filters, weight.float()[None])
    data = TrainingData(GivenImages(learned.float().view(32, 1, SIDE, SIDE)))
    scores = create("metric", "learning-times[modes=16]").score(
        along(snapshots, clean=images(8, side=SIDE), learned=data, sigmas=[sigma])
    )
    times, variances, parts = scores.arrays["times"], scores.arrays["variances"], group_by_part(scores)
    torch.testing.assert_close(variances, 10.0 ** -torch.linspace(0, 2, 16, dtype=torch.float64), rtol=1e-4, atol=0)
    # After t steps of gradient descent the share (1 - rate (lambda + sigma^2))^t of a gain is not yet learned. At the
    # learning time this share is half of its value after the first step.
    expected = 1 + math.log(0.5) / torch.log(1 - rate * (variances + sigma**2))
    assert (times / expected - 1).abs().max() < 0.01
    product = times * variances
    assert (product / product.mean() - 1).abs().max() < 0.05
    assert parts[""] == pytest.approx([-1], abs=0.02)
    assert parts["modes"] == [16]
    assert parts["spacing"][0] < 1.3


def test_generalization_and_memorization_times():
    """The test loss is within 5 % of its minimum after 95 steps, and the gap exceeds 0.1 after 300 steps."""
    steps, (fresh, *halves) = geometric(1000), (images(6, seed, SIDE) for seed in (3, 1, 2))

    def build(index, half):
        step = steps[index]
        test = 1 + max(0.0, 0.05 * (1 + math.log(95 / step)))
        losses = [1.0, 1.0]
        losses[half] = 1 - 0.1 * math.log(step) / math.log(300) * (step > 50)
        return At(torch.cat([fresh, *halves]), [loss for loss in (test, *losses) for _ in range(6)])

    result, _ = follow("training-times", build, halves, fresh, steps)
    assert result["generalization"] == pytest.approx(95, rel=0.03)
    assert result["memorization"] == pytest.approx(300, rel=0.03)
    assert result[""] == pytest.approx(math.log2(300 / 95), abs=0.1)
    assert result["gap"] == pytest.approx(0.1 * math.log(1000) / math.log(300), rel=1e-3)
    assert result["steps"] == 1000
    assert result["spacing"] < 1.3


def test_the_posterior_weight_is_one_half_at_the_collapse():
    images, noise = normal(200, 30, seed=2), normal(50, 30, seed=1)
    result = collapse_levels(images[:50], noise, images)

    def weights(share):
        noisy = images[:50] + (share * result)[:, None] * noise
        distances = (noisy[:, None] - images[None]).square().sum(2) / (2 * (share * result)[:, None] ** 2)
        return torch.softmax(-distances, dim=1)[torch.arange(50), torch.arange(50)]

    torch.testing.assert_close(weights(1.0), torch.full((50,), 0.5, dtype=torch.float64))
    assert weights(0.8).mean() > 0.6
    assert weights(1.25).mean() < 0.4


def psnr_of_scaling(result, factor, sigma):
    error = (factor * result.noisy(sigma).double() - result.clean).square().flatten(1).mean(1)
    return -10 * error.log10()


def test_the_gain_from_twice_the_steps_compares_with_the_network_after_half_of_the_steps():
    result = along({step: functools.partial(scaled, factor) for step, factor in ((1, 0.1), (8, 0.4), (16, 0.9))})
    gains = table("doubling", result)
    for sigma in SIGMAS:
        half, full = (psnr_of_scaling(result, factor, sigma) for factor in (0.4, 0.9))
        assert gains["half", sigma] == pytest.approx(half.tolist(), abs=1e-4)
        assert gains["", sigma] == pytest.approx((full - half).tolist(), abs=1e-4)


@pytest.mark.parametrize(("first", "share"), [(8, 0.5), (2, 0.75)])
def test_the_psnr_after_half_of_the_steps_is_linear_in_the_logarithm_of_the_step(first, share):
    # Half of 32 steps is in the middle of 8 and 32 steps, and three quarters of the way from 2 to 32 steps.
    result = along({step: functools.partial(scaled, factor) for step, factor in ((first, 0.4), (32, 0.9))})
    before, full = (psnr_of_scaling(result, factor, 0.1) for factor in (0.4, 0.9))
    assert table("doubling", result)["", 0.1] == pytest.approx(((1 - share) * (full - before)).tolist(), abs=1e-4)
