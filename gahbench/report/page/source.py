"""What a page is made of: results, their folder, and how each entrant looks."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from gahbench.board.board import DatasetBoard, Entry
from gahbench.board.facts import entrant_kinds
from gahbench.board.results import Results
from gahbench.registry.registry import Registry
from gahbench.report.cells import folded
from gahbench.report.drawing import Styles, looks
from gahbench.report.figures import directions, metric_titles

#: So many entrants are drawn in a figure at most, the best ones: of more no two could be distinguished.
MAX_DRAWN = 24
_LABEL = 60


@dataclass(frozen=True, eq=False)
class Source:
    """What a page is made of."""

    folder: Path
    results: Results
    registry: Registry

    @cached_property
    def places(self) -> dict[str, int]:
        """The place of each entrant, by which the page refers to it."""
        return {label: place for place, label in enumerate(self.results.entrants)}

    @cached_property
    def _datasets(self) -> frozenset[str]:
        return frozenset(self.results.datasets["dataset"])

    def has(self, dataset: str, entrant: str) -> bool:
        """Whether labels are on the board: the plan of the folder may have changed after the board was written."""
        return entrant in self.places and dataset in self._datasets

    @cached_property
    def styles(self) -> Styles:
        """How each entrant that was trained or scored is drawn."""
        return looks(self.results.entrants, entrant_kinds(self.results))

    @cached_property
    def drawn_places(self) -> dict[str, int]:
        """The place of each entrant among :attr:`styles`, by which figures know its curve."""
        return {label: place for place, label in enumerate(self.styles)}

    @cached_property
    def names(self) -> dict[str, str]:
        """Entrants as figures name them."""
        return {label: folded(label, _LABEL) for label in self.results.entrants}

    @cached_property
    def titles(self) -> dict[str, str]:
        """Titles of metrics and of their parts."""
        return metric_titles(self.results)

    @cached_property
    def better(self) -> dict[str, str]:
        """Which direction of a metric is better."""
        boards = self.results.board.datasets
        return directions(self.registry, list({metric for board in boards for metric, _ in board.overall_metrics}))

    def drawn(self, board: DatasetBoard) -> list[Entry]:
        """Return the entrants that figures of a dataset show: those with a PSNR, or any value, at most the best 24."""
        known = {value.entrant for value in board.values if value.estimate.is_known}
        scored = [entry for entry in board.entries if entry.entrant in known and entry.entrant in self.styles]
        return scored[:MAX_DRAWN]
