"""Checks of records that come from JSON, which may be anything."""

from __future__ import annotations

import functools
from pathlib import PurePath
from typing import Annotated, Any

from pydantic import AfterValidator, Field, TypeAdapter, ValidationError


def as_text(value: Any) -> str:
    """Return anything as text that can be written as UTF-8: lone surrogates are replaced."""
    return str(value).encode(errors="replace").decode()


def is_inside(value: Any) -> bool:
    """Whether a value is the path of something in a folder, relative to it."""
    if not isinstance(value, str) or "\0" in value:
        return False
    path = PurePath(value)
    return bool(path.parts) and not path.is_absolute() and ".." not in path.parts


def _inner_path(value: str) -> str:
    if not is_inside(value):
        raise ValueError("is no path in a folder")
    return value


#: A number of things, or a seed; tables hold no larger integer.
Count = Annotated[int, Field(ge=0, lt=2**63)]
Number = Annotated[float, Field(gt=-1e300, lt=1e300)]
#: A SHA-256.
Digest = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
#: The name of a file in a folder.
FileName = Annotated[str, Field(pattern="^[A-Za-z0-9][A-Za-z0-9_.-]{0,200}$")]
#: The path of a file in a folder, relative to it.
InnerPath = Annotated[str, AfterValidator(_inner_path)]


@functools.cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def check_record(kind: Any, record: Any, what: str) -> None:
    """Refuse a record that is not of a type, in words that name its first field that is missing or wrong."""
    try:
        _adapter(kind).validate_python(record, strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        field = ".".join(map(str, first["loc"]))
        raise ValueError(f"the field '{field}' of {what} is missing, or not what it can be") from error
