"""Training batches, which depend only on the step, so that a resumed fit sees the same batches."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import torch
from torch import Tensor

from gahbench._util.noise import generator
from gahbench.contracts.datasets import Dataset
from gahbench.devices.hardware import FEWER_WORKERS, hardware, memory_for
from gahbench.training.recipe import Training, epoch_size

#: Number of images of an endless split that are reserved for each seed.
IMAGES_PER_SEED = 1 << 32
#: Number of batches to prefetch, and the name of the thread that draws them.
DEPTH, THREAD = 5, "gahbench-prefetch"


class TrainingImages:
    """Batches of clean training images, by step."""

    def __init__(self, dataset: Dataset, training: Training, seed: int, device: torch.device) -> None:
        self.dataset = dataset
        self.split = training.split
        self.batch_size = training.batch_size
        self.seed = seed
        self.device = device
        self.count = training_count(dataset, training)
        self._hardware = hardware(device)
        #: Whether to draw the images of an endless stream in a thread.
        self.use_thread = self._hardware.is_accelerator
        self._prefetched: deque[Future[Tensor]] = deque()
        self._images: Tensor | None = None
        self._order: tuple[int | None, Tensor] = (None, torch.empty(0))
        if self.count is not None:
            with memory_for(f"a set of {self.count} training images", f"fewer train_images and {FEWER_WORKERS}"):
                self._images = dataset.images(training.split, self.count).to(device)
            self._epoch = epoch_size(self.count, training.epoch_images)

    def batch(self, step: int) -> Tensor:
        """Return the clean images of a step, shape (B, C, H, W), on the device, without waiting for a GPU."""
        if self._images is None:
            images = self._prefetched.popleft().result() if self._prefetched else self._draw(step)
            if self._prefetched:
                self._prefetched.append(self._pool.submit(self._draw, step + DEPTH))
            return images.to(self.device, non_blocking=True)
        start = step * self.batch_size
        parts, position = [], start
        while position < start + self.batch_size:
            epoch, offset = divmod(position, self._epoch)
            stop = min(self._epoch, offset + start + self.batch_size - position)
            parts.append(self._epoch_order(epoch)[offset:stop])
            position += stop - offset
        return self._images[torch.cat(parts)]

    @contextlib.contextmanager
    def prefetch(self, step: int) -> Iterator[None]:
        """Prefetch the batches of a stream in a thread; within this context, steps must be taken in order."""
        if self._images is not None or not self.use_thread:
            yield
            return
        self._pool = ThreadPoolExecutor(1, THREAD)
        self._prefetched.extend(self._pool.submit(self._draw, step + ahead) for ahead in range(DEPTH))
        try:
            yield
        finally:
            self._prefetched.clear()
            self._pool.shutdown(cancel_futures=True)

    def _draw(self, step: int) -> Tensor:
        """Draw the images of one step of a stream, on the CPU."""
        start = self.seed * IMAGES_PER_SEED + step * self.batch_size
        return self._hardware.pin(self.dataset.images(self.split, self.batch_size, start=start))

    def _epoch_order(self, epoch: int) -> Tensor:
        """Return the indices of an epoch's images in shuffled order, on the device."""
        if self._order[0] != epoch:
            order = torch.randperm(self._epoch, generator=generator("batches", self.seed, "order", epoch))
            order = self._hardware.upload(order % (self.count or 1))
            self._order = (epoch, order)
        return self._order[1]


def training_count(dataset: Dataset, training: Training) -> int | None:
    """Return the number of training images for a network; ``None`` for an endless stream."""
    if isinstance(training.train_images, int):
        return training.train_images
    return dataset.available(training.split)


def draw_training_noise(
    training: Training, shape: torch.Size, seed: int, step: int, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Draw the noise levels, shape (B,), and the scaled noise, shape (B, C, H, W), of a step."""
    random = generator("batches", seed, "noise", step, device=device)
    uniform = torch.rand(shape[0], generator=random, device=device)
    low, high = training.sigma_min, training.sigma_max
    if training.noise == "log-uniform":
        sigma = low * (high / low) ** uniform
    else:
        sigma = (low**0.5 + (high**0.5 - low**0.5) * uniform) ** 2
    noise = torch.randn(shape, generator=random, device=device) * sigma.view(-1, 1, 1, 1)
    return sigma, noise


def error_scale(training: Training, sigma: Tensor) -> Tensor:
    """Return the divisors of the residuals in the loss, shape (N,), for noise levels of shape (N,)."""
    if training.weighting == "uniform":
        return torch.ones_like(sigma)
    if training.weighting == "inverse-variance":
        return sigma
    return sigma * training.sigma_data / torch.hypot(sigma, torch.full_like(sigma, training.sigma_data))
