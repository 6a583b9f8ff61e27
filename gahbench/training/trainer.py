"""The training loop of a fit, with checkpoints, validation and progress reports."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from gahbench._util.noise import derive_seed, evaluation_noise
from gahbench._util.shapes import image_shape
from gahbench.contracts.datasets import Dataset
from gahbench.contracts.truth import Truth
from gahbench.devices.hardware import FEWER_WORKERS, Batches, hardware, memory_for
from gahbench.networks.trained import Trained, channels_last
from gahbench.training import checkpoint
from gahbench.training.average import AverageStatistics, RunningAverage, full_state, load_full_state
from gahbench.training.batches import TrainingImages, draw_training_noise, error_scale
from gahbench.training.hardware import Acceleration, preserve_process_state, wrong_gradients
from gahbench.training.muon import Muon
from gahbench.training.recipe import Training

OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "muon": Muon,
    "sgd": torch.optim.SGD,
}

#: Minimum seconds between reports of progress, each of which waits for the device.
REPORT_SECONDS = 0.5


class Stopped(Exception):
    """The fit was asked to stop; its checkpoint holds its progress."""


class Diverged(Exception):
    """The loss is not finite."""


def memory_for_step(dataset: Dataset, training: Training) -> contextlib.AbstractContextManager[None]:
    """Return a context that reports running out of memory as a training step that is too large."""
    return memory_for(
        f"a step of {training.batch_size} images of shape {tuple(dataset.shape)}",
        f"a smaller batch_size, {FEWER_WORKERS} or precision: bfloat16",
    )


@dataclass(frozen=True)
class Progress:
    """Progress of a fit, for displays.

    Parameters
    ----------
    step
        Number of finished steps.
    steps
        Total number of steps; ``None`` for a budget of seconds.
    fraction
        Fraction of the budget spent, in [0, 1].
    loss
        Loss of the latest step.
    psnr
        Latest validation PSNR in dB, averaged over noise levels; ``None`` before the first validation.
    images_per_second
        Training images per second.
    remaining_seconds
        Estimated time until the budget is spent.
    """

    step: int
    steps: int | None
    fraction: float
    loss: float
    psnr: float | None
    images_per_second: float
    remaining_seconds: float


@dataclass
class Fitted:
    """A trained network with facts about its training."""

    network: nn.Module
    steps: int
    seconds: float
    acceleration: Acceleration
    history: list[dict[str, float]]


@dataclass
class Trainer:
    """A training loop for one network, whose random numbers depend only on ``seed`` and the step."""

    network: nn.Module
    dataset: Dataset
    training: Training
    seed: int
    acceleration: Acceleration
    sigmas: tuple[float, ...] = (0.1,)
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    checkpoints: checkpoint.Checkpoints | None = None
    keep_snapshot: Callable[[int, nn.Module], None] = lambda step, network: None
    report: Callable[[Progress], None] = lambda progress: None
    should_stop: Callable[[], bool] = lambda: False

    def __post_init__(self) -> None:
        training = self.training
        channels_last(self.network, self.device)
        self._hardware = hardware(self.device)
        self.images = TrainingImages(self.dataset, training, self.seed, self.device)
        self.steps = training.total_steps(self.images.count)
        self._snapshots = frozenset(training.snapshot_steps(self.steps) if self.steps is not None else ())
        parameters = [parameter for parameter in self.network.parameters() if parameter.requires_grad]
        self.optimizer = OPTIMIZERS[training.optimizer](
            parameters, lr=training.learning_rate, weight_decay=training.weight_decay, fused=True
        )
        self.average = RunningAverage(self.network, training.ema) if training.ema else None
        self.statistics = AverageStatistics(self.network, self.steps)
        self._compile()
        self._step = 0
        self._seconds = 0.0
        self._history: list[dict[str, float]] = []
        self._validation_set: Tensor | None = None

    @property
    def stored_network(self) -> nn.Module:
        """The network to store: the running average if ``ema`` is set, else the trained network."""
        return self.average.network if self.average is not None else self.network

    def fit(self) -> Fitted:
        """Train until the budget is spent, from the newest intact checkpoint if there is one."""
        self._resume()
        # Load validation images before the prefetching thread starts to use the dataset.
        self._validation_set = self._validation_images()
        preserved = preserve_process_state() if self.acceleration.compiled else contextlib.nullcontext()
        with preserved, self._hardware.restore_generators(), self.images.prefetch(self._step):
            self._train()
        self.statistics.write()
        self.network.eval()
        self.stored_network.eval()
        return Fitted(self.stored_network, self._step, self._seconds, self.acceleration, self._history)

    def _train(self) -> None:
        started = last_report = time.monotonic()
        pace = checkpoint.Pace(started)
        seconds_before, steps_before = self._seconds, self._step
        self.network.train()
        while (fraction := self._fraction()) < 1.0:
            with memory_for_step(self.dataset, self.training):
                loss = self.step(self._step, fraction)
            self._step += 1
            now = time.monotonic()
            self._seconds = seconds_before + now - started
            if self._is_validation_due(fraction):
                self._validate(loss)
            if self._step in self._snapshots:
                with self.statistics.apply():
                    self.keep_snapshot(self._step, self.stored_network)
            if now - last_report > REPORT_SECONDS or self._fraction() >= 1.0:
                value = self._finite_loss(loss)
                # Take the time again, because reading the loss waited for the GPU.
                last_report = time.monotonic()
                self._report(value, (self._step - steps_before) / max(last_report - started, 1e-9))
            stop = self.should_stop()
            if stop or pace.is_due(now):
                began = time.monotonic()
                self._checkpoint()
                pace.record_write(began, time.monotonic())
            if stop:
                raise Stopped

    def step(self, step: int, fraction: float) -> Tensor:
        """Take one optimiser step and return its loss on the device, without waiting for the device."""
        training = self.training
        clean = self.images.batch(step)
        sigma, noise = draw_training_noise(training, clean.shape, self.seed, step, self.device)
        noisy = (clean + noise).contiguous(memory_format=torch.channels_last)
        loss = self._backpropagate_with_fallback(step, clean, noisy, sigma)
        for group in self.optimizer.param_groups:
            group["lr"] = training.rate(step, fraction)
        if training.clip is not None:
            nn.utils.clip_grad_norm_(self.network.parameters(), training.clip)
        self.optimizer.step()
        self.statistics.update()
        if self.average is not None:
            self.average.update(self.network)
        return loss

    def _backpropagate_with_fallback(self, step: int, clean: Tensor, noisy: Tensor, sigma: Tensor) -> Tensor:
        """Compute the gradients of a step and return its loss; on compiler errors, fall back to less acceleration."""
        try:
            if self._compiled is not None and not self._is_compiled_checked:
                self._check_compiled(step, clean, noisy, sigma)
            return self._backpropagate(step, clean, noisy, sigma, self._compiled, self.acceleration.bfloat16)
        except RuntimeError as error:
            # The compiler or its CUDA graphs may have failed, not the network: retry without them, with a note.
            fallback = self.acceleration.fallback_after(error)
            if fallback is None:
                raise
            self.acceleration = fallback
        self._compile()
        return self._backpropagate_with_fallback(step, clean, noisy, sigma)

    def _check_compiled(self, step: int, clean: Tensor, noisy: Tensor, sigma: Tensor) -> None:
        """Turn the compiler off, with a note, if the compiled network's gradients differ from the eager network's."""
        buffers, bfloat16 = [buffer.clone() for buffer in self.network.buffers()], self.acceleration.bfloat16

        def gradients(compiled: Callable[..., Any] | None, bfloat16: bool) -> dict[str, Tensor]:
            self._backpropagate(step, clean, noisy, sigma, compiled, bfloat16)
            parameters = self.network.named_parameters()
            return {name: value.grad.detach().clone() for name, value in parameters if value.grad is not None}

        try:
            exact = gradients(None, False)
            rounded = gradients(None, True) if bfloat16 else exact
            compiled = gradients(self._compiled, bfloat16)
        finally:
            with torch.no_grad():
                for buffer, saved in zip(self.network.buffers(), buffers, strict=True):
                    buffer.copy_(saved)
        self._is_compiled_checked = True
        if wrong := wrong_gradients(exact, rounded, compiled):
            reason = f"its gradients of {len(wrong)} of {len(exact)} parameters, {wrong[0]} first, are wrong"
            self.acceleration = self.acceleration.without_compiler(reason)
            self._compile()

    def _backpropagate(
        self,
        step: int,
        clean: Tensor,
        noisy: Tensor,
        sigma: Tensor,
        compiled: Callable[..., Any] | None,
        bfloat16: bool,
    ) -> Tensor:
        # Free the gradients before the forward pass, because CUDA graphs reuse their memory.
        self.optimizer.zero_grad(set_to_none=True)
        if self.acceleration.graphs:
            torch.compiler.cudagraph_mark_step_begin()  # type: ignore[no-untyped-call]
        self._hardware.reseed(derive_seed("batches", self.seed, "network", step))
        with torch.autocast(self.device.type, torch.bfloat16, enabled=bfloat16):
            denoised: Tensor = (self.network if compiled is None else compiled)(noisy, sigma)
        if denoised.shape != noisy.shape:
            # Broadcasting would hide the wrong shape in the loss.
            raise ValueError(f"forward returned shape {tuple(denoised.shape)} for images of {tuple(noisy.shape)}")
        residual, power = denoised.float() - clean, 1 if self.training.loss == "mae" else 2
        errors = (residual.abs() if power == 1 else residual.square()).mean(dim=(1, 2, 3))
        loss = (errors / error_scale(self.training, sigma) ** power).mean()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss.detach()

    def _compile(self) -> None:
        mode = "reduce-overhead" if self.acceleration.graphs else None
        self._compiled = torch.compile(self.network, mode=mode) if self.acceleration.compiled else None
        self._is_compiled_checked = False

    def _fraction(self) -> float:
        if self.steps is not None:
            return self._step / self.steps
        return self._seconds / (self.training.seconds or 1.0)

    def _is_validation_due(self, fraction_before: float) -> bool:
        count = self.training.validations
        return int(fraction_before * count) != int(min(self._fraction(), 1.0) * count)

    def _finite_loss(self, loss: Tensor) -> float:
        value: float = loss.item()
        if not math.isfinite(value):
            raise Diverged(f"the loss is {value} after {self._step} steps; try a lower learning_rate or clip")
        return value

    def _validation_images(self) -> Tensor | None:
        available = self.dataset.available("validation")
        requested = self.training.validation_images
        count = requested if available is None else min(requested, available)
        with memory_for(f"a set of {count} validation images", f"fewer validation_images and {FEWER_WORKERS}"):
            return self.dataset.images("validation", count) if count else None

    def _validate(self, loss: Tensor) -> None:
        row: dict[str, float] = {"step": self._step, "seconds": self._seconds, "loss": self._finite_loss(loss)}
        if (clean := self._validation_set) is not None:
            with self.statistics.apply():
                for sigma in self.sigmas:
                    errors = (self._denoise(clean, sigma) - clean).square().mean(dim=(1, 2, 3))
                    row[f"psnr@{sigma:g}"] = float(-10 * errors.log10().mean())
            self.network.train()
        self._history.append(row)

    def _denoise(self, clean: Tensor, sigma: float) -> Tensor:
        """Add noise to validation images, shape (N, C, H, W), and denoise them with the network to store."""
        shape = image_shape(clean)
        noisy = clean + evaluation_noise(len(clean), shape, sigma, 0, "validation")
        trained, truth = Trained(self.stored_network, self.device), Truth(clean, self.dataset, "validation")
        seed = derive_seed("noise", 0, "validation", float(sigma), "denoiser")

        def denoise(size: int) -> Tensor:
            self._hardware.reseed(seed)
            return torch.cat([trained.denoise(batch, sigma, truth) for batch in torch.split(noisy, size)])

        return Batches.for_images(shape).run(denoise)

    def _report(self, loss: float, steps_per_second: float) -> None:
        row = self._history[-1] if self._history else {}
        psnrs = [value for name, value in row.items() if name.startswith("psnr@")]
        psnr = sum(psnrs) / len(psnrs) if psnrs else None
        if self.steps is not None:
            remaining = (self.steps - self._step) / steps_per_second
        else:
            remaining = max((self.training.seconds or 0.0) - self._seconds, 0.0)
        images_per_second, fraction = steps_per_second * self.training.batch_size, min(self._fraction(), 1.0)
        self.report(Progress(self._step, self.steps, fraction, loss, psnr, images_per_second, remaining))

    def _checkpoint(self) -> None:
        if self.checkpoints is None:
            return
        state = {
            "step": self._step,
            "precision": self.acceleration.precision,
            "compiled": self.acceleration.compiled,
            "seconds": self._seconds,
            "history": self._history,
            "network": full_state(self.network),
            "optimizer": self.optimizer.state_dict(),
            "average": self.average.state_dict() if self.average is not None else None,
            "statistics": self.statistics.state_dict(),
        }
        self.checkpoints.write(state)

    def _resume(self) -> None:
        state = self.checkpoints.read() if self.checkpoints is not None else None
        if state is None:
            return
        load_full_state(self.network, state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.average is not None and state["average"] is not None:
            self.average.load_state_dict(state["average"])
        self.statistics.load_state_dict(state["statistics"])
        self._step, self._seconds, self._history = state["step"], state["seconds"], state["history"]
        recorded = self.acceleration.as_recorded(state["precision"], state["compiled"], self.device)
        if recorded != self.acceleration:
            self.acceleration = recorded
            self._compile()
