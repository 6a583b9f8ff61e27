"""Checks of values that come from JSON, which may be anything."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import PurePath
from typing import Any

Check = Callable[[Any], bool]

#: No integer is larger, so that tables hold it.
MAX_COUNT = 2**63 - 1
#: No number is larger.
MAX_NUMBER = 1e300
#: Pattern of the name of a file in a folder, and of none elsewhere.
NAME = "[A-Za-z0-9][A-Za-z0-9_.-]{0,200}"
_NAME = re.compile(NAME)
_DIGEST = re.compile(r"[0-9a-f]{64}")


def is_text(value: Any) -> bool:
    """Whether a value is text that can be written as UTF-8: JSON may hold halves of characters."""
    if not isinstance(value, str):
        return False
    if value.isascii():
        return True
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def as_text(value: Any) -> str:
    """Return anything as text that :func:`is_text` accepts."""
    return str(value).encode(errors="replace").decode()


def is_count(value: Any) -> bool:
    """Whether a value is a whole number of things, or a seed."""
    return type(value) is int and 0 <= value <= MAX_COUNT


def is_number(value: Any) -> bool:
    """Whether a value is a finite number, neither true nor false."""
    return type(value) in (int, float) and -MAX_NUMBER < value < MAX_NUMBER


def is_flag(value: Any) -> bool:
    """Whether a value is true or false."""
    return isinstance(value, bool)


def is_name(value: Any) -> bool:
    """Whether a value can be the name of a file in a folder, and of none elsewhere."""
    return isinstance(value, str) and _NAME.fullmatch(value) is not None


def is_inside(value: Any) -> bool:
    """Whether a value is the path of something in a folder, relative to it."""
    if not is_text(value) or "\0" in value:
        return False
    path = PurePath(value)
    return bool(path.parts) and not path.is_absolute() and ".." not in path.parts


def is_digest(value: Any) -> bool:
    """Whether a value is a SHA-256 in hexadecimal digits."""
    return isinstance(value, str) and _DIGEST.fullmatch(value) is not None


def is_object(value: Any) -> bool:
    """Whether a value is an object, with anything in it."""
    return isinstance(value, dict)


def one_of(*accepted: object) -> Check:
    """Return a check that accepts some texts, or ``None``."""
    return lambda value: (value is None or isinstance(value, str)) and value in accepted


def list_of(check: Check) -> Check:
    """Return a check that accepts lists of what another accepts."""
    return lambda value: isinstance(value, list) and all(map(check, value))


def object_of(check: Check) -> Check:
    """Return a check that accepts objects whose values another accepts."""
    return lambda value: isinstance(value, dict) and all(map(is_text, value)) and all(map(check, value.values()))


def optional(check: Check) -> Check:
    """Return a check that accepts ``None`` too."""
    return lambda value: value is None or check(value)


def record_of(**fields: Check) -> Check:
    """Return a check that accepts objects with some fields, of what their checks accept."""
    return lambda value: isinstance(value, dict) and wrong_field(value, fields) is None


def wrong_field(record: dict[str, Any], fields: dict[str, Check]) -> str | None:
    """Return the name of the first field of a record that is missing, or not as its check wants it."""
    return next((name for name, check in fields.items() if name not in record or not check(record[name])), None)
