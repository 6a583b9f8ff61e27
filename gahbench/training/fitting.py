"""A fit unit: a network trained from a seed, and its files."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from gahbench._util.bfloat16 import has_bfloat16
from gahbench._util.files import flush, temporary_name, write_whole
from gahbench.contracts.datasets import Dataset
from gahbench.networks.initialisation import build_network
from gahbench.networks.trained import use_float32
from gahbench.training.batches import training_count
from gahbench.training.file_names import CHECKPOINT, HISTORY, WEIGHTS, snapshot_file
from gahbench.training.hardware import choose, multiply_adds, nominal_rate
from gahbench.training.recipe import Training
from gahbench.training.trainer import Fitted, Progress, Trainer


@dataclass(frozen=True)
class Fit:
    """The outcome of a fit.

    Parameters
    ----------
    facts
        Steps, seconds, parameters, device, threads, precision: plain JSON.
    files
        Names of the files that are to be kept.
    """

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
) -> Fit:
    """Train a network and write its weights, history and snapshots into a folder, resuming from a checkpoint there.

    Parameters
    ----------
    build
        Calls the constructor of the architecture for images of the dataset.
    training
        The recipe, for one number of images and one split.
    seed
        Names the initialisation, the order of the images, and the noise.
    report, should_stop
        As of :class:`gahbench.training.trainer.Trainer`.

    Raises
    ------
    Stopped
        If asked to stop; a checkpoint has been written.
    Exception
        Whatever the network or the dataset raises.
    """
    use_float32(device)
    network = build_network(build, seed, training.initialisation, training.weights_stream)
    work = _planned_work(build, dataset, training, device)
    trainer = Trainer(
        network,
        dataset,
        training,
        seed,
        choose(training, work, device, torch.get_num_threads()),
        validation_sigmas(training),
        device,
        folder / CHECKPOINT,
        lambda step, kept: save_weights(folder / snapshot_file(step), kept),
        report,
        should_stop,
    )
    fitted = trainer.fit()
    save_weights(folder / WEIGHTS, fitted.network)
    _write_history(folder / HISTORY, fitted.history)
    snapshots = training.snapshot_steps(fitted.steps)
    return Fit(_facts(fitted, training, device), (WEIGHTS, HISTORY, *map(snapshot_file, snapshots)))


def save_weights(path: Path, network: nn.Module) -> None:
    """Write the weights of a network, whole or not at all."""
    from safetensors.torch import save_file

    state = {name: value.detach().cpu().clone().contiguous() for name, value in network.state_dict().items()}
    temporary = temporary_name(path)
    try:
        save_file(state, temporary)
        # On the disk before a checkpoint that counts on it.
        flush(temporary)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def validation_sigmas(training: Training) -> tuple[float, ...]:
    """Return the noise levels of a fit's history: five over the trained range, equally spaced in decibels."""
    low, high = max(training.sigma_min, 0.01), training.sigma_max
    return tuple(float(f"{low * (high / low) ** (place / 4):.3g}") for place in range(5))


def device_name(device: torch.device) -> str:
    """Return the name of a device: the GPU's own, or ``cpu``."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"


def _facts(fitted: Fitted, training: Training, device: torch.device) -> dict[str, Any]:
    return {
        "steps": fitted.steps,
        "train_seconds": fitted.seconds,
        "budget": training.budget,
        "parameters": sum(parameter.numel() for parameter in fitted.network.parameters()),
        "device": device_name(device),
        "threads": torch.get_num_threads(),
        "precision": fitted.acceleration.precision,
        "compiled": fitted.acceleration.compiled,
        "notes": list(fitted.acceleration.notes),
    }


def _planned_work(build: Callable[[], nn.Module], dataset: Dataset, training: Training, device: torch.device) -> float:
    """Return the multiply-adds of a fit; 0 where they cannot be counted, so that compiling is not worth it."""
    steps = training.total_steps(training_count(dataset, training))
    if steps is None:
        # A time budget: only the duration matters.
        rate = nominal_rate(device, has_bfloat16(device), torch.get_num_threads())
        return (training.seconds or 0.0) * rate
    try:
        with torch.device("meta"):
            network = build()
        return 3 * multiply_adds(network.eval(), dataset.shape) * training.batch_size * steps
    except Exception:
        return 0.0  # Not every operation can be counted on the meta device.


def _write_history(path: Path, history: list[dict[str, float]]) -> None:
    names = list(dict.fromkeys(name for row in history for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(history)
    write_whole(path, text.getvalue().encode())
