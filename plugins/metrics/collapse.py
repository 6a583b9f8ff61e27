"""The noise level below which memorization is exact."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from gahbench import Metric, Scores, generator
from gahbench.evaluation import Evaluation

from .._papers import BIROLI_2024
from ._sampled import training_images

#: Noise levels among which the first one is searched for, and how often the interval is halved then.
LEVELS, HALVINGS = 128, 40
SPAN = (1e-3, 1e2)
#: Images and training images that are compared at a time.
PART = 1 << 22


class Collapse(Metric):
    """Noise level of the collapse, at which a noisy training image has half of the posterior of the training set.

    The posterior mean over N training images is what a network that memorizes perfectly computes. Above this level a
    noisy training image y = x_i + sigma z could be many of them; below, the weight of x_i among those of all images,
    exp(-|y - x_j|^2 / (2 sigma^2)), is more than half, and the posterior mean leads back to it: samples become copies
    (Biroli, Bonnaire, de Bortoli, Mezard 2024). For white Gaussian images of d values of variance s^2 it is
    s / sqrt(N^(2/d) - 1), in the limit of large d: it falls, very slowly, as images grow in number. It depends on the
    training images alone, not on the denoiser; of a single image there is none.
    """

    citation = BIROLI_2024
    unit = "σ"
    needs = frozenset({"training"})
    higher_is_better = None

    def score(self, evaluation: Evaluation) -> Scores:
        """Return the level of as many training images as there are test images."""
        if evaluation.learned_from is None:
            return Scores([])
        images = training_images(evaluation).flatten(1).double()
        if len(images) < 2:
            return Scores([])
        chosen = images[: len(evaluation.clean)]
        draw = generator("noise", "collapse", evaluation.noise_seed)
        noise = torch.randn(chosen.shape, generator=draw, dtype=torch.float64)
        return Scores(collapse_levels(chosen, noise, images).tolist(), image=list(range(len(chosen))))


def collapse_levels(chosen: Tensor, noise: Tensor, images: Tensor) -> Tensor:
    """Return the highest noise levels at which training images have half of the posterior, shape (M,), float64."""
    parts = torch.split(torch.arange(len(chosen)), max(1, PART // len(images)))
    return torch.cat([_levels(chosen[part], noise[part], images, part) for part in parts])


def _levels(chosen: Tensor, noise: Tensor, images: Tensor, places: Tensor) -> Tensor:
    # With u = 1 / sigma, the log of the weight of image j over that of the own one is
    # -u^2 |x_i - x_j|^2 / 2 - u z.(x_i - x_j).
    squares = torch.cdist(chosen, images).square()
    along = (noise * chosen).sum(1, keepdim=True) - noise @ images.T
    squares[torch.arange(len(chosen)), places] = torch.inf

    def excess(u: Tensor) -> Tensor:
        found: Tensor = torch.logsumexp(-u[:, None].square() * squares / 2 - u[:, None] * along, dim=1)
        return found

    grid = torch.logspace(math.log10(SPAN[1]), math.log10(SPAN[0]), LEVELS, dtype=torch.float64)
    # From strong to weak noise, the first level at which all others together weigh less than the own image.
    below = torch.stack([excess((1 / sigma).expand(len(chosen))) <= 0 for sigma in grid], dim=1)
    first = torch.where(below.any(1), below.double().argmax(1), LEVELS - 1)
    low, high = grid[first].log(), grid[(first - 1).clamp(min=0)].log()
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        inside = excess((-middle).exp()) <= 0
        low, high = torch.where(inside, middle, low), torch.where(inside, high, middle)
    levels: Tensor = low.exp()
    return levels
