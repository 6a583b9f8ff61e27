"""Fits that take seconds, for tests of training on any device."""

from __future__ import annotations

import functools
import threading

import torch
from torch import nn

import gahbench
from gahbench.networks.initialisation import build_network
from gahbench.training.batches import THREAD
from gahbench.training.checkpoint import Checkpoints
from gahbench.training.hardware import Acceleration
from gahbench.training.recipe import Training
from gahbench.training.trainer import Trainer

PLAIN = Acceleration(bfloat16=False, compiled=False)
CPU = torch.device("cpu")


def checkpoints_of(folder, key="k1", notes=None):
    """Return the checkpoints of a unit in a folder; their notes are appended to ``notes``."""
    folder.mkdir(exist_ok=True)
    return Checkpoints(folder, key, ([] if notes is None else notes).append)


def make(
    checkpoints=None,
    acceleration=PLAIN,
    seed=0,
    architecture="unet[width=4,levels=1]",
    device=CPU,
    network=None,
    size=16,
    **fields,
):
    """Return a trainer of 30 steps on discs; ``network`` is a function that replaces the architecture."""
    training = Training.model_validate({"steps": 30, "batch_size": 4, "compile": "never", "validations": 3, **fields})
    dataset = gahbench.create("dataset", "discs", size=size)
    build = functools.partial(gahbench.create, "architecture", architecture) if network is None else network
    network = build_network(build, seed, training.initialisation, training.weights_stream)
    return Trainer(network, dataset, training, seed, acceleration, (0.1, 0.3), device, checkpoints)


def weights(network):
    """Return the weights of a network as one vector."""
    return torch.cat([value.flatten() for value in network.state_dict().values()])


class StopAfter:
    """A request to stop after some steps."""

    def __init__(self, steps):
        self.left = steps

    def __call__(self):
        self.left -= 1
        return self.left <= 0


class Dropout(nn.Module):
    """A convolution whose output is dropped half of the time."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Conv2d(1, 1, 3, padding=1)

    def forward(self, noisy, sigma):
        return noisy - nn.functional.dropout(self.layer(noisy), 0.5, self.training)


def prefetch_threads():
    """Return the threads that prefetch images."""
    return [thread for thread in threading.enumerate() if thread.name.startswith(THREAD)]
