"""Tables of results: columns, types and canonical order."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

from gahbench._util.errors import ResultsError, listing
from gahbench.board.statistics import Interval

if TYPE_CHECKING:
    import pandas as pd


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


class Value(NamedTuple):
    """A row of the long frame of estimates; ``sigma`` is ``None`` for values over all noise levels."""

    dataset: str
    entrant: str
    quantity: str
    part: str
    sigma: float | None
    estimate: Interval


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
