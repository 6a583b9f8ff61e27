"""Tables of results, from which boards are computed: columns, types and canonical order."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from gahbench._util.errors import ResultsError, listing
from gahbench.board.display_names import DisplayNames, display_names
from gahbench.board.metric_names import parse_metric_name
from gahbench.board.statistics import IntervalScale
from gahbench.planning.suite_files import SuiteVersion

if TYPE_CHECKING:
    import pandas as pd

    from gahbench.registry.registry import Registry


def _columns(text: str) -> dict[str, str]:
    """Parse columns, each given as ``column`` (of type text) or ``column:type``, to their types."""
    pairs = (name.partition(":") for name in text.split())
    return {name: kind or "text" for name, _, kind in pairs}


#: Columns and types of each table: "text" is never missing, "count" is an integer that may be missing.
SCHEMAS: dict[str, dict[str, str]] = {
    "scores": _columns("suite dataset entrant kind seed:count split sigma:number metric image:count value:number"),
    "fits": _columns(
        "dataset entrant seed:count parameters:count train_seconds:number steps:count device precision compiled:bool "
        "budget"
    ),
    "failures": _columns("dataset entrant seed:count stage metric error"),
    "datasets": _columns(
        "dataset optimum slope:number channels:count height:count width:count fingerprint sources protocol notes spec "
        "noise"
    ),
    "costs": _columns("dataset entrant multiply_adds:number training_images:count seconds:number machine"),
    "notes": _columns("dataset entrant note"),
    "flags": _columns("dataset entrant flag"),
    "checks": _columns("dataset entrant version:count images"),
    "metrics": _columns("metric title null"),
    "ratios": _columns("metric numerator denominator"),
    "citations": _columns("entry plugin authors title year:count journal conference publisher arxiv doi"),
}
#: Columns that are empty in results that do not have them.
_OPTIONAL = frozenset({"noise"})
#: Tables that keep the order of their rows; the others are sorted.
_ORDERED = ("datasets", "metrics", "ratios", "citations")

_DTYPES = {"count": "Int64", "number": "float64", "bool": "bool"}


def empty(name: str) -> pd.DataFrame:
    """Return a table of results without rows."""
    import pandas as pd

    return tidy(pd.DataFrame(columns=pd.Index(list(SCHEMAS[name]))), name)


def tidy(table: pd.DataFrame, name: str) -> pd.DataFrame:
    """Return a table of results with canonical columns, types and order of rows."""
    schema = SCHEMAS[name]
    if missing := [column for column in schema if column not in table.columns and column not in _OPTIONAL]:
        raise ResultsError(f"table {name} lacks the columns {listing(missing)}; expected {listing(schema)}")
    table = table.reindex(columns=[*schema, *(column for column in table.columns if column not in schema)])
    for column, kind in schema.items():
        try:
            if kind == "text":
                table[column] = table[column].astype(object).fillna("").astype("str")
            elif kind == "number":
                table[column] = table[column].astype("Float64").to_numpy(dtype="float64", na_value=math.nan)
            else:
                table[column] = table[column].astype(_DTYPES[kind])  # type: ignore[call-overload]
        except (ValueError, TypeError, OverflowError) as error:
            raise ResultsError(f"table {name}: column {column} holds a value that is not a {kind} ({error})") from error
    if name not in _ORDERED:
        table = table.sort_values(list(schema), kind="stable", na_position="first")
    return table.reset_index(drop=True)


@dataclass(frozen=True, eq=False)
class Tables:
    """The tables of results, validated and in canonical order; :class:`gahbench.Results` documents their columns."""

    suite: str
    scores: pd.DataFrame
    fits: pd.DataFrame
    failures: pd.DataFrame
    datasets: pd.DataFrame
    entrants: list[str] = field(default_factory=list)
    baseline: str | None = None
    costs: pd.DataFrame = field(default_factory=lambda: empty("costs"))
    notes: pd.DataFrame = field(default_factory=lambda: empty("notes"))
    metrics: pd.DataFrame = field(default_factory=lambda: empty("metrics"))
    flags: pd.DataFrame = field(default_factory=lambda: empty("flags"))
    checks: pd.DataFrame = field(default_factory=lambda: empty("checks"))
    ratios: pd.DataFrame = field(default_factory=lambda: empty("ratios"))
    citations: pd.DataFrame = field(default_factory=lambda: empty("citations"))
    version: SuiteVersion | None = None
    selected_from: Tables | None = field(default=None, repr=False)
    registry: Callable[[], Registry] | None = field(default=None, repr=False)

    @cached_property
    def names(self) -> DisplayNames:
        """The display names of entrants and datasets; a selection takes them from the complete results."""
        if self.selected_from is not None:
            return self.selected_from.names
        if self.registry is None:
            return DisplayNames()
        specs = dict(zip(self.datasets["dataset"], self.datasets["spec"], strict=True))
        return display_names(self.registry(), self.entrants, specs)

    def scale_of(self, metric: str) -> IntervalScale:
        """Return the scale of intervals that the plugin of a metric declares for a name in the table of scores."""
        name = parse_metric_name(metric)
        plugin = None if self.registry is None else self.registry().find("metric", name.name)
        if plugin is None:
            return "linear"
        scales: dict[str, IntervalScale] = {"share_parts": "logit", "positive_parts": "log"}
        return next((scales[parts] for parts in scales if name.part in (plugin.attribute(parts) or ())), "linear")

    def __post_init__(self) -> None:
        for name in SCHEMAS:
            object.__setattr__(self, name, tidy(getattr(self, name), name))
        labels = {
            label
            for table in (self.scores, self.fits, self.failures, self.costs, self.notes, self.flags, self.checks)
            for label in table["entrant"].unique()
        }
        if self.baseline is not None:
            labels.add(self.baseline)
        if unknown := sorted(labels - set(self.entrants)):
            raise ResultsError(
                f"results of suite '{self.suite}' name {listing(unknown)}; its entrants are {listing(self.entrants)}"
            )


def rows_of(table: pd.DataFrame, dataset: str, entrant: str) -> pd.DataFrame:
    """Return the rows of an entrant on a dataset."""
    return table[(table["dataset"] == dataset) & (table["entrant"] == entrant)]


def psnr_rows(scores: pd.DataFrame, dataset: str) -> pd.DataFrame:
    """Return the rows with the PSNR of a dataset's test images."""
    return scores[(scores["dataset"] == dataset) & (scores["split"] == "test") & (scores["metric"] == "psnr")]


def to_records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the rows as JSON types; missing and non-finite values are ``None``."""
    return [
        {str(name): plain(value) for name, value in zip(table.columns, row, strict=True)}
        for row in table.itertuples(index=False, name=None)
    ]


def plain(value: Any) -> Any:
    """Return a cell as a JSON type; ``None`` if it is missing or not finite."""
    item = value.item() if hasattr(value, "item") else value
    if isinstance(item, bool | int | str):
        return item
    return item if isinstance(item, float) and math.isfinite(item) else None
