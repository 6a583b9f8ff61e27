"""Numbers that are written as fractions, as noise levels of 8-bit images are: ``25/255``."""

from __future__ import annotations

import re
from typing import Any

_NUMBER = r"(?:\d+(?:\.\d*)?|\.\d+)"
_FRACTION = re.compile(rf"\s*({_NUMBER})\s*/\s*({_NUMBER})\s*")


def as_number(value: Any) -> Any:
    """Return the number that a text such as ``25/255`` stands for; anything else as it is."""
    found = _FRACTION.fullmatch(value) if isinstance(value, str) and len(value) < 100 else None
    if found is None or float(found[2]) == 0:
        return value
    return float(found[1]) / float(found[2])
