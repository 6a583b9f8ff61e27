"""The training loop."""

from __future__ import annotations

import contextlib
import math
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from gahbench._util.noise import derive_seed, evaluation_noise
from gahbench._util.shapes import image_shape
from gahbench.contracts.datasets import Dataset
from gahbench.contracts.denoisers import batch_size
from gahbench.contracts.truth import Truth
from gahbench.networks.trained import Trained
from gahbench.training import checkpoint
from gahbench.training.batches import TrainingImages, training_noise
from gahbench.training.hardware import Acceleration
from gahbench.training.recipe import Training

#: Seconds between checkpoints and between reports of progress.
CHECKPOINT_SECONDS = float(os.environ.get("GAHBENCH_CHECKPOINT_SECONDS", "20"))
REPORT_SECONDS = 0.5


class Stopped(Exception):
    """The fit was asked to stop; its checkpoint holds its progress."""


class Diverged(Exception):
    """The loss is no longer a number."""


@dataclass(frozen=True)
class Progress:
    """The progress of a fit."""

    step: int
    steps: int | None
    fraction: float
    loss: float
    psnr: float | None
    images_per_second: float
    remaining_seconds: float


@dataclass
class Fitted:
    """A trained network and the history of its training."""

    network: nn.Module
    steps: int
    seconds: float
    acceleration: Acceleration
    history: list[dict[str, float]]


