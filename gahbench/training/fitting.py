"""Fits, which train a network from a seed and write its weights, history and snapshots."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from gahbench._util.files import storing, write_atomically
from gahbench.contracts.datasets import Dataset
from gahbench.devices.hardware import hardware
from gahbench.networks.initialisation import build_network
from gahbench.training.batches import training_count
from gahbench.training.checkpoint import Checkpoints
from gahbench.training.file_names import HISTORY, WEIGHTS, snapshot_file
from gahbench.training.hardware import autotune
from gahbench.training.recipe import Training
from gahbench.training.trainer import Trainer, memory_for_step


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
    report: Callable[..., object] = lambda **progress: None,
    should_stop: Callable[[], bool] = lambda: False,
    checkpoints: Checkpoints | None = None,
) -> Fit:
    """Train a network and write its weights, history and snapshots into a folder, resuming from a checkpoint."""
    import pandas as pd

    hardware(device).use_float32()
    network = build_network(build, seed, training.initialisation, training.weights_stream)
    steps = training.total_steps(training_count(dataset, training))
    with memory_for_step(dataset, training):
        acceleration = autotune(network, dataset.shape, training, steps, device)
    trainer = Trainer(
        network,
        dataset,
        training,
        seed,
        acceleration,
        validation_sigmas(training),
        device,
        checkpoints,
        lambda step, network: save_weights(folder / snapshot_file(step), network),
        report,
        should_stop,
    )
    trained = trainer.fit()
    save_weights(folder / WEIGHTS, trained)
    history = pd.DataFrame(trainer.history).to_csv(index=False, lineterminator="\n")
    with storing(folder / HISTORY):
        write_atomically(folder / HISTORY, history.encode())
    facts = {
        "steps": steps,
        "train_seconds": trainer.seconds,
        "budget": "epochs" if training.steps is None else "steps",
        "parameters": sum(parameter.numel() for parameter in trained.parameters()),
        "device": hardware(device).name,
        "threads": torch.get_num_threads(),
        "precision": trainer.acceleration.precision,
        "compiled": trainer.acceleration.compiled,
        "notes": list(trainer.acceleration.notes),
    }
    return Fit(facts, (WEIGHTS, HISTORY, *map(snapshot_file, training.snapshot_steps(steps))))


def save_weights(path: Path, network: nn.Module) -> None:
    """Write the weights of a network atomically."""
    from safetensors.torch import save

    state = {name: value.detach().cpu().clone().contiguous() for name, value in network.state_dict().items()}
    # Errors of safetensors.torch.save_file do not say whether the file system has failed.
    content = save(state)
    with storing(path):
        write_atomically(path, content)


def validation_sigmas(training: Training) -> tuple[float, ...]:
    """Return five noise levels at which the history records the PSNR, logarithmically spaced over the trained range."""
    low, high = max(training.sigma_min, 0.01), training.sigma_max
    return tuple(float(f"{low * (high / low) ** (index / 4):.3g}") for index in range(5))
