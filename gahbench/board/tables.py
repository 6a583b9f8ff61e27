"""The tables of results, which all that a board shows is computed from."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from gahbench._util.errors import ResultsError, listing
from gahbench.board.schemas import SCHEMAS, empty, tidy

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, eq=False)
class Tables:
    """The tables of results, checked and in a canonical order; :class:`gahbench.Results` says what they hold."""

    suite: str
    scores: pd.DataFrame
    fits: pd.DataFrame
    failures: pd.DataFrame
    datasets: pd.DataFrame
    entrants: list[str] = field(default_factory=list)
    baseline: str | None = None
    notes: pd.DataFrame = field(default_factory=lambda: empty("notes"))
    metrics: pd.DataFrame = field(default_factory=lambda: empty("metrics"))
    marks: pd.DataFrame = field(default_factory=lambda: empty("marks"))
    checks: pd.DataFrame = field(default_factory=lambda: empty("checks"))
    ratios: pd.DataFrame = field(default_factory=lambda: empty("ratios"))
    citations: pd.DataFrame = field(default_factory=lambda: empty("citations"))
    whole: Tables | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        for name in SCHEMAS:
            object.__setattr__(self, name, tidy(getattr(self, name), name))
        named = {
            label
            for table in (self.scores, self.fits, self.failures, self.notes, self.marks, self.checks)
            for label in table["entrant"].unique()
        }
        if self.baseline is not None:
            named.add(self.baseline)
        if unknown := sorted(named - set(self.entrants)):
            raise ResultsError(
                f"results of suite '{self.suite}' name {listing(unknown)}; its entrants are {listing(self.entrants)}"
            )
