"""Keys of units: hashes of documents."""

from __future__ import annotations

import hashlib
import json
from typing import Any


def canonical(value: Any) -> str:
    """Return the canonical JSON of a value: sorted keys, no spaces, no NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False, default=str)


def key_of(value: Any) -> str:
    """Return the key of a value: the first 20 hexadecimal digits of the SHA-256 of its canonical JSON."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()[:20]
