"""Fits, which train a network from a seed and write its weights, history and snapshots."""

from __future__ import annotations

import copy
import csv
import functools
import hashlib
import io
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from gahbench._util.errors import error_text
from gahbench._util.files import storing, write_atomically
from gahbench.contracts.datasets import Dataset
from gahbench.devices.hardware import hardware, is_out_of_memory
from gahbench.networks.initialisation import build_network
from gahbench.networks.precision import MIN_SECONDS, Choice, Choices, Precision, pass_seconds
from gahbench.networks.trained import channels_last
from gahbench.training.batches import training_count
from gahbench.training.checkpoint import Checkpoints
from gahbench.training.file_names import HISTORY, WEIGHTS, snapshot_file
from gahbench.training.hardware import Acceleration, choose_acceleration
from gahbench.training.recipe import Training
from gahbench.training.trainer import Fitted, Progress, Trainer, memory_for_step


@dataclass(frozen=True)
class Fit:
    """Facts about a finished fit, and the names of the files that it wrote."""

    facts: dict[str, Any]
    files: tuple[str, ...]


def fit(
    build: Callable[[], nn.Module],
    dataset: Dataset,
    training: Training,
    seed: int,
    folder: Path,
    device: torch.device,
    report: Callable[[Progress], None] = lambda progress: None,
    should_stop: Callable[[], bool] = lambda: False,
    choices: Choices | None = None,
    checkpoints: Checkpoints | None = None,
) -> Fit:
    """Train a network and write its weights, history and snapshots into a folder, resuming from a checkpoint."""
    hardware(device).use_float32()
    network = build_network(build, seed, training.initialisation, training.weights_stream)
    with memory_for_step(dataset, training):
        acceleration = autotune(network, dataset, training, device, choices or Choices())
    fitted = Trainer(
        network,
        dataset,
        training,
        seed,
        acceleration,
        validation_sigmas(training),
        device,
        checkpoints,
        functools.partial(_keep_snapshot, folder, checkpoints),
        report,
        should_stop,
    ).fit()
    save_weights(folder / WEIGHTS, fitted.network)
    _write_history(folder / HISTORY, fitted.history)
    snapshots = training.snapshot_steps(fitted.steps)
    return Fit(_facts(fitted, training, device), (WEIGHTS, HISTORY, *map(snapshot_file, snapshots)))


def save_weights(path: Path, network: nn.Module) -> str:
    """Write the weights of a network atomically, and return the SHA-256 of the file."""
    from safetensors.torch import save

    state = {name: value.detach().cpu().clone().contiguous() for name, value in network.state_dict().items()}
    # Errors of safetensors.torch.save_file do not say whether the file system has failed.
    content = save(state)
    with storing(path):
        write_atomically(path, content)
    return hashlib.sha256(content).hexdigest()


def _keep_snapshot(folder: Path, checkpoints: Checkpoints | None, step: int, network: nn.Module) -> None:
    digest = save_weights(folder / snapshot_file(step), network)
    if checkpoints is not None:
        checkpoints.snapshots[snapshot_file(step)] = digest


def validation_sigmas(training: Training) -> tuple[float, ...]:
    """Return five noise levels at which the history records the PSNR, logarithmically spaced over the trained range."""
    low, high = max(training.sigma_min, 0.01), training.sigma_max
    return tuple(float(f"{low * (high / low) ** (index / 4):.3g}") for index in range(5))


def _facts(fitted: Fitted, training: Training, device: torch.device) -> dict[str, Any]:
    return {
        "steps": fitted.steps,
        "train_seconds": fitted.seconds,
        "budget": training.budget,
        "parameters": sum(parameter.numel() for parameter in fitted.network.parameters()),
        "device": hardware(device).name,
        "threads": torch.get_num_threads(),
        "precision": fitted.acceleration.precision,
        "precision_reason": fitted.acceleration.choice.reason,
        "precision_seconds": dict(fitted.acceleration.choice.seconds),
        "compiled": fitted.acceleration.compiled,
        "notes": list(fitted.acceleration.notes),
    }


def autotune(
    network: nn.Module, dataset: Dataset, training: Training, device: torch.device, choices: Choices
) -> Acceleration:
    """Choose precision and compilation for a fit, by timing steps on a copy of the network if the fit is long."""
    if training.precision != "auto" and training.compile != "auto":
        return choose_acceleration(training, Choice(), 0.0, device)
    steps = training.total_steps(training_count(dataset, training))
    if steps is None:
        # The number of steps in a budget of seconds is not known yet, so time a few small batches.
        images, passes = min(training.batch_size, 8), math.inf if (training.seconds or 0.0) >= MIN_SECONDS else 0.0
    else:
        planned = training.batch_size * steps
        # Up to ten passes are timed, which should take at most a hundredth of the work.
        images = min(training.batch_size, max(2, planned // 1000))
        passes = planned / images
    shape, seconds = (images, *dataset.shape), None
    with hardware(device).restore_generators():
        try:
            run, choice = _build_timed_step(network, shape, device), Choice()
            if training.precision == "auto":
                choice = choices.make("training", network, shape, device, passes, run)
            precision = choice.precision if training.precision == "auto" else training.precision
            seconds = choice.seconds.get(precision)
            if seconds is None and training.compile == "auto" and steps is not None:
                seconds = pass_seconds(run, precision, passes, device)
        except Exception as error:
            if is_out_of_memory(error):
                raise
            # A network that cannot be copied, or cannot process part of a batch, can still be trained.
            choice = Choice(reason=f"a step could not be timed: {error_text(error)}")
    planned_seconds = training.seconds if training.seconds is not None else (seconds or 0.0) * passes
    return choose_acceleration(training, choice, planned_seconds, device)


def _build_timed_step(
    network: nn.Module, shape: tuple[int, ...], device: torch.device
) -> Callable[[Precision], object]:
    """Return a function that runs a forward and backward pass of a copy of a network in a given precision."""
    network_copy = channels_last(copy.deepcopy(network), device).train()
    noisy = torch.rand(shape, device=device).contiguous(memory_format=torch.channels_last)
    sigma = torch.full((shape[0],), 0.1, device=device)

    def run(precision: Precision) -> Tensor:
        with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16"):
            denoised = network_copy(noisy, sigma)
        loss: Tensor = denoised.float().square().mean()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss.detach()

    return run


def _write_history(path: Path, history: list[dict[str, float]]) -> None:
    names = list(dict.fromkeys(name for row in history for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(history)
    with storing(path):
        write_atomically(path, text.getvalue().encode())
