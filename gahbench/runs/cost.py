"""The cost of denoising: seconds per megapixel on this machine."""

from __future__ import annotations

import contextlib
import math
import time

import torch

from gahbench.board.ranks import PRACTICAL_KINDS
from gahbench.contracts.truth import Truth, visible_truth
from gahbench.evaluation.evaluation import Evaluation

#: The number of images that are denoised together, as far as there are so many and they fit into memory.
IMAGES = 16
#: Batches are timed until this number is reached, or until they have taken this many seconds together.
REPETITIONS, MAX_SECONDS = 20, 0.5


def measure_cost(evaluation: Evaluation) -> dict[str, float]:
    """Return the ``seconds`` per megapixel of a denoiser at the middle noise level: those of the fastest batch.

    Oracles and optimal denoisers, which nobody can use in practice, have no cost.
    """
    kind, durations = evaluation.denoiser.kind, list[float]()
    if kind not in PRACTICAL_KINDS:
        return {}
    sigma = evaluation.sigmas[len(evaluation.sigmas) // 2]
    count = min(len(evaluation.clean), evaluation.batches.size, IMAGES)
    truth = Truth(evaluation.clean[:count], evaluation.dataset, evaluation.split, evaluation.start)
    # A denoiser that fails here keeps its scores.
    with contextlib.suppress(Exception), torch.no_grad():
        while len(durations) < REPETITIONS and sum(durations) < MAX_SECONDS:
            noisy, visible = evaluation.noisy(sigma, 1 + len(durations))[:count], visible_truth(kind, truth)
            started = time.perf_counter()
            evaluation.apply(noisy, sigma, visible)
            durations.append(time.perf_counter() - started)
    pixels = count * math.prod(evaluation.shape[1:])
    return {"seconds": 1e6 * min(durations) / pixels} if durations else {}
