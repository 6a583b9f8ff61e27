"""Training times, interpolated between snapshots."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence

from torch import Tensor

from gahbench.evaluation import Denoiser, Evaluation


def crossing_step(steps: Sequence[int], values: Tensor, level: float, stays: bool = False) -> float | None:
    """Return the training step at which values first reach a level from above, or ``None`` if they do not.

    Values are interpolated linearly in the logarithm of the step. With ``stays`` values must remain at or below the
    level from that step on.
    """
    below = (values <= level).tolist()
    if stays:
        index = max((position + 1 for position, is_below in enumerate(below) if not is_below), default=0)
    else:
        index = below.index(True) if True in below else len(below)
    if index == len(below):
        return None
    if index == 0:
        return float(steps[0])
    before, after = (float(values[position]) for position in (index - 1, index))
    fraction = (before - level) / (before - after)
    return math.exp((1 - fraction) * math.log(steps[index - 1]) + fraction * math.log(steps[index]))


def snapshot_spacing(steps: Sequence[int]) -> float:
    """Return the largest ratio of steps of successive snapshots after the tenth step, and 1 without such snapshots."""
    pairs = itertools.pairwise(steps)
    return max((after / before for before, after in pairs if before >= 10), default=1.0)


def paired_snapshots(
    evaluation: Evaluation, partner: Evaluation
) -> list[tuple[int, Callable[[], Denoiser], Callable[[], Denoiser]]]:
    """Return the step of each snapshot, with functions that load the network and its partner at this step."""
    pairs = []
    for (step, load), (other_step, load_other) in zip(evaluation.snapshots, partner.snapshots, strict=True):
        if step != other_step:
            raise ValueError(f"snapshots of partners are at steps {step} and {other_step}, expected equal steps")
        pairs.append((step, load, load_other))
    return pairs
