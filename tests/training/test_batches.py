import math
import threading

import pytest
import torch
from small_fits import CPU, prefetch_threads

import gahbench
from gahbench.contracts.datasets import Dataset
from gahbench.training.batches import DEPTH, TrainingImages, draw_training_noise
from gahbench.training.recipe import Training


class Numbers(Dataset):
    """A dataset whose images are single pixels that hold their index; without a count it is endless."""

    def __init__(self, count=None):
        self.count, self.drawn = count, []

    @property
    def shape(self):
        return (1, 1, 1)

    def available(self, split):
        return self.count

    def images(self, split, count, start=0):
        self.drawn.append((start, threading.current_thread()))
        if start == 48:
            raise OSError("no image")
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


def test_a_stream_is_prefetched_in_one_other_thread_until_an_image_is_missing():
    dataset = Numbers()
    images = images_of(dataset, batch_size=4)
    assert not images.use_thread
    images.use_thread = True
    with images.prefetch(3):
        for step in range(3, 12):
            assert images.batch(step).flatten().tolist() == [4 * step + index for index in range(4)]
            starts = [start for start, _ in dataset.drawn]
            assert starts == [4 * ahead for ahead in range(3, 3 + len(starts))]
            assert step - 2 <= len(starts) <= step - 2 + DEPTH
        with pytest.raises(OSError, match="no image"):
            images.batch(12)
    assert not prefetch_threads()
    assert threading.current_thread() not in {thread for _, thread in dataset.drawn}
    # After the context, steps can be taken in any order again.
    assert images.batch(2).flatten().tolist() == [8, 9, 10, 11]


@pytest.mark.parametrize(("count", "use_thread"), [(6, True), (None, False)])
def test_only_streams_are_prefetched_and_only_for_a_gpu(count, use_thread):
    images = images_of(Numbers(count), batch_size=4)
    images.use_thread = use_thread
    with images.prefetch(0):
        assert not prefetch_threads()
        images.batch(7)


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
