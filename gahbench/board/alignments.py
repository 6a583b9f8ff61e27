"""Direction and alignment of denoisers with bases: values of boards, for figures."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from gahbench.board.metric_names import parse_metric_name
from gahbench.board.statistics import UNKNOWN, Array, Interval
from gahbench.registry.spec import parse_spec

#: The metrics that compare a denoiser's filters with filters in a basis.
Measure = Literal["direction", "alignment"]
MEASURES: tuple[Measure, ...] = get_args(Measure)

#: The name that stands for the filters of the best denoiser in lists of bases.
TRUTH = "best denoiser"
#: The metrics that compare a denoiser's filters with those of the best denoiser, by measure.
TRUTH_METRICS: dict[Measure, str] = {"direction": "truth-direction", "alignment": "truth-alignment"}
#: The part of these metrics that is the agreement of a denoiser with itself under fresh noise.
CEILING = "ceiling"


@dataclass(frozen=True)
class Agreement:
    """Agreement between a denoiser and filters in one basis, over all noise levels.

    A mean is unknown if a noise level, or a seed at a noise level, has no value. ``ceiling`` is the largest value that
    a basis independent of the noise can reach, and ``retrieval`` is the share of images whose filter agrees best with
    the geometry of its own image. ``share`` is the smallest directional share over noise levels of the basis's own
    adaptation to an image or, where only the alignment was measured, the share that is not a change of
    strength; below 0.02 the agreement has no value. ``single`` is the value for a single image, which
    ``gahbench inspect`` shows; it is NaN on boards.
    """

    direction: Interval = UNKNOWN
    alignment: Interval = UNKNOWN
    ceiling: float = math.nan
    retrieval: float = math.nan
    share: float = math.nan
    single: float = math.nan


def parse_agreement(metric: str) -> tuple[Measure, str, str] | None:
    """Parse the name of a metric in the table of scores as measure, basis and part; ``None`` for other metrics."""
    name = parse_metric_name(metric)
    for measure in MEASURES:
        if name.label == TRUTH_METRICS[measure]:
            return measure, TRUTH, "basis-share" if name.part == "truth-share" else name.part
        if name.name == measure and name.parameters:
            # The basis is the first parameter.
            return measure, str(parse_spec(name.label).positional[0]), name.part
    return None


def reachable(ceiling: Array) -> Array:
    """Return the square roots of agreements under fresh noise, with negative agreements set to 0."""
    return np.asarray(np.sqrt(np.clip(ceiling, 0, None)))