@dataclass
class Trainer:
    """Trains one network; all random numbers depend only on ``seed`` and the step.

    Parameters
    ----------
    network
        Its ``forward(noisy, sigma)`` returns the denoised images; it is changed in place.
    dataset
        Its training images are trained on, its ``validation`` split watched.
    training
        The recipe.
    seed
        Names the initialisation, the order of the images, and the noise.
    acceleration
        Precision and compilation.
    sigmas
        Noise levels of the history.
    device
        Where to train.
    checkpoint_path
        Folder of the checkpoint; ``None`` for none.
    keep_snapshot
        Called with the steps taken and the network, wherever the recipe has a snapshot.
    report
        Called with the progress, about twice a second.
    should_stop
        Asked after every step.
    """

    network: nn.Module
    dataset: Dataset
    training: Training
    seed: int
    acceleration: Acceleration
    sigmas: tuple[float, ...] = (0.1,)
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    checkpoint_path: Path | None = None
    keep_snapshot: Callable[[int, nn.Module], None] = lambda step, network: None
    report: Callable[[Progress], None] = lambda progress: None
    should_stop: Callable[[], bool] = lambda: False

    def __post_init__(self) -> None:
        training = self.training
        self.network.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.images = TrainingImages(self.dataset, training, self.seed, self.device)
        self.steps = training.total_steps(self.images.count)
        self._snapshots = frozenset(training.snapshot_steps(self.steps) if self.steps is not None else ())
        optimizer = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[training.optimizer]
        parameters = [parameter for parameter in self.network.parameters() if parameter.requires_grad]
        self.optimizer = optimizer(
            parameters, lr=training.learning_rate, weight_decay=training.weight_decay, fused=True
        )
        self.average = (
            AveragedModel(self.network, multi_avg_fn=get_ema_multi_avg_fn(training.ema), use_buffers=True)  # type: ignore[no-untyped-call]
            if training.ema
            else None
        )
        self._compiled: Callable[..., Any] | None = torch.compile(self.network) if self.acceleration.compiled else None
        self._step = 0
        self._seconds = 0.0
        self._history: list[dict[str, float]] = []

    @property
    def kept(self) -> nn.Module:
        """The network that is kept: the running average where there is one."""
        return self.average.module if self.average is not None else self.network

    def fit(self) -> Fitted:
        """Train until the budget is spent, from the checkpoint if there is one.

        Raises
        ------
        Stopped
            If asked to stop; a checkpoint has been written.
        Diverged
            If the loss is no longer finite.
        """
        self._resume()
        started = last_checkpoint = last_report = time.monotonic()
        seconds_before, steps_before = self._seconds, self._step
        self.network.train()
        while (fraction := self._fraction()) < 1.0:
            loss = self.step(self._step, fraction)
            self._step += 1
            now = time.monotonic()
            self._seconds = seconds_before + now - started
            if self._validation_due(fraction):
                self._validate(loss)
            if self._step in self._snapshots:
                self.keep_snapshot(self._step, self.kept)
            if now - last_report > REPORT_SECONDS or self._fraction() >= 1.0:
                last_report = now
                self._report(loss, (self._step - steps_before) / max(now - started, 1e-9))
            stop = self.should_stop()
            if stop or now - last_checkpoint > CHECKPOINT_SECONDS:
                last_checkpoint = now
                self._checkpoint()
            if stop:
                raise Stopped
        self.network.eval()
        self.kept.eval()
        return Fitted(self.kept, self._step, self._seconds, self.acceleration, self._history)

    def step(self, step: int, fraction: float) -> Tensor:
        """Take one optimiser step and return its loss, still on the device.

        The loss is the mean over the batch of the mean squared error per pixel, over sigma^2 where so weighted.
        """
        training = self.training
        clean = self.images.batch(step)
        sigma, noise = training_noise(training, clean.shape, self.seed, step, self.device)
        noisy = (clean + noise).contiguous(memory_format=torch.channels_last)
        with (
            self._own_randomness(step),
            torch.autocast(self.device.type, torch.bfloat16, enabled=self.acceleration.bfloat16),
        ):
            denoised = self._call(noisy, sigma)
        errors = (denoised.float() - clean).square().mean(dim=(1, 2, 3))
        loss = (errors / sigma.square() if training.weighting == "inverse-variance" else errors).mean()
        for group in self.optimizer.param_groups:
            group["lr"] = training.rate(step, fraction)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        if training.clip is not None:
            nn.utils.clip_grad_norm_(self.network.parameters(), training.clip)
        self.optimizer.step()
        if self.average is not None:
            self.average.update_parameters(self.network)
        return loss.detach()

    @contextlib.contextmanager
    def _own_randomness(self, step: int) -> Iterator[None]:
        """Seed the network's own random numbers, as in dropout, by the step: the order of units must not matter."""
        devices = [self.device] if self.device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices):
            torch.manual_seed(derive_seed("batches", self.seed, "network", step))
            yield

    def _call(self, noisy: Tensor, sigma: Tensor) -> Tensor:
        if self._compiled is None:
            return self._forward(self.network, noisy, sigma)
        try:
            return self._forward(self._compiled, noisy, sigma)
        except torch._dynamo.exc.TorchDynamoException as error:
            # The compiler failed, not the network: go on without it, and say so.
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            notes = (*self.acceleration.notes, f"not compiled: {reason}")
            self.acceleration = Acceleration(self.acceleration.bfloat16, False, notes)
            self._compiled = None
            return self._forward(self.network, noisy, sigma)

    @staticmethod
    def _forward(network: Callable[..., Any], noisy: Tensor, sigma: Tensor) -> Tensor:
        denoised: Tensor = network(noisy, sigma)
        if denoised.shape != noisy.shape:
            # Broadcasting would hide it in the loss.
            raise ValueError(f"forward returned shape {tuple(denoised.shape)} for images of {tuple(noisy.shape)}")
        return denoised

    def _fraction(self) -> float:
        if self.steps is not None:
            return self._step / self.steps
        return self._seconds / (self.training.seconds or 1.0)

    def _validation_due(self, before: float) -> bool:
        parts = self.training.validations
        return int(before * parts) != int(min(self._fraction(), 1.0) * parts)

    def _finite(self, loss: Tensor) -> float:
        value: float = loss.item()
        if not math.isfinite(value):
            raise Diverged(f"the loss is {value} after {self._step} steps; try a lower learning_rate or clip")
        return value

    def _validate(self, loss: Tensor) -> None:
        value = self._finite(loss)
        available = self.dataset.available("validation")
        wanted = self.training.validation_images
        count = wanted if available is None else min(wanted, available)
        row: dict[str, float] = {"step": self._step, "seconds": self._seconds, "loss": value}
        if count:
            clean = self.dataset.images("validation", count)
            for sigma in self.sigmas:
                errors = (self._denoised(clean, sigma) - clean).square().mean(dim=(1, 2, 3))
                row[f"psnr@{sigma:g}"] = float(-10 * errors.log10().mean())
            self.network.train()
        self._history.append(row)

    def _denoised(self, clean: Tensor, sigma: float) -> Tensor:
        """Return validation images, shape (N, C, H, W), denoised by the network that is kept."""
        shape = image_shape(clean)
        noisy = clean + evaluation_noise(len(clean), shape, sigma, 0, "validation")
        trained, truth = Trained(self.kept, self.device), Truth(clean, self.dataset, "validation")
        devices = [self.device] if self.device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices):
            torch.manual_seed(derive_seed("noise", 0, "validation", float(sigma), "denoiser"))
            return torch.cat([trained.denoise(batch, sigma, truth) for batch in torch.split(noisy, batch_size(shape))])

    def _report(self, loss: Tensor, steps_per_second: float) -> None:
        fraction = min(self._fraction(), 1.0)
        value = self._finite(loss)
        recent = (
            [number for name, number in self._history[-1].items() if name.startswith("psnr@")] if self._history else []
        )
        if self.steps is not None:
            remaining = (self.steps - self._step) / steps_per_second
        else:
            remaining = max((self.training.seconds or 0.0) - self._seconds, 0.0)
        self.report(
            Progress(
                step=self._step,
                steps=self.steps,
                fraction=fraction,
                loss=value,
                psnr=sum(recent) / len(recent) if recent else None,
                images_per_second=steps_per_second * self.training.batch_size,
                remaining_seconds=remaining,
            )
        )

    def _checkpoint(self) -> None:
        if self.checkpoint_path is None:
            return
        state: dict[str, Any] = {
            "step": self._step,
            "seconds": self._seconds,
            "history": self._history,
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "average": self.average.state_dict() if self.average is not None else None,
        }
        checkpoint.write(self.checkpoint_path, state)

    def _resume(self) -> None:
        state = checkpoint.read(self.checkpoint_path) if self.checkpoint_path is not None else None
        if state is None:
            return
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.average is not None and state["average"] is not None:
            self.average.load_state_dict(state["average"])
        self._step, self._seconds, self._history = state["step"], state["seconds"], state["history"]
