"""Times of training, of denoisers whose course is known."""

import math

import pytest
import torch
from given_images import GivenImages
from known_filters import Filters, random_images

import gahbench
from gahbench.contracts.truth import TrainingData
from gahbench.evaluation.evaluation import Evaluation
from gahbench_plugins.metrics._along_training import crossing, spacing

SIGMA = 0.1
SIDE = 4


def images(count, seed=0):
    return random_images(count, 1, SIDE, SIDE, seed=seed)


def geometric(last, ratio=1.25):
    """Steps of snapshots, the last one included."""
    count = math.ceil(math.log(last) / math.log(ratio)) + 1
    return sorted({round(last ** (place / (count - 1))) for place in range(count)})


def values(scores):
    return dict(zip(scores.part, scores.value, strict=True))


def test_crossings_are_between_snapshots():
    steps = [1, 10, 100, 1000]
    falling = torch.tensor([1.0, 0.8, 0.4, 0.2])
    assert crossing(steps, falling, 0.6) == pytest.approx(10**1.5)
    assert crossing(steps, falling, 0.4) == pytest.approx(100)
    assert crossing(steps, falling, 2.0) == 1
    assert crossing(steps, falling, 0.1) is None
    back = torch.tensor([1.0, 0.4, 1.0, 0.2])
    assert crossing(steps, back, 0.6) == pytest.approx(10 ** (2 / 3))
    assert crossing(steps, back, 0.6, stays=True) == pytest.approx(10**2.5)
    assert crossing(steps, back.flip(0), 0.6, stays=True) is None


def test_spacing_is_that_of_later_snapshots():
    assert spacing([1, 2, 4, 8, 10, 13, 15]) == pytest.approx(1.3)
    assert spacing([1, 2, 4]) == 1


class Course:
    """A linear denoiser by gradient descent on the expected loss, from 0: its gains are known."""

    def __init__(self, sigma, rate=0.04, last=4000):
        # A basis of known variances, four decades, of images without a mean.
        basis = torch.linalg.qr(torch.randn(16, 16, generator=torch.Generator().manual_seed(0), dtype=torch.float64)).Q
        self.variances = 10.0 ** -torch.linspace(0, 2, 16, dtype=torch.float64)
        rows = (16 * self.variances).sqrt()[:, None] * basis.mT
        self.images = torch.cat([rows, -rows]).float().view(32, 1, SIDE, SIDE)
        second = self.images.double().flatten(1)
        second = second.mT @ second / len(second)
        noisy = second + sigma**2 * torch.eye(16, dtype=torch.float64)
        self.steps, self.maps, weight = geometric(last), [], torch.zeros(16, 16, dtype=torch.float64)
        for step in range(1, last + 1):
            weight = weight - rate * (weight @ noisy - second)
            if step in self.steps:
                self.maps.append(weight.float()[None])

    def scores(self, sigma, **parameters):
        found = Evaluation(Filters(self.maps[-1], 0.0), images(8), [sigma])
        found.learned_from = TrainingData(GivenImages(self.images))
        found.snapshots = [
            (step, lambda made=made: Filters(made, 0.0)) for step, made in zip(self.steps, self.maps, strict=True)
        ]
        return gahbench.create("metric", "learning-times", **parameters).score(found)


def test_learning_times_of_a_linear_model_are_inverse_to_the_variance():
    sigma, rate = 0.02, 0.04
    scores = Course(sigma, rate).scores(sigma, modes=16)
    times, variances = scores.arrays["times"], scores.arrays["variances"]
    torch.testing.assert_close(variances, 10.0 ** -torch.linspace(0, 2, 16, dtype=torch.float64), rtol=1e-4, atol=0)
    # Gradient descent leaves (1 - rate (lambda + sigma^2))^t of a gain; half of what the first step left, after it.
    expected = 1 + math.log(0.5) / torch.log(1 - rate * (variances + sigma**2))
    assert (times / expected - 1).abs().max() < 0.01
    product = times * variances
    assert (product / product.mean() - 1).abs().max() < 0.05
    assert values(scores)[""] == pytest.approx(-1, abs=0.02)
    assert values(scores)["modes"] == 16
    assert values(scores)["spacing"] < 1.3


def test_what_is_learned_from_the_start_or_never_has_no_time():
    sigma = 0.02
    course = Course(sigma, last=60)
    found = course.scores(sigma, modes=16)
    known = found.arrays["times"].isfinite()
    # 59 steps after the first, gradient descent has left so much of it.
    left = (1 - 0.04 * (found.arrays["variances"] + sigma**2)) ** 59
    assert torch.equal(known, left <= 0.5)
    assert known.any()
    assert not known.all()
    # A gain that stays where it is is not learned.
    course.maps = [course.maps[-1]] * len(course.maps)
    assert values(course.scores(sigma, modes=16)) == {"modes": 0, "spacing": pytest.approx(spacing(course.steps))}


def follow(own, other, test):
    """Networks whose losses on their own images, their partner's and test images are given along the training."""
    steps = geometric(1000)
    halves, fresh = (images(6, seed=1), images(6, seed=2)), images(6, seed=3)

    class At(Filters):
        def __init__(self, place, half):
            super().__init__(torch.eye(16)[None], 0.0)
            self.place, self.half = place, half

        def denoise(self, noisy, sigma, truth):
            losses = test, own if self.half == 0 else other, own if self.half == 1 else other
            known = torch.cat([fresh, *halves])
            nearest = torch.cdist(noisy.flatten(1), known.flatten(1)).argmin(1)
            errors = torch.tensor([math.sqrt(loss(steps[self.place])) for loss in losses])
            return known[nearest] + sigma * errors[nearest // 6].view(-1, 1, 1, 1)

    def one(half):
        made = Evaluation(At(-1, half), fresh, [SIGMA], learned_from=TrainingData(GivenImages(halves[half])))
        made.snapshots = [(step, lambda place=place: At(place, half)) for place, step in enumerate(steps)]
        return made

    found = one(0)
    found.partner = one(1)
    return values(gahbench.create("metric", "training-times").score(found))


def test_times_of_generalizing_and_of_memorizing():
    """The test loss is within 5 % of its least after 95 steps, and the gap passes .1 after 300."""
    found = follow(
        own=lambda step: 1 - 0.1 * math.log(step) / math.log(300) * (step > 50),
        other=lambda step: 1.0,
        test=lambda step: 1 + max(0.0, 0.05 * (1 + math.log(95 / step))),
    )
    assert found["generalization"] == pytest.approx(95, rel=0.03)
    assert found["memorization"] == pytest.approx(300, rel=0.03)
    assert found[""] == pytest.approx(math.log2(300 / 95), abs=0.1)
    assert found["gap"] == pytest.approx(0.1 * math.log(1000) / math.log(300), rel=1e-3)
    assert found["steps"] == 1000
    assert found["spacing"] < 1.3


def test_networks_that_do_not_depend_on_their_half_never_memorize():
    found = follow(own=lambda step: 1.0, other=lambda step: 1.0, test=lambda step: 1 + 1 / step)
    assert "memorization" not in found
    assert "" not in found
    assert found["gap"] == pytest.approx(0, abs=1e-5)
    assert found["least"] == 1000
