"""A fit unit: a network trained from a seed, and its files."""

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

from gahbench._util.error_text import error_text
from gahbench._util.files import storing, write_whole
from gahbench.contracts.datasets import Dataset
from gahbench.devices.hardware import hardware, is_out_of_memory
from gahbench.networks.initialisation import build_network
from gahbench.networks.precision import MIN_SECONDS, Choice, Choices, Precision, pass_seconds
from gahbench.networks.trained import channels_last
from gahbench.training.batches import training_count
from gahbench.training.checkpoint import Checkpoints
from gahbench.training.file_names import HISTORY, WEIGHTS, snapshot_file
from gahbench.training.hardware import Acceleration, choose
from gahbench.training.recipe import Training
from gahbench.training.trainer import Fitted, Progress, Trainer, memory_for_step


@dataclass(frozen=True)
class Fit:
    """The outcome of a fit."""

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
        chosen = acceleration(network, dataset, training, device, choices or Choices())
    fitted = Trainer(
        network,
        dataset,
        training,
        seed,
        chosen,
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
    """Write the weights of a network, whole or not at all, and return the SHA-256 of the file."""
    from safetensors.torch import save

    state = {name: value.detach().cpu().clone().contiguous() for name, value in network.state_dict().items()}
    # safetensors' own writer raises errors that do not say whether the file system has failed.
    content = save(state)
    with storing(path):
        write_whole(path, content)
    return hashlib.sha256(content).hexdigest()


def _keep_snapshot(folder: Path, checkpoints: Checkpoints | None, step: int, network: nn.Module) -> None:
    digest = save_weights(folder / snapshot_file(step), network)
    if checkpoints is not None:
        checkpoints.snapshots[snapshot_file(step)] = digest


def validation_sigmas(training: Training) -> tuple[float, ...]:
    """Return the noise levels of a fit's history: five over the trained range, equally spaced in decibels."""
    low, high = max(training.sigma_min, 0.01), training.sigma_max
    return tuple(float(f"{low * (high / low) ** (place / 4):.3g}") for place in range(5))


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


def acceleration(
    network: nn.Module, dataset: Dataset, training: Training, device: torch.device, choices: Choices
) -> Acceleration:
    """Decide on precision and compilation for a fit, by timed passes of a copy of the network where they pay."""
    if training.precision != "auto" and training.compile != "auto":
        return choose(training, Choice(), 0.0, device)
    steps = training.total_steps(training_count(dataset, training))
    if steps is None:
        # How many passes a budget of seconds has is not known yet: a few small ones do no harm.
        images, passes = min(training.batch_size, 8), math.inf if (training.seconds or 0.0) >= MIN_SECONDS else 0.0
    else:
        planned = training.batch_size * steps
        # Some ten passes may be timed, in a hundredth of the work.
        images = min(training.batch_size, max(2, planned // 1000))
        passes = planned / images
    shape, seconds = (images, *dataset.shape), None
    with hardware(device).restored():
        try:
            run, choice = _passes(network, shape, device), Choice()
            if training.precision == "auto":
                choice = choices.make("training", network, shape, device, passes, run)
            precision = choice.precision if training.precision == "auto" else training.precision
            seconds = choice.seconds.get(precision)
            if seconds is None and training.compile == "auto" and steps is not None:
                seconds = pass_seconds(run, precision, passes, device)
        except Exception as error:
            if is_out_of_memory(error):
                raise
            # Networks that cannot be copied, or run on a part of a batch, can still be trained.
            choice = Choice(reason=f"a step could not be timed: {error_text(error)}")
    planned_seconds = training.seconds if training.seconds is not None else (seconds or 0.0) * passes
    return choose(training, choice, planned_seconds, device)


def _passes(network: nn.Module, shape: tuple[int, ...], device: torch.device) -> Callable[[Precision], object]:
    """Return a function that runs a copy of a network forward and back on a batch, in a given precision."""
    copied = channels_last(copy.deepcopy(network), device).train()
    noisy = torch.rand(shape, device=device).contiguous(memory_format=torch.channels_last)
    sigma = torch.full((shape[0],), 0.1, device=device)

    def run(precision: Precision) -> Tensor:
        with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16"):
            denoised = copied(noisy, sigma)
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
        write_whole(path, text.getvalue().encode())
