"""The columns of the tables of results, their types, and their canonical order."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from gahbench._util.errors import ResultsError, listing

if TYPE_CHECKING:
    import pandas as pd

#: Columns and types of each table; "text" has no missing values, "count" is an integer that may be missing.
SCHEMAS: dict[str, dict[str, str]] = {
    "scores": {
        "suite": "text",
        "dataset": "text",
        "entrant": "text",
        "kind": "text",
        "seed": "count",
        "split": "text",
        "sigma": "number",
        "metric": "text",
        "image": "count",
        "value": "number",
    },
    "fits": {
        "dataset": "text",
        "entrant": "text",
        "seed": "count",
        "parameters": "count",
        "train_seconds": "number",
        "steps": "count",
        "device": "text",
        "precision": "text",
        "compiled": "flag",
        "budget": "text",
    },
    "failures": {
        "dataset": "text",
        "entrant": "text",
        "seed": "count",
        "stage": "text",
        "metric": "text",
        "error": "text",
    },
    "datasets": {
        "dataset": "text",
        "optimum": "text",
        "slope": "number",
        "channels": "count",
        "height": "count",
        "width": "count",
        "fingerprint": "text",
        "sources": "text",
        "protocol": "text",
        "notes": "text",
        "spec": "text",
    },
    "notes": {"dataset": "text", "entrant": "text", "note": "text"},
    "marks": {"dataset": "text", "entrant": "text", "mark": "text"},
    "checks": {"dataset": "text", "entrant": "text", "version": "count", "images": "text"},
    "metrics": {"metric": "text", "title": "text", "null": "text"},
    "ratios": {"metric": "text", "numerator": "text", "denominator": "text"},
    "citations": {
        "entry": "text",
        "plugin": "text",
        "authors": "text",
        "title": "text",
        "year": "count",
        "journal": "text",
        "conference": "text",
        "publisher": "text",
        "arxiv": "text",
        "doi": "text",
    },
}
#: Tables whose order of rows means something.
_ORDERED = ("datasets", "metrics", "ratios", "citations")

_DTYPES = {"count": "Int64", "number": "float64", "flag": "bool"}


def empty(name: str) -> pd.DataFrame:
    """Return a table of results without rows."""
    import pandas as pd

    return tidy(pd.DataFrame(columns=pd.Index(list(SCHEMAS[name]))), name)


def tidy(table: pd.DataFrame, name: str) -> pd.DataFrame:
    """Return a table of results with canonical columns, types and order of rows."""
    schema = SCHEMAS[name]
    if missing := [column for column in schema if column not in table.columns]:
        raise ResultsError(f"table {name} lacks the columns {listing(missing)}; expected {listing(schema)}")
    table = table[[*schema, *(column for column in table.columns if column not in schema)]].copy()
    for column, kind in schema.items():
        try:
            if kind == "text":
                table[column] = table[column].astype(object).fillna("").astype("str")
            elif kind == "number":
                table[column] = table[column].astype("Float64").to_numpy(dtype="float64", na_value=math.nan)
            else:
                table[column] = table[column].astype(_DTYPES[kind])  # type: ignore[call-overload]
        except (ValueError, TypeError, OverflowError) as error:
            raise ResultsError(f"table {name}: column {column} holds something else than a {kind} ({error})") from error
    if name not in _ORDERED:
        table = table.sort_values(list(schema), kind="stable", na_position="first")
    return table.reset_index(drop=True)


def to_records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the rows as JSON's types: missing and non-finite values are ``None``."""
    return [
        {str(name): plain(value) for name, value in zip(table.columns, row, strict=True)}
        for row in table.itertuples(index=False, name=None)
    ]


def plain(value: Any) -> Any:
    """Return a cell as one of JSON's types; ``None`` where it is missing or not finite."""
    item = value.item() if hasattr(value, "item") else value
    if isinstance(item, bool | int | str):
        return item
    return item if isinstance(item, float) and math.isfinite(item) else None
