"""The cost of denoising: multiply-adds per pixel, and seconds per megapixel on this machine."""

from __future__ import annotations

import contextlib
import copy
import math
import time

import torch
from torch import nn

from gahbench._util.noise import derive_seed
from gahbench.board.ranks import PRACTICAL_KINDS
from gahbench.contracts.denoisers import visible_truth
from gahbench.contracts.truth import Truth
from gahbench.evaluation.evaluation import Evaluation
from gahbench.training.hardware import multiply_adds

#: The number of images that are denoised together, as far as there are so many and they fit into memory.
IMAGES = 16
#: Batches are timed until this number is reached, or until they have taken this many seconds together.
REPETITIONS, MAX_SECONDS = 20, 0.5


def measure_cost(evaluation: Evaluation) -> dict[str, float]:
    """Measure the cost of a denoiser that has been scored, at the middle noise level.

    Oracles and optimal denoisers, which nobody can use in practice, have no cost.

    Returns
    -------
    dict
        ``seconds``, per megapixel: those of the fastest of several batches, each with fresh noise, since other
        processes may slow down some of them; ``multiply_adds``, per pixel: only of networks that torch's meta device
        supports.
    """
    cost: dict[str, float] = {}
    if evaluation.denoiser.kind in PRACTICAL_KINDS:
        # A denoiser that fails here keeps its scores.
        with contextlib.suppress(Exception):
            cost["seconds"] = _seconds_per_megapixel(evaluation)
        network = getattr(evaluation.denoiser, "network", None)
        if isinstance(network, nn.Module):
            with contextlib.suppress(Exception):
                work = multiply_adds(copy.deepcopy(network).to("meta"), evaluation.shape)
                cost["multiply_adds"] = work / math.prod(evaluation.shape[1:])
    return {name: value for name, value in cost.items() if math.isfinite(value) and value > 0}


def _seconds_per_megapixel(evaluation: Evaluation) -> float:
    sigma = evaluation.sigmas[len(evaluation.sigmas) // 2]
    count, kind = min(len(evaluation.clean), evaluation.batches.size, IMAGES), evaluation.denoiser.kind
    truth = Truth(evaluation.clean[:count], evaluation.dataset, evaluation.split, evaluation.start)
    durations: list[float] = []
    with torch.no_grad(), torch.random.fork_rng():
        torch.manual_seed(derive_seed("noise", "cost"))
        while len(durations) < REPETITIONS and sum(durations) < MAX_SECONDS:
            noisy, visible = evaluation.noisy(sigma, 1 + len(durations))[:count], visible_truth(kind, truth)
            started = time.perf_counter()
            evaluation.apply(noisy, sigma, visible)
            durations.append(time.perf_counter() - started)
    return 1e6 * min(durations) / (count * math.prod(evaluation.shape[1:]))
