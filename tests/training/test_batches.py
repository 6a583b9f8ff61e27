import math

import pytest
import torch

import gahbench
from gahbench.contracts.datasets import Dataset
from gahbench.training.batches import TrainingImages, draw_training_noise
from gahbench.training.recipe import Training

CPU = torch.device("cpu")


class Numbers(Dataset):
    """A dataset whose images are single pixels that hold their index."""

    def __init__(self, count):
        self.count = count

    @property
    def shape(self):
        return (1, 1, 1)

    def available(self, split):
        return self.count

    def images(self, split, count, start=0):
        return torch.arange(start, start + count).float().view(-1, 1, 1, 1)


def batches(count, batch_size, steps, seed=0, epoch_images=12, **settings):
    training = Training.model_validate({"batch_size": batch_size, "epoch_images": epoch_images, **settings})
    images = TrainingImages(Numbers(count), training, seed, CPU)
    return torch.cat([images.batch(step).flatten() for step in range(steps)])


@pytest.mark.parametrize(("count", "batch_size"), [(12, 4), (5, 4), (1, 8), (12, 5), (3, 25)])
def test_every_epoch_contains_each_image_equally_often(count, batch_size):
    size = count * max(1, 12 // count)
    steps = 6 * math.lcm(size, batch_size) // batch_size
    seen = batches(count, batch_size, steps).view(-1, size)
    for epoch in seen:
        assert torch.equal(epoch.long().bincount(minlength=count), torch.full((count,), size // count))


def test_the_order_depends_on_the_epoch_and_the_seed():
    seen = batches(12, 4, 6).view(2, 12)
    assert not torch.equal(seen[0], seen[1])
    assert not torch.equal(seen[0], batches(12, 4, 3, seed=1))
    assert torch.equal(seen[0], batches(12, 4, 3))


def test_a_batch_depends_only_on_its_step():
    training = Training.model_validate({"batch_size": 5, "epoch_images": 12})
    forward, backward = (TrainingImages(Numbers(12), training, 0, CPU) for _ in range(2))
    ascending = [forward.batch(step) for step in range(8)]
    descending = [backward.batch(step) for step in reversed(range(8))]
    assert all(map(torch.equal, ascending, reversed(descending)))


def test_the_first_n_images_are_used():
    assert set(batches(100, 4, 12, train_images=3).tolist()) == {0.0, 1.0, 2.0}


def test_streamed_images_repeat_neither_within_nor_between_seeds():
    dataset, training = gahbench.create("dataset", "discs", size=16), Training.model_validate({"batch_size": 8})
    streams = [TrainingImages(dataset, training, seed, CPU) for seed in (0, 1)]
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


def test_noise_differs_between_steps_and_seeds():
    training = Training.model_validate({})
    draws = [
        draw_training_noise(training, torch.Size((4, 1, 2, 2)), seed, step, CPU)[1]
        for seed in (0, 1)
        for step in (0, 1)
    ]
    assert all(not torch.equal(draws[i], draws[j]) for i in range(4) for j in range(i))
