"""Recipes, the batches of a fit, and averages of its weights."""

import copy
import math

import pytest
import torch
from pydantic import ValidationError
from small_fits import CPU
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

import gahbench
from gahbench.contracts.datasets import Dataset
from gahbench.training.average import RunningAverage
from gahbench.training.batches import TrainingImages, draw_training_noise
from gahbench.training.recipe import Training, epoch_size


class Numbers(Dataset):
    """A dataset whose images are single pixels that hold their index; without a count it is endless."""

    def __init__(self, count=None):
        self.count = count

    @property
    def shape(self):
        return (1, 1, 1)

    def available(self, split):
        return self.count

    def images(self, split, count, start=0):
        return torch.arange(start, start + count).float().view(-1, 1, 1, 1)


def images_of(dataset, seed=0, **settings):
    return TrainingImages(dataset, Training.model_validate({"epoch_images": 12, **settings}), seed, CPU)


def batches(count, batch_size, steps, seed=0, **settings):
    images = images_of(Numbers(count), seed, batch_size=batch_size, **settings)
    return torch.cat([images.batch(step).flatten() for step in range(steps)])


@pytest.mark.parametrize(("count", "batch_size"), [(12, 4), (5, 4), (1, 8), (12, 5), (3, 25)])
def test_every_epoch_contains_each_image_equally_often(count, batch_size):
    size = count * max(1, 12 // count)
    steps = 6 * math.lcm(size, batch_size) // batch_size
    seen = batches(count, batch_size, steps).view(-1, size)
    for epoch in seen:
        assert torch.equal(epoch.long().bincount(minlength=count), torch.full((count,), size // count))


def test_a_batch_depends_only_on_its_step_and_seed_and_the_order_on_the_epoch():
    seen = batches(12, 4, 6).view(2, 12)
    assert not torch.equal(seen[0], seen[1])
    assert not torch.equal(seen[0], batches(12, 4, 3, seed=1))
    assert set(batches(100, 4, 12, train_images=3).tolist()) == {0.0, 1.0, 2.0}
    forward, backward = (images_of(Numbers(12), batch_size=5) for _ in range(2))
    ascending = [forward.batch(step) for step in range(8)]
    descending = [backward.batch(step) for step in reversed(range(8))]
    assert all(map(torch.equal, ascending, reversed(descending)))


def test_streamed_images_repeat_neither_within_nor_between_seeds():
    dataset = gahbench.create("dataset", "discs", size=16)
    streams = [images_of(dataset, seed, batch_size=8) for seed in (0, 1)]
    seen = torch.cat([images.batch(step) for images in streams for step in range(10)])
    assert len(torch.unique(seen.flatten(1), dim=0)) == 160
    assert torch.equal(seen[:80], dataset.images("train", 80))


@pytest.mark.parametrize("noise", ["log-uniform", "quadratic"])
def test_noise_levels_follow_their_distribution(noise):
    """The Kolmogorov–Smirnov distance of 20,000 draws is below 1.95/sqrt(n), its 99.9 % quantile."""
    training = Training.model_validate({"noise": noise, "sigma_min": 0.01, "sigma_max": 0.9})
    sigma, scaled = draw_training_noise(training, torch.Size((20_000, 1, 2, 2)), 3, 5, CPU)
    if noise == "log-uniform":
        uniform = (sigma / 0.01).log() / math.log(90)
    else:
        uniform = (sigma.sqrt() - 0.1) / (0.9**0.5 - 0.1)
    ordered = uniform.sort().values
    distance = (ordered - torch.linspace(0, 1, len(ordered))).abs().max()
    assert distance < 1.95 / len(ordered) ** 0.5
    normal = scaled / sigma.view(-1, 1, 1, 1)
    assert abs(float(normal.square().mean()) - 1) < 4 * (2 / normal.numel()) ** 0.5
    draws = [
        draw_training_noise(training, torch.Size((4, 1, 2, 2)), *place, CPU)[1] for place in ((3, 5), (3, 6), (4, 5))
    ]
    assert not any(torch.equal(draws[index], draws[index - 1]) for index in range(3))


def training(**settings):
    return Training.model_validate(settings)


def test_paper_is_the_published_recipe():
    """The recipe is from Kadkhodaie et al. 2024."""
    paper = training(recipe="paper")
    assert (paper.optimizer, paper.learning_rate, paper.batch_size, paper.epochs) == ("adam", 1e-3, 512, 1000)
    assert paper.initialisation == "published"
    assert (paper.noise, paper.weighting, paper.sigma_min, paper.sigma_max) == ("quadratic", "uniform", 0.0, 1.0)
    # Small sets are repeated, so that an epoch has about 250,000 images.
    assert paper.total_steps(1000) == 1000 * 250_000 // 512
    # The rate is halved every 100 of 1000 epochs.
    rates = [paper.rate(10**6, epoch / 1000) for epoch in (0, 99, 100, 250, 999)]
    assert rates == pytest.approx([1e-3, 1e-3, 5e-4, 2.5e-4, 1e-3 / 2**9])


def test_kl_weights_by_the_inverse_variance():
    kl = training(recipe="kl", sigma_min=0.02)
    assert (kl.noise, kl.weighting, kl.schedule) == ("log-uniform", "inverse-variance", "cosine")
    rates = [kl.rate(10**6, progress) for progress in (0.0, 0.5, 1.0)]
    assert rates == pytest.approx([kl.learning_rate, kl.learning_rate / 2, 0.0])
    # The rate warms up linearly.
    kl = training(schedule="constant", warmup=10, learning_rate=1.0)
    assert [kl.rate(step, 0.0) for step in (0, 4, 9, 20)] == pytest.approx([0.1, 0.5, 1.0, 1.0])


def test_a_given_budget_replaces_the_budget_of_the_recipe():
    assert training(recipe="paper", steps=7).total_steps(10) == 7
    assert training(recipe="kl", epochs=2, batch_size=100, epoch_images=1000).total_steps(None) == 20
    growing = training(recipe="paper", steps={"per_image": 2.5, "minimum": 30})
    assert [growing.total_steps(count) for count in (1, 10, 100, 1000)] == [30, 30, 250, 2500]
    assert Training.model_validate(growing.model_dump(mode="json")) == growing
    with pytest.raises(ValueError, match="this dataset is endless; accepted: a number for train_images"):
        growing.total_steps(None)


@pytest.mark.parametrize(
    "settings",
    [
        {"steps": 3, "epochs": 4},
        {"sigma_min": 2.0},
        {"sigma_min": 0.0},
        {"ema": 1.0},
        {"sigma_data": 0.3},
        {"learning_rate": 0.0},
        {"steps": 2.5},
        {"steps": {"per_image": 0.0}},
        {"steps": {"per_image": 1.0, "most": 3}},
        {"steps": {"per_image": 1.0}, "epochs": 2},
        {"batch_size": "4"},
        {"unknown": 1},
    ],
)
def test_invalid_settings_are_rejected(settings):
    with pytest.raises(ValidationError):
        training(**settings)


@pytest.mark.parametrize(("images", "size"), [(1, 250_000), (3, 249_999), (200_000, 200_000), (10**6, 10**6)])
def test_sets_are_repeated_a_whole_number_of_times(images, size):
    assert epoch_size(images, 250_000) == size
    assert math.gcd(size, images) == images


class WithBuffers(nn.Module):
    """A layer, a normalisation, an integer and an infinite buffer, and a running value that is replaced."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 2)
        self.norm = nn.BatchNorm1d(2)
        self.register_buffer("indices", torch.arange(225))
        self.register_buffer("mask", torch.tensor([0.1, -torch.inf]))
        self.register_buffer("running", torch.zeros(2, 3))


def perturb(network, generator):
    with torch.no_grad():
        for value in [*network.parameters(), *network.buffers()]:
            if value.is_floating_point() and value.isfinite().all():
                value.add_(torch.randn(value.shape, generator=generator))
        network.running = network.running + torch.randn(2, 3, generator=generator)


def test_averages_equal_those_of_torch_continue_from_their_state_and_leave_other_values():
    torch.manual_seed(0)
    network, generator = WithBuffers(), torch.Generator().manual_seed(1)
    ours = RunningAverage(network, 100, 0.7)
    theirs = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(0.7), use_buffers=True)
    for _ in range(4):
        perturb(network, generator)
        continued = RunningAverage(network, 100, 0.7)
        continued.load_state_dict(ours.state_dict())
        theirs.update_parameters(network)
        expected = {**theirs.module.state_dict(), "indices": network.indices, "mask": network.mask}
        own = copy.deepcopy(network.state_dict())
        for average in (ours, continued):
            average.update()
            with average.apply():
                assert all(torch.equal(value, expected[name]) for name, value in network.state_dict().items())
            assert all(torch.equal(value, own[name]) for name, value in network.state_dict().items())


@pytest.mark.parametrize(("fit", "steps", "lag"), [(100, 100, 4), (10**6, 100, 49.5), (10**6, 1000, 99)])
def test_buffers_are_averaged_over_all_steps_at_first_and_over_200_or_the_last_tenth_later(fit, steps, lag):
    """An exponential average of weight w lags behind by (1 - w) / w steps; w is 0.2 for 100 steps, 0.01 for 10^6."""
    network = WithBuffers()
    weight, average = network.layer.weight.detach().clone(), RunningAverage(network, fit)
    for step in range(steps):
        network.running = torch.full((2, 3), float(step))
        network.layer.weight.data.add_(1.0)
        average.update()
    average.write()
    assert float(network.running[0, 0]) == pytest.approx(steps - 1 - lag, abs=0.1)
    torch.testing.assert_close(network.layer.weight.detach(), weight + steps)
