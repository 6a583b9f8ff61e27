"""JSON files with a checksum of their content, to detect damage.

The first line after the opening brace is ``"checksum"``: the SHA-256 of everything that follows.
"""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

from pydantic_core import from_json

from gahbench._util.files import read_regular, write_atomically

#: The maximum number of bytes of a record of one unit.
MAX_RECORD = 64 * 2**20
_HEAD = re.compile(rb'\s*\{\s*"checksum": "([0-9a-f]{64})",\r?\n')


def parse_json(content: bytes) -> Any:
    """Parse JSON with pydantic's parser."""
    # Pydantic's parser is nearly twice as fast as Python's json, which matters for plans of ten thousand units.
    return from_json(content)


def read_record(path: Path) -> dict[str, Any]:
    """Return the JSON object in a file; empty if the file is absent, or holds something else."""
    try:
        content = parse_json(read_regular(path, MAX_RECORD, follow=False))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def parse_sealed(content: bytes) -> dict[str, Any]:
    """Parse a sealed file and verify its checksum; return the object without the checksum."""
    head = _HEAD.match(content)
    # Version control may change line endings.
    if head is None or _digest(content[head.end() :].replace(b"\r\n", b"\n")) != head[1]:
        raise ValueError("its checksum does not match its content")
    parsed: dict[str, Any] = parse_json(content)
    del parsed["checksum"]
    return parsed


def seal(content: bytes) -> bytes:
    """Add a checksum to a JSON object, which begins with a brace and a line break."""
    body = content.removeprefix(b"{\n")
    return b'{\n"checksum": "%s",\n%s' % (_digest(body), body)


def write_sealed(path: Path, content: dict[str, Any]) -> None:
    """Write JSON with a checksum, atomically."""
    write_atomically(path, seal((json.dumps(content, indent=1, default=str) + "\n").encode()))


def _digest(content: bytes) -> bytes:
    return hashlib.sha256(content).hexdigest().encode()
