"""The training loop of a fit, with checkpoints, validation and progress reports."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from gahbench._util.errors import error_text
from gahbench._util.noise import derive_seed, evaluation_noise
from gahbench._util.shapes import image_shape
from gahbench.contracts.datasets import Dataset
from gahbench.contracts.truth import Truth
from gahbench.devices.hardware import FEWER_WORKERS, Batches, hardware, is_out_of_memory, memory_for
from gahbench.networks.trained import Trained, channels_last
from gahbench.training.average import RunningAverage
from gahbench.training.batches import TrainingImages, draw_training_noise, error_scale
from gahbench.training.checkpoint import Checkpoints, pause_after
from gahbench.training.hardware import Acceleration, wrong_gradients
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


@dataclass
class Trainer:
    """A training loop for one network, whose random numbers depend only on ``seed`` and the step.

    ``report`` is called with the keywords ``step``, ``steps``, ``fraction`` (of the steps), ``loss``, ``psnr`` (latest
    of validation in dB, a mean over noise levels, or ``None``), ``images_per_second`` and ``remaining_seconds``.
    """

    network: nn.Module
    dataset: Dataset
    training: Training
    seed: int
    acceleration: Acceleration
    sigmas: tuple[float, ...] = (0.1,)
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    checkpoints: Checkpoints | None = None
    keep_snapshot: Callable[[int, nn.Module], None] = lambda step, network: None
    report: Callable[..., object] = lambda **progress: None
    should_stop: Callable[[], bool] = lambda: False

    def __post_init__(self) -> None:
        training = self.training
        channels_last(self.network, self.device)
        self._hardware = hardware(self.device)
        self.images = TrainingImages(self.dataset, training, self.seed, self.device)
        self.steps = training.total_steps(self.images.count)
        parameters = [parameter for parameter in self.network.parameters() if parameter.requires_grad]
        self.optimizer = OPTIMIZERS[training.optimizer](
            parameters, lr=training.learning_rate, weight_decay=training.weight_decay, fused=True
        )
        #: What is validated and stored.
        self.average = RunningAverage(self.network, self.steps, training.ema)
        #: The compiled network, after its gradients were checked.
        self._compiled: Callable[..., Tensor] | None = None
        self._step = 0
        self.seconds = 0.0
        #: The loss, and the PSNR on validation images at each noise level, at regular steps.
        self.history: list[dict[str, float]] = []

    def fit(self) -> nn.Module:
        """Return the network after its last step, training from the newest intact checkpoint if there is one."""
        self._resume()
        # Load validation images before the prefetching thread starts to use the dataset.
        validation = self._validation_images()
        with self._hardware.restore_generators(), self.images.prefetch(self._step):
            self._train(validation)
        self.average.write()
        return self.network.eval()

    def _train(self, validation: Tensor | None) -> None:
        started = last_report = time.monotonic()
        next_checkpoint = started + pause_after(0.0)
        seconds_before, steps_before = self.seconds, self._step
        snapshots, validations = self.training.snapshot_steps(self.steps), self.training.validations
        self.network.train()
        while self._step < self.steps:
            with memory_for_step(self.dataset, self.training):
                loss = self.step(self._step, self._step / self.steps)
            self._step += 1
            now = time.monotonic()
            self.seconds = seconds_before + now - started
            if self._step * validations // self.steps > (self._step - 1) * validations // self.steps:
                self._validate(loss, validation)
            if self._step in snapshots:
                with self.average.apply():
                    self.keep_snapshot(self._step, self.network)
            if now - last_report > REPORT_SECONDS or self._step == self.steps:
                value = self._finite_loss(loss)
                # Take the time again, because reading the loss waited for the GPU.
                last_report = time.monotonic()
                self._report(value, (self._step - steps_before) / max(last_report - started, 1e-9))
            stop = self.should_stop()
            if stop or now >= next_checkpoint:
                began = time.monotonic()
                self._checkpoint()
                ended = time.monotonic()
                next_checkpoint = ended + pause_after(ended - began)
            if stop:
                raise Stopped

    def step(self, step: int, fraction: float) -> Tensor:
        """Take one optimiser step and return its loss on the device, without waiting for the device."""
        training = self.training
        clean = self.images.batch(step)
        sigma, noise = draw_training_noise(training, clean.shape, self.seed, step, self.device)
        noisy = (clean + noise).contiguous(memory_format=torch.channels_last)
        if self.acceleration.compiled and self._compiled is None:
            self._compile(step, clean, noisy, sigma)
        loss = self._backpropagate(step, clean, noisy, sigma, self._compiled, self.acceleration.bfloat16)
        for group in self.optimizer.param_groups:
            group["lr"] = training.rate(step, fraction)
        if training.clip is not None:
            nn.utils.clip_grad_norm_(self.network.parameters(), training.clip)
        self.optimizer.step()
        self.average.update()
        return loss

    def _compile(self, step: int, clean: Tensor, noisy: Tensor, sigma: Tensor) -> None:
        """Compile the network, unless the compiler fails or its gradients differ from the eager network's."""
        buffers, bfloat16 = [buffer.clone() for buffer in self.network.buffers()], self.acceleration.bfloat16
        mode = "reduce-overhead" if self._hardware.is_accelerator else None

        def gradients(network: Callable[..., Any] | None, bfloat16: bool) -> dict[str, Tensor]:
            self._backpropagate(step, clean, noisy, sigma, network, bfloat16)
            parameters = self.network.named_parameters()
            return {name: value.grad.detach().clone() for name, value in parameters if value.grad is not None}

        exact = gradients(None, False)
        rounded = gradients(None, True) if bfloat16 else exact
        try:
            self._compiled = torch.compile(self.network, mode=mode)
            wrong = wrong_gradients(exact, rounded, gradients(self._compiled, bfloat16))
            reason = f"its gradients of {', '.join(wrong[:3])} are wrong" if wrong else ""
        except Exception as error:
            if is_out_of_memory(error):
                raise
            reason = error_text(error).splitlines()[0]
        if reason:
            self._compiled, self.acceleration = None, self.acceleration.without_compiler(reason)
        with torch.no_grad():
            for buffer, saved in zip(self.network.buffers(), buffers, strict=True):
                buffer.copy_(saved)

    def _backpropagate(
        self,
        step: int,
        clean: Tensor,
        noisy: Tensor,
        sigma: Tensor,
        compiled: Callable[..., Tensor] | None,
        bfloat16: bool,
    ) -> Tensor:
        # Free the gradients before the forward pass, because CUDA graphs reuse their memory.
        self.optimizer.zero_grad(set_to_none=True)
        if compiled is not None and self._hardware.is_accelerator:
            torch.compiler.cudagraph_mark_step_begin()
        self._hardware.reseed(derive_seed("batches", self.seed, "network", step))
        with torch.autocast(self.device.type, torch.bfloat16, enabled=bfloat16):
            denoised: Tensor = (self.network if compiled is None else compiled)(noisy, sigma)
        if denoised.shape != noisy.shape:
            # Broadcasting would hide the wrong shape in the loss.
            raise ValueError(f"forward returned shape {tuple(denoised.shape)} for images of {tuple(noisy.shape)}")
        errors = (denoised.float() - clean).square().mean(dim=(1, 2, 3))
        loss = (errors / error_scale(self.training, sigma) ** 2).mean()
        loss.backward()
        return loss.detach()

    def _finite_loss(self, loss: Tensor) -> float:
        value: float = loss.item()
        if not math.isfinite(value):
            raise Diverged(f"the loss is {value} after {self._step} steps; try a lower learning_rate or clip")
        return value

    def _validation_images(self) -> Tensor | None:
        available, requested = self.dataset.available("validation"), self.training.validation_images
        count = requested if available is None else min(requested, available)
        with memory_for(f"a set of {count} validation images", f"fewer validation_images and {FEWER_WORKERS}"):
            return self.dataset.images("validation", count) if count else None

    def _validate(self, loss: Tensor, clean: Tensor | None) -> None:
        row: dict[str, float] = {"step": self._step, "seconds": self.seconds, "loss": self._finite_loss(loss)}
        if clean is not None:
            with self.average.apply():
                for sigma in self.sigmas:
                    errors = (self._denoise(clean, sigma) - clean).square().mean(dim=(1, 2, 3))
                    row[f"psnr@{sigma:g}"] = float(-10 * errors.log10().mean())
            self.network.train()
        self.history.append(row)

    def _denoise(self, clean: Tensor, sigma: float) -> Tensor:
        """Add noise to validation images, shape (N, C, H, W), and denoise them."""
        shape = image_shape(clean)
        noisy = clean + evaluation_noise(len(clean), shape, sigma, 0, "validation")
        trained, truth = Trained(self.network, self.device), Truth(clean, self.dataset, "validation")

        def denoise(size: int) -> Tensor:
            self._hardware.reseed(derive_seed("noise", 0, "validation", float(sigma), "denoiser"))
            return torch.cat([trained.denoise(batch, sigma, truth) for batch in torch.split(noisy, size)])

        return Batches.for_images(shape).run(denoise)

    def _report(self, loss: float, steps_per_second: float) -> None:
        row = self.history[-1] if self.history else {}
        psnrs = [value for name, value in row.items() if name.startswith("psnr@")]
        self.report(
            step=self._step,
            steps=self.steps,
            fraction=self._step / self.steps,
            loss=loss,
            psnr=sum(psnrs) / len(psnrs) if psnrs else None,
            images_per_second=steps_per_second * self.training.batch_size,
            remaining_seconds=(self.steps - self._step) / steps_per_second,
        )

    def _stateful(self) -> dict[str, Any]:
        """Return the objects whose states a checkpoint holds, by name."""
        return {"network": self.network, "optimizer": self.optimizer, "average": self.average}

    def _checkpoint(self) -> None:
        if self.checkpoints is not None:
            self.checkpoints.write({
                "step": self._step,
                "precision": self.acceleration.precision,
                "compiled": self.acceleration.compiled,
                "seconds": self.seconds,
                "history": self.history,
                **{name: value.state_dict() for name, value in self._stateful().items()},
            })  # fmt: skip

    def _resume(self) -> None:
        state = self.checkpoints.read() if self.checkpoints is not None else None
        if state is None:
            return
        for name, value in self._stateful().items():
            value.load_state_dict(state[name])
        self._step, self.seconds, self.history = state["step"], state["seconds"], state["history"]
        # Go on as the fit was started, so that it ends as without an interruption.
        bfloat16 = state["precision"] == "bfloat16"
        self.acceleration = replace(self.acceleration, bfloat16=bfloat16, compiled=state["compiled"])
