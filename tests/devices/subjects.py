"""Inputs of the code paths that compute on a device: plugins, images, networks and evaluations."""

from __future__ import annotations

import copy
import functools
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from small_fits import PLAIN
from small_plugins import NEEDS, small
from torch import Tensor

import gahbench
from gahbench.contracts.captured import Captured
from gahbench.contracts.truth import TrainingData
from gahbench.evaluation.evaluation import Evaluation
from gahbench.networks.initialisation import build_network
from gahbench.networks.network_facts import with_random_weights
from gahbench.networks.trained import Trained
from gahbench.registry.registry import Registry
from gahbench.sampling import Sampling
from gahbench.training.recipe import Training
from gahbench.training.trainer import Trainer

SIGMA, SIDE = 0.1, 16
FAMILIES = ("c-alpha[size=16]", "gaussian-field[size=16]", "discs[size=8]", "faces[size=16]")
#: Plugins that need external files, or modules whose parameters the stand-in GPU cannot replace.
LEFT_OUT = {"hf", "diffusers", "torchscript"}


def plugin_names(kind: Any) -> list[str]:
    """Return the names of built-in plugins that need no additional package."""
    return [name for name in Registry().names(kind) if name not in NEEDS and name not in LEFT_OUT]


def create(kind: str, name: str, **options: Any) -> Any:
    """Return a small plugin with reproducible weights."""
    torch.manual_seed(0)
    parameters = {"reference": "bayes-shrink"} if name == "cycle-spin" else small(name, Path(tempfile.mkdtemp()))
    if name == "pretrained":
        # ffdnet is not blind.
        torch.save(random_network("ffdnet").state_dict(), parameters["checkpoint"])
        parameters["architecture"] = "ffdnet[width=8,layers=5]"
    return gahbench.create(kind, name, **parameters, **options)


def create_on_family(kind: str, name: str, **options: Any) -> tuple[Any, Any, Tensor]:
    """Return a basis or reference, a dataset that supports it, and test images."""
    plugin = create(kind, name, **options)
    for family in FAMILIES:
        dataset = gahbench.create("dataset", family)
        if plugin.supports(dataset):
            return plugin, dataset, clean_images(family)
    raise ValueError(f"{name}: not supported by {', '.join(FAMILIES)}")


@functools.cache
def clean_images(family: str = FAMILIES[0], count: int = 2) -> Tensor:
    """Return test images of a family."""
    return gahbench.create("dataset", family).images("test", count)


def noisy_images(clean: Tensor) -> Tensor:
    """Return images with noise of standard deviation ``SIGMA``."""
    return clean + SIGMA * torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))


def random_network(name: str, seed: int = 0) -> torch.nn.Module:
    """Return a small network with random weights, in evaluation mode."""
    parameters = small(name, Path(tempfile.mkdtemp())) | ({"width": 4, "layers": 3} if name == "bf-cnn" else {})
    configured, shape = Registry().configure("architecture", name, **parameters), (1, SIDE, SIDE)
    return with_random_weights(build_network(lambda: configured.build(shape), seed), shape).eval()


@functools.cache
def trained_network(seed: int) -> torch.nn.Module:
    """Return a briefly trained network."""
    training = Training(steps=40, batch_size=16, compile="never", learning_rate=1e-2)
    network = build_network(lambda: gahbench.create("architecture", "bf-cnn", width=8, layers=4), seed)
    return Trainer(network, gahbench.create("dataset", FAMILIES[0]), training, seed, PLAIN).fit().network


@functools.cache
def evaluation_on(device: torch.device, family: str) -> Evaluation:
    """Return an evaluation with everything that a metric may need; metrics share its cached results."""
    dataset = gahbench.create("dataset", family)
    clean, sigmas = dataset.images("test", 2), (0.05, 0.1, 0.2, 0.4, 0.8)
    networks = [trained_network(0), trained_network(1), random_network("bf-cnn")]
    if "sinusoids" in family:
        # The metric of local dimension needs networks that are not blind.
        networks = [random_network("ffdnet", seed) for seed in (0, 1, 2)]
    first, second, start = (Trained(copy.deepcopy(network), device) for network in networks)
    settings = Sampling(count=4, sampler="flow", sigma_start=1.0, sigma_end=0.05)
    options: dict[str, Any] = {"dataset": dataset, "device": device, "sampling": settings}
    trajectories = [
        [(step, lambda denoiser=denoiser: denoiser) for step, denoiser in ((1, start), (2, last), (4, last))]
        for last in (first, second)
    ]
    halves = TrainingData(dataset, "train-a", 8), TrainingData(dataset, "train-b", 8)
    partner = Evaluation(second, clean, sigmas, learned_from=halves[1], snapshots=trajectories[1], **options)
    return Evaluation(
        first, clean, sigmas, learned_from=halves[0], snapshots=trajectories[0], partner=partner, **options
    )


def captured_at_two_levels(evaluation: Evaluation) -> Evaluation:
    """Return the evaluation of an entrant on noisy images that were recorded, at a noise level for each image."""
    levels = torch.tensor([SIGMA, 2 * SIGMA], dtype=torch.float64)
    noise = (noisy_images(evaluation.clean) - evaluation.clean) / SIGMA
    captured = Captured(evaluation.clean + levels.float().view(-1, 1, 1, 1) * noise, levels, torch.zeros_like(levels))
    return replace(evaluation, sigmas=(SIGMA,), captured=captured)
