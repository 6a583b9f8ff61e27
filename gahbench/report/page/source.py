"""The results that a page shows, with their folder and plugins."""

from __future__ import annotations

import base64
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from gahbench._util.errors import GahbenchError
from gahbench._util.files import read_regular
from gahbench.board.folds import pooled_names
from gahbench.report.figures import Published, published
from gahbench.store.plan_file import RecordedPlan, read_plan

if TYPE_CHECKING:
    from gahbench.board.results import Results
    from gahbench.registry.registry import Registry

#: The largest figure of a folder that is read, in bytes.
_MAX_BYTES = 4_000_000


@dataclass(frozen=True)
class PageFigure:
    """A figure of a page: its title, caption and dataset, and its SVG as a ``data:`` URL, whose scripts never run."""

    title: str
    caption: str
    dataset: str | None
    url: str


@dataclass(frozen=True, eq=False)
class Source:
    """The results that a page shows, and their folder; ``is_saved`` states whether its files show these results."""

    folder: Path
    results: Results
    registry: Registry
    is_saved: bool = True

    @cached_property
    def plan(self) -> RecordedPlan | None:
        """The plan of the folder; ``None`` if it has no valid plan."""
        try:
            return read_plan(self.folder)
        except GahbenchError:
            return None

    @cached_property
    def _datasets(self) -> frozenset[str]:
        """The datasets of the board, and the folds that it shows as one dataset."""
        shown = set(self.results.datasets["dataset"])
        pooled = {} if self.plan is None else pooled_names(self.plan.dataset_specs)
        return frozenset(shown | {fold for fold, name in pooled.items() if name in shown})

    @cached_property
    def _entrants(self) -> frozenset[str]:
        return frozenset(self.results.entrants)

    def is_on_board(self, dataset: str, entrant: str) -> bool:
        """Return whether the board has a row; the plan of the folder may have changed after the board was written."""
        return entrant in self._entrants and dataset in self._datasets

    def figures(self) -> dict[str, list[PageFigure]]:
        """Return the figures of the page by section, as in the folder if they were published there."""
        sections: dict[str, list[PageFigure]] = {}
        for item in published(self.results, self.folder):
            if (content := self._content(item)) is not None:
                url = f"data:image/svg+xml;base64,{base64.b64encode(content).decode()}"
                figure = PageFigure(item.title, item.caption, item.dataset, url)
                sections.setdefault(item.section, []).append(figure)
        return sections

    def _content(self, item: Published) -> bytes | None:
        """Return the SVG of a figure; ``None`` if there is nothing to draw."""
        if self.is_saved:
            with suppress(OSError):
                return read_regular(self.folder / "figures" / f"{item.name}.svg", _MAX_BYTES, follow=False)
        return item.svg()
