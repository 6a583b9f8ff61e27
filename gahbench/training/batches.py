"""Batches as a function of the step only, so that a resumed fit gets the same ones; drawn ahead for a GPU."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, Self, TypeVar

import torch
from torch import Tensor

from gahbench._util.noise import generator
from gahbench.contracts.datasets import Dataset
from gahbench.devices.batches import FEWER_WORKERS, memory_for
from gahbench.devices.hardware import hardware
from gahbench.training.recipe import Training, tiled

#: Length in images of the part of an endless split that each seed streams.
STRETCH = 1 << 32
#: Results that are computed or wait to be taken, and the name of the thread that computes them.
DEPTH, THREAD = 5, "gahbench-ahead"

Result = TypeVar("Result")


class Ahead(Generic[Result]):
    """The results of a function of the step, computed in one thread for a few steps in advance."""

    def __init__(self, compute: Callable[[int], Result], first: int, depth: int = DEPTH) -> None:
        self._compute, self._next = compute, first
        self._pool = ThreadPoolExecutor(1, THREAD)
        self._results = deque(self._pool.submit(compute, step) for step in range(first, first + depth))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    def take(self, step: int) -> Result:
        """Return the result of the next step, waiting for it if necessary."""
        if step != self._next:
            raise ValueError(f"step {step} was requested; the next one is {self._next}")
        # An error stays in the queue, so that it is raised again.
        result = self._results[0].result()
        self._results.popleft()
        self._results.append(self._pool.submit(self._compute, step + len(self._results) + 1))
        self._next += 1
        return result


class TrainingImages:
    """Clean training images by step."""

    def __init__(self, dataset: Dataset, training: Training, seed: int, device: torch.device) -> None:
        self.dataset = dataset
        self.split = training.split
        self.batch_size = training.batch_size
        self.seed = seed
        self.device = device
        self.count = training_count(dataset, training)
        self._hardware = hardware(device)
        #: Whether a stream is to be drawn in a thread.
        self.threaded = self._hardware.draws_ahead
        self._ahead: Ahead[Tensor] | None = None
        self._images: Tensor | None = None
        self._order: tuple[int, Tensor] = (-1, torch.empty(0, dtype=torch.long))
        if self.count is not None:
            with memory_for(f"a set of {self.count} training images", f"fewer train_images and {FEWER_WORKERS}"):
                self._images = dataset.images(training.split, self.count).to(device)
            self._epoch = tiled(self.count, training.epoch_images)

    def batch(self, step: int) -> Tensor:
        """Return the clean images of a step, shape (B, C, H, W), without waiting for a GPU."""
        if self._images is None:
            drawn = self._drawn(step) if self._ahead is None else self._ahead.take(step)
            return drawn.to(self.device, non_blocking=True)
        start = step * self.batch_size
        parts, position = [], start
        while position < start + self.batch_size:
            epoch, offset = divmod(position, self._epoch)
            stop = min(self._epoch, offset + start + self.batch_size - position)
            parts.append(self._shuffled(epoch)[offset:stop])
            position += stop - offset
        return self._images[torch.cat(parts)]

    @contextlib.contextmanager
    def ahead(self, step: int) -> Iterator[None]:
        """Within this context, batches are taken in order from ``step`` on, and a thread draws those of a stream."""
        if self._images is not None or not self.threaded:
            yield
            return
        with Ahead(self._drawn, step) as self._ahead:
            try:
                yield
            finally:
                self._ahead = None

    def _drawn(self, step: int) -> Tensor:
        """Return the images of a step of a stream, on the CPU."""
        start = self.seed * STRETCH + step * self.batch_size
        return self._hardware.pinned(self.dataset.images(self.split, self.batch_size, start=start))

    def _shuffled(self, epoch: int) -> Tensor:
        """Return which image comes at each place of an epoch, on the device."""
        if self._order[0] != epoch:
            order = torch.randperm(self._epoch, generator=generator("batches", self.seed, "order", epoch))
            order = self._hardware.upload(order % (self.count or 1))
            self._order = (epoch, order)
        return self._order[1]


def training_count(dataset: Dataset, training: Training) -> int | None:
    """Return how many training images one network uses; ``None`` for an endless stream."""
    if isinstance(training.train_images, int):
        return training.train_images
    return dataset.available(training.split)


def training_noise(
    training: Training, shape: torch.Size, seed: int, step: int, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Draw the noise levels and the noise of a step."""
    draw = generator("batches", seed, "noise", step, device=device)
    uniform = torch.rand(shape[0], generator=draw, device=device)
    low, high = training.sigma_min, training.sigma_max
    if training.noise == "log-uniform":
        sigma = low * (high / low) ** uniform
    else:
        sigma = (low**0.5 + (high**0.5 - low**0.5) * uniform) ** 2
    noise = torch.randn(shape, generator=draw, device=device) * sigma.view(-1, 1, 1, 1)
    return sigma, noise


def error_scale(training: Training, sigma: Tensor) -> Tensor:
    """Return what the residuals of each image are divided by in the loss, for noise levels of shape (N,)."""
    if training.weighting == "uniform":
        return torch.ones_like(sigma)
    if training.weighting == "inverse-variance":
        return sigma
    return sigma * training.sigma_data / torch.hypot(sigma, torch.full_like(sigma, training.sigma_data))
