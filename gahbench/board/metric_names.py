"""Names of metrics in the table of scores: ``alignment[sym4].null`` has a name, parameters and a part."""

from __future__ import annotations

from dataclasses import dataclass


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
    # Parameters may contain dots; names and parts of metrics do not.
    name, bracket, rest = text.partition("[")
    if not bracket:
        name, _, part = text.partition(".")
        return MetricName(name, part=part)
    parameters, _, part = rest.rpartition("]")
    return MetricName(name, parameters, part.removeprefix("."))
