"""Tables of results: columns, types and canonical order, and facts about datasets and entrants in them."""

from __future__ import annotations

import contextlib
import itertools
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from gahbench._util.errors import ParameterError, ResultsError, listing
from gahbench.contracts.row_labels import base_label
from gahbench.registry.spec import format_value, parse_spec

if TYPE_CHECKING:
    import pandas as pd

    from gahbench.board.results import Results

#: The columns of each table.
SCHEMAS: dict[str, list[str]] = {
    name: columns.split()
    for name, columns in {
        "scores": "suite dataset entrant kind seed split sigma metric image value",
        "fits": "dataset entrant seed parameters train_seconds steps device precision compiled budget",
        "failures": "dataset entrant seed stage metric error",
        "datasets": "dataset optimum slope channels height width fingerprint sources protocol notes spec noise",
        "costs": "dataset entrant multiply_adds training_images seconds machine",
        "notes": "dataset entrant note",
        "flags": "dataset entrant flag",
        "checks": "dataset entrant version images",
        "metrics": "metric title null",
        "ratios": "metric numerator denominator",
        "parameters": "entrant parameter setting",
        "citations": "entry plugin authors title year journal conference publisher arxiv doi",
    }.items()
}
_COUNTS = "seed image parameters steps channels height width training_images version year"
#: Types of columns that are not text. Text is never missing; integers and other numbers may be missing.
_DTYPES = {
    **dict.fromkeys(_COUNTS.split(), "Int64"),
    **dict.fromkeys(("sigma", "value", "train_seconds", "slope", "multiply_adds", "seconds"), "Float64"),
    "compiled": "bool",
}
#: The columns of the long frame of estimates.
VALUE_COLUMNS = ("dataset", "entrant", "quantity", "part", "sigma", "value", "low", "high")
#: The error of a unit that has not run yet.
NOT_RUN = "not run yet"
#: Prefix of the note that lists the training settings of a row which differ from those of the suite.
OWN_TRAINING = "own training settings (the suite's in brackets): "
#: Prefix of the note on entrants that cannot take the images of a dataset; the reason follows.
REFUSED = "cannot take these images: "
#: Suffixes of the columns of a value and of the ends of its interval.
SUFFIXES = ("", "_low", "_high")
#: Tables that keep the order of their rows; the others are sorted.
_ORDERED = ("datasets", "metrics", "ratios", "parameters", "citations")


def empty(name: str) -> pd.DataFrame:
    """Return a table of results without rows."""
    import pandas as pd

    return tidy(pd.DataFrame(columns=pd.Index(SCHEMAS[name])), name)


def tidy(table: pd.DataFrame, name: str) -> pd.DataFrame:
    """Return a table of results with canonical columns, types and order of rows."""
    schema = SCHEMAS[name]
    if missing := [column for column in schema if column not in table.columns]:
        raise ResultsError(f"table {name} lacks the columns {listing(missing)}; expected {listing(schema)}")
    table = table[schema].copy()
    for column in schema:
        dtype: Any = _DTYPES.get(column, "str")
        values = table[column]
        try:
            table[column] = values.astype(object).fillna("").astype("str") if dtype == "str" else values.astype(dtype)
        except (ValueError, TypeError, OverflowError) as error:
            raise ResultsError(f"table {name}: column {column} holds values that are not {dtype} ({error})") from error
        if dtype == "Float64":
            table[column] = table[column].to_numpy(dtype="float64", na_value=math.nan)
    if name not in _ORDERED:
        table = table.sort_values(schema, kind="stable", na_position="first")
    return table.reset_index(drop=True)


def value_rows(
    dataset: str, entrants: Sequence[str], quantity: str, part: str, sigmas: Sequence[float], *ends: ArrayLike
) -> pd.DataFrame:
    """Return rows of the long frame of estimates from values (E, S) and the ends of their intervals, if there are any.

    Values over all noise levels have sigma NaN.
    """
    import pandas as pd

    keys = ([dataset], entrants, [quantity], [part], sigmas)
    # Columns of tuples are built many times faster than a MultiIndex, whose levels are sorted.
    table = pd.DataFrame(list(itertools.product(*keys)), columns=pd.Index(VALUE_COLUMNS[:5]))
    known = dict(zip(VALUE_COLUMNS[5:], map(np.ravel, ends), strict=False))
    return table.assign(**(dict.fromkeys(VALUE_COLUMNS[5:], math.nan) | known)).astype({"sigma": "float64"})


def to_records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the rows as JSON types; missing and non-finite values are ``None``."""
    return [{str(name): plain(value) for name, value in row.items()} for row in table.to_dict("records")]


def plain(value: Any) -> Any:
    """Return a cell as a JSON type; ``None`` if it is missing or not finite."""
    item = value.item() if hasattr(value, "item") else value
    if isinstance(item, bool | int | str):
        return item
    return item if isinstance(item, float) and math.isfinite(item) else None


def base_entrants(results: Results) -> list[str]:
    """Return the entrants of results, which every page counts; the rows of a sweep are one entrant."""
    return list(dict.fromkeys(map(base_label, results.entrants)))


def entrant_kinds(results: Results) -> dict[str, str]:
    """Return the kind of every entrant that was trained or scored."""
    failures = results.failures
    trained = (*results.fits["entrant"], *failures.loc[failures["stage"] == "fit", "entrant"])
    scored = results.scores[["entrant", "kind"]].drop_duplicates()
    return dict.fromkeys(trained, "trained") | dict(zip(scored["entrant"], scored["kind"], strict=True))


def sources_of(results: Results, dataset: str) -> list[int] | None:
    """Return the number of the source of each test image of a dataset; ``None`` if each image has its own source."""
    return [int(number) for number in results.facts[dataset].sources.split()] or None


def independent_images(results: Results, dataset: str) -> int:
    """Return the number of independent test images that were scored; images of one source count once."""
    rows, sources = results.rows.get((dataset, "test", "psnr"), results.scores[:0]), sources_of(results, dataset)
    images = rows["image"].dropna().unique()
    return len(images if sources is None else {sources[image] for image in images if 0 <= image < len(sources)})


def families(specs: Mapping[str, str], parameter: str) -> dict[str, list[str]]:
    """Return the labels of specs that differ only in a parameter, by the spec without it, if any spec states it."""
    members, stated = defaultdict[str, list[str]](list), set[str]()
    for label, text in specs.items():
        # Labels that cannot be parsed, such as names that a suite defines, belong to no family.
        with contextlib.suppress(ParameterError):
            spec = parse_spec(text)
            keywords = [f"{key}={format_value(value)}" for key, value in spec.keywords.items() if key != parameter]
            parameters = ",".join([*map(format_value, spec.positional), *keywords])
            name = f"{spec.name}[{parameters}]" if parameters else spec.name
            members[name].append(label)
            stated |= {name} if parameter in spec.keywords else set()
    return {name: labels for name, labels in members.items() if name in stated}
