"""Validation of records from untrusted JSON."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import PurePath
from typing import Annotated, Any

from annotated_types import Predicate
from pydantic import Field, TypeAdapter, ValidationError


def as_text(value: Any) -> str:
    """Convert a value to text that can be encoded as UTF-8, by replacing lone surrogates."""
    return str(value).encode(errors="replace").decode()


def is_inside(value: Any) -> bool:
    """Return whether a value is a relative path that stays inside a folder."""
    if not isinstance(value, str) or "\0" in value:
        return False
    path = PurePath(value)
    return bool(path.parts) and not path.is_absolute() and ".." not in path.parts


#: A non-negative integer of 64 bits, the largest that tables store.
Count = Annotated[int, Field(ge=0, lt=2**63)]
#: A SHA-256 digest in hexadecimal digits.
Digest = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
#: A file name.
FileName = Annotated[str, Field(pattern="^[A-Za-z0-9][A-Za-z0-9_.-]{0,200}$")]
#: A relative path inside a folder.
InnerPath = Annotated[str, Predicate(is_inside)]
#: Returns the validator of a type, which takes longer to build than a record to validate.
_adapter: Callable[[Any], TypeAdapter[Any]] = functools.cache(TypeAdapter)


def check_record(kind: Any, record: Any, name: str) -> Any:
    """Return a record as an instance of a type; raise ``ValueError`` with its first missing or invalid field."""
    try:
        return _adapter(kind).validate_python(record)
    except ValidationError as error:
        field = ".".join(map(str, error.errors(include_url=False, include_context=False)[0]["loc"]))
        raise ValueError(f"the field '{field}' of {name} is missing or invalid") from error
