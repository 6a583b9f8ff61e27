"""Records in JSON: their keys, the checksums that detect damage, and their validation.

The first line after the opening brace of a sealed file is ``"checksum"``: the SHA-256 of everything that follows.
"""

from __future__ import annotations

import functools
import hashlib
import json
import re
from collections.abc import Callable
from pathlib import Path, PurePath
from typing import Annotated, Any

from annotated_types import Predicate
from pydantic import Field, TypeAdapter, ValidationError
from pydantic_core import from_json

from gahbench._util.files import json_bytes, read_regular, write_atomically

#: The maximum number of bytes of a record of one unit.
MAX_RECORD = 64 * 2**20
_HEAD = re.compile(rb'\s*\{\s*"checksum": "([0-9a-f]{64})",\r?\n')


def canonical(value: Any) -> str:
    """Return the canonical JSON of a value: sorted keys, no spaces, no NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False, default=str)


def key_of(value: Any) -> str:
    """Return the key of a value: the first 20 hexadecimal digits of the SHA-256 of its canonical JSON."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()[:20]


def read_record(path: Path) -> dict[str, Any]:
    """Return the JSON object in a file; empty if the file is absent, or holds something else."""
    try:
        content = from_json(read_regular(path, MAX_RECORD, follow=False))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def parse_sealed(content: bytes) -> dict[str, Any]:
    """Parse a sealed file and verify its checksum; return the object without the checksum."""
    head = _HEAD.match(content)
    # Version control may change line endings.
    if head is None or _digest(content[head.end() :].replace(b"\r\n", b"\n")) != head[1]:
        raise ValueError("its checksum does not match its content")
    parsed: dict[str, Any] = from_json(content)
    del parsed["checksum"]
    return parsed


def seal(content: bytes) -> bytes:
    """Add a checksum to a JSON object, which begins with a brace and a line break."""
    body = content.removeprefix(b"{\n")
    return b'{\n"checksum": "%s",\n%s' % (_digest(body), body)


def write_sealed(path: Path, content: dict[str, Any]) -> None:
    """Write JSON with a checksum, atomically."""
    write_atomically(path, seal(json_bytes(content)))


def _digest(content: bytes) -> bytes:
    return hashlib.sha256(content).hexdigest().encode()


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
