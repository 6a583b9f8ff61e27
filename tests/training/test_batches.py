import math

import pytest
import torch

import gahbench
from gahbench.contracts.datasets import Dataset
from gahbench.training.batches import TrainingImages, training_noise
from gahbench.training.recipe import Training

CPU = torch.device("cpu")


class Numbers(Dataset):
    """Images that are their own numbers."""

    def __init__(self, count):
        self.count = count

    @property
    def shape(self):
        return (1, 1, 1)

    def available(self, split):
        return self.count

    def images(self, split, count, start=0):
        return torch.arange(start, start + count).float().view(-1, 1, 1, 1)


def batches(count, batch_size, steps, seed=0, epoch_images=12, **given):
    training = Training.model_validate({"batch_size": batch_size, "epoch_images": epoch_images, **given})
    images = TrainingImages(Numbers(count), training, seed, CPU)
    return torch.cat([images.batch(step).flatten() for step in range(steps)])


@pytest.mark.parametrize(("count", "batch_size"), [(12, 4), (5, 4), (1, 8), (12, 5), (3, 25)])
def test_every_epoch_shows_each_image_equally_often(count, batch_size):
    size = count * max(1, 12 // count)
    steps = 6 * math.lcm(size, batch_size) // batch_size
    seen = batches(count, batch_size, steps).view(-1, size)
    for epoch in seen:
        assert torch.equal(epoch.long().bincount(minlength=count), torch.full((count,), size // count))


def test_epochs_differ_and_seeds_differ():
    seen = batches(12, 4, 6).view(2, 12)
    assert not torch.equal(seen[0], seen[1])
    assert not torch.equal(seen[0], batches(12, 4, 3, seed=1))
    assert torch.equal(seen[0], batches(12, 4, 3))


def test_a_batch_depends_on_its_step_alone():
    training = Training.model_validate({"batch_size": 5, "epoch_images": 12})
    forward, backward = (TrainingImages(Numbers(12), training, 0, CPU) for _ in range(2))
    one = [forward.batch(step) for step in range(8)]
    other = [backward.batch(step) for step in reversed(range(8))]
    assert all(map(torch.equal, one, reversed(other)))


def test_the_first_n_images_are_used():
    assert set(batches(100, 4, 12, train_images=3).tolist()) == {0.0, 1.0, 2.0}


def test_a_generator_streams_without_repeating_and_seeds_stream_images_of_their_own():
    dataset, training = gahbench.create("dataset", "discs", size=16), Training.model_validate({"batch_size": 8})
    streams = [TrainingImages(dataset, training, seed, CPU) for seed in (0, 1)]
    seen = torch.cat([images.batch(step) for images in streams for step in range(10)])
    assert len(torch.unique(seen.flatten(1), dim=0)) == 160
    assert torch.equal(seen[:80], dataset.images("train", 80))


@pytest.mark.parametrize("noise", ["log-uniform", "quadratic"])
def test_noise_levels_have_their_distribution(noise):
    """Kolmogorov–Smirnov: the largest distance of 20,000 draws stays below 1.95/sqrt(n), its 0.1 % quantile."""
    training = Training.model_validate({"noise": noise, "sigma_min": 0.01, "sigma_max": 0.9})
    sigma, scaled = training_noise(training, torch.Size((20_000, 1, 2, 2)), 3, 5, CPU)
    if noise == "log-uniform":
        uniform = (sigma / 0.01).log() / math.log(90)
    else:
        uniform = (sigma.sqrt() - 0.1) / (0.9**0.5 - 0.1)
    ordered = uniform.sort().values
    distance = (ordered - torch.linspace(0, 1, len(ordered))).abs().max()
    assert distance < 1.95 / len(ordered) ** 0.5
    normal = scaled / sigma.view(-1, 1, 1, 1)
    assert abs(float(normal.square().mean()) - 1) < 4 * (2 / normal.numel()) ** 0.5


def test_steps_and_seeds_have_their_own_noise():
    training = Training.model_validate({})
    draws = [
        training_noise(training, torch.Size((4, 1, 2, 2)), seed, step, CPU)[1] for seed in (0, 1) for step in (0, 1)
    ]
    assert all(not torch.equal(draws[i], draws[j]) for i in range(4) for j in range(i))
