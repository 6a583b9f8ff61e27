"""Names of metrics in the table of scores: ``alignment[sym4].null`` has a name, parameters and a part."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Literal, get_args

from gahbench.board.statistics import UNKNOWN, Interval
from gahbench.registry.spec import parse_spec

#: The metrics that compare a denoiser's filters with filters in a basis.
Measure = Literal["direction", "alignment"]
MEASURES: tuple[Measure, ...] = get_args(Measure)
#: The name that stands for the filters of the best denoiser in lists of bases.
TRUTH = "best denoiser"
#: The metrics that compare a denoiser's filters with those of the best denoiser, by measure.
TRUTH_METRICS: dict[Measure, str] = {"direction": "truth-direction", "alignment": "truth-alignment"}


@dataclass(frozen=True)
class MetricName:
    """The parsed name of a metric in the table of scores."""

    name: str
    parameters: str = ""
    part: str = ""

    @property
    def label(self) -> str:
        """The name with its parameters, without the part."""
        return f"{self.name}[{self.parameters}]" if self.parameters else self.name


def parse_metric_name(text: str) -> MetricName:
    """Parse ``name``, ``name.part``, ``name[parameters]`` or ``name[parameters].part``."""
    # Parameters may contain dots and brackets; names and parts of metrics do not.
    return MetricName(*re.findall(r"(?s)([^.\[]*)(?:\[(.*)\])?\.?(.*)", text)[0])


@dataclass(frozen=True)
class Agreement:
    """Agreement between a denoiser and filters in one basis: means over images, and the direction at one image."""

    direction: Interval = UNKNOWN
    alignment: Interval = UNKNOWN
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
