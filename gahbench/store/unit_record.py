"""Units as folders record them, read with suspicion."""

from __future__ import annotations

from typing import Any

from gahbench._util.checks import is_count, is_name, is_object, is_text, one_of, optional, wrong_field
from gahbench.contracts.datasets import SPLITS
from gahbench.contracts.unit import Unit

_FIELDS = {
    "kind": one_of("fit", "score"),
    "key": is_name,
    "dataset": is_text,
    "entrant": is_text,
    "entrant_kind": one_of("architecture", "reference"),
    "seed": optional(is_count),
    "split": one_of(None, *SPLITS),
    "metric": optional(is_text),
    "requires": optional(is_name),
    "column": optional(is_name),
    "payload": is_object,
}
#: Not in records of before they were.
_LATER = {"partner": optional(is_name), "document": optional(is_object)}


def unit_of(record: Any, work: float = 0.0) -> Unit:
    """Return the unit of a record.

    Raises
    ------
    ValueError
        If it is none; says which field.
    """
    if not isinstance(record, dict):
        raise ValueError(f"a unit is a {type(record).__name__}, expected an object")
    wrong = wrong_field(record, _FIELDS) or wrong_field(dict.fromkeys(_LATER) | record, _LATER)
    if wrong is None and (record["kind"] == "score") != (record["metric"] is not None):
        wrong = "metric"
    if wrong is not None:
        raise ValueError(f"the field '{wrong}' of a unit is missing, or not what it can be")
    return Unit.of_record(record, work)
