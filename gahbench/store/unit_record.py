"""Units as folders record them, read with suspicion."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Annotated, Any, Literal, NotRequired

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

# Before Python 3.12, pydantic cannot read those of typing.
from typing_extensions import TypedDict

from gahbench._util.checks import MAX_COUNT, MAX_NUMBER, NAME
from gahbench.contracts.datasets import Split
from gahbench.contracts.unit import Unit

if TYPE_CHECKING:
    from collections.abc import Sequence

_Name = Annotated[str, Field(pattern=f"^{NAME}$")]


class Record(TypedDict):
    """The fields of a unit, and in plans also the planned work, and what the board has to do with it."""

    __pydantic_config__ = ConfigDict(strict=True)  # type: ignore[misc]

    kind: Literal["fit", "score"]
    key: _Name
    dataset: str
    entrant: str
    entrant_kind: Literal["architecture", "reference"]
    seed: Annotated[int, Field(ge=0, le=MAX_COUNT)] | None
    split: Split | None
    metric: str | None
    requires: _Name | None
    column: _Name | None
    payload: dict[str, Any]
    # Not in records of before they were.
    partner: NotRequired[_Name | None]
    document: NotRequired[dict[str, Any] | None]
    # In plans only; a work of None is infinite.
    work: NotRequired[Annotated[float, Field(gt=-MAX_NUMBER, lt=MAX_NUMBER)] | None]
    added: NotRequired[bool]
    shown: NotRequired[bool]


@functools.cache
def _adapter() -> TypeAdapter[list[Record]]:
    return TypeAdapter(list[Record])


def unit_records(records: Sequence[Any]) -> list[Record]:
    """Return records of units, checked: in one go, as plans hold ten thousand."""
    try:
        checked = _adapter().validate_python(records)
    except ValidationError as error:
        _, *path = error.errors(include_url=False, include_context=False, include_input=False)[0]["loc"]
        if not path:
            raise ValueError("a unit is no object") from error
        raise _wrong(str(path[0])) from error
    for record in checked:
        if (record["kind"] == "score") != (record["metric"] is not None):
            raise _wrong("metric")
    return checked


def unit_of(record: Any) -> Unit:
    """Return the unit of a record, without its planned work."""
    return Unit.of_record(unit_records([record])[0])


def _wrong(name: str) -> ValueError:
    return ValueError(f"the field '{name}' of a unit is missing, or not what it can be")
