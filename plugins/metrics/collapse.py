"""Noise level below which the posterior mean over the training set returns a training image."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from gahbench import Metric, Scores, generator
from gahbench.evaluation import Evaluation

from .._papers import BIROLI_2024
from ._sampled import training_images

#: Number of noise levels of the coarse search, number of bisections that follow, and range of the noise levels.
LEVELS, BISECTIONS = 128, 40
SPAN = (1e-3, 1e2)
#: Number of pairs of a noisy image and a training image that are compared at a time.
PAIRS = 1 << 22


class Collapse(Metric):
    """Noise level at which a noisy training image has half of the posterior weight of the training set.

    A network that memorizes perfectly computes the posterior mean over N training images. For a noisy training image
    y = x_i + sigma z below this noise level, the weight exp(-|y - x_i|^2 / (2 sigma^2)) of x_i exceeds half of the sum
    of the weights of all training images. The posterior mean then leads back to x_i, and samples become copies (Biroli,
    Bonnaire, de Bortoli, Mezard 2024). For white Gaussian images with d values of variance s^2 the level is
    s / sqrt(N^(2/d) - 1) in the limit of large d, which falls very slowly with N. The metric depends on the training
    images only, not on the denoiser. It has no value for a single training image.
    """

    citation = BIROLI_2024
    unit = "σ"
    needs = frozenset({"training"})
    higher_is_better = None

    def score(self, evaluation: Evaluation) -> Scores:
        """Return the level for as many training images as there are test images."""
        if evaluation.learned_from is None:
            return Scores([])
        images = training_images(evaluation).flatten(1).double()
        if len(images) < 2:
            return Scores([])
        chosen = images[: len(evaluation.clean)]
        random = generator("noise", "collapse", evaluation.noise_seed)
        noise = torch.randn(chosen.shape, generator=random, dtype=torch.float64)
        return Scores(collapse_levels(chosen, noise, images).tolist(), image=list(range(len(chosen))))


def collapse_levels(chosen: Tensor, noise: Tensor, images: Tensor) -> Tensor:
    """Return the highest noise levels at which training images have half of the posterior weight, (M,), float64."""
    chunks = torch.split(torch.arange(len(chosen)), max(1, PAIRS // len(images)))
    return torch.cat([_levels(chosen[chunk], noise[chunk], images, chunk) for chunk in chunks])


def _levels(chosen: Tensor, noise: Tensor, images: Tensor, indices: Tensor) -> Tensor:
    # With u = 1 / sigma, the log ratio of the weights of x_j and x_i is
    # -u^2 |x_i - x_j|^2 / 2 - u z.(x_i - x_j).
    squares = torch.cdist(chosen, images).square()
    along = (noise * chosen).sum(1, keepdim=True) - noise @ images.T
    squares[torch.arange(len(chosen)), indices] = torch.inf

    def excess(u: Tensor) -> Tensor:
        log_ratio: Tensor = torch.logsumexp(-u[:, None].square() * squares / 2 - u[:, None] * along, dim=1)
        return log_ratio

    grid = torch.logspace(math.log10(SPAN[1]), math.log10(SPAN[0]), LEVELS, dtype=torch.float64)
    # Find the first level, from strong to weak noise, at which x_i outweighs all other images together.
    below = torch.stack([excess((1 / sigma).expand(len(chosen))) <= 0 for sigma in grid], dim=1)
    first = torch.where(below.any(1), below.double().argmax(1), LEVELS - 1)
    low, high = grid[first].log(), grid[(first - 1).clamp(min=0)].log()
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        inside = excess((-middle).exp()) <= 0
        low, high = torch.where(inside, middle, low), torch.where(inside, high, middle)
    levels: Tensor = low.exp()
    return levels
