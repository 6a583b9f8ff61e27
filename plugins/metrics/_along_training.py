"""Times of training, read between snapshots."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from torch import Tensor

from gahbench.evaluation import Evaluation

if TYPE_CHECKING:
    from gahbench.contracts.denoisers import Denoiser


def crossing(steps: Sequence[int], values: Tensor, level: float, stays: bool = False) -> float | None:
    """Return after how many steps values come down to a level, linear in the logarithm of steps between snapshots."""
    below = (values <= level).tolist()
    if stays:
        place = max((index + 1 for index, there in enumerate(below) if not there), default=0)
    else:
        place = below.index(True) if True in below else len(below)
    if place == len(below):
        return None
    if place == 0:
        return float(steps[0])
    before, after = (float(values[index]) for index in (place - 1, place))
    share = (before - level) / (before - after)
    return math.exp((1 - share) * math.log(steps[place - 1]) + share * math.log(steps[place]))


def spacing(steps: Sequence[int]) -> float:
    """Return the greatest ratio of steps of successive snapshots, from the tenth step on; 1 for none."""
    pairs = itertools.pairwise(steps)
    return max((after / before for before, after in pairs if before >= 10), default=1.0)


def pairs_along(
    evaluation: Evaluation, partner: Evaluation
) -> list[tuple[int, Callable[[], Denoiser], Callable[[], Denoiser]]]:
    """Return steps, and functions that load the network and its partner, of their snapshots."""
    found = []
    for (step, load), (other_step, load_other) in zip(evaluation.snapshots, partner.snapshots, strict=True):
        if step != other_step:
            raise ValueError(f"snapshots of partners are at steps {step} and {other_step}, expected the same")
        found.append((step, load, load_other))
    return found
