"""Messages between a supervisor and its worker processes: lines of JSON on pipes of their own.

Standard output and error are the plugins'. The pipes have high numbers, and are closed where another program is
started. A message counts if it bears the secret of its worker, and the number of its process (a fork has the secret
too): whatever else is written to the pipe is dropped. That keeps out accidents, and plugins that write to every
descriptor; one that searches the memory of its process for the secret is out of reach of anything in that process.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from typing import Any

#: Characters of a traceback that are kept.
MAX_TRACEBACK = 20_000
#: Seconds between two signs of life of a worker.
BEAT_SECONDS = 2.0
#: The exit status of a worker whose pipe of reports was closed in it.
REPORTS_CLOSED = 70
#: Why a unit has failed that was said to have finished.
NOT_HELD = "its worker said that it had finished, and the store does not hold it whole"
#: Bytes of a line; a longer one is not a message.
MAX_LINE = 1 << 20
_NUMBER, _TEXT, _OPTIONAL_TEXT = (int, float), (str,), (str, type(None))
#: The fields of each event, with their types.
_FORMS: dict[str, dict[str, tuple[type, ...]]] = {
    "ready": {},
    "alive": {"ended": _OPTIONAL_TEXT},
    "constructing": {"what": _OPTIONAL_TEXT},
    "progress": {
        "step": (int,),
        "steps": (int, type(None)),
        "fraction": _NUMBER,
        "loss": _NUMBER,
        "psnr": (int, float, type(None)),
        "images_per_second": _NUMBER,
        "remaining_seconds": _NUMBER,
    },
    "note": {"text": _TEXT},
    "finished": {"unit": _TEXT, "seconds": _NUMBER, "moved": (list,)},
    "stopped": {"unit": _TEXT, "moved": (list,)},
    "failed": {"unit": _TEXT, "error": _TEXT, "traceback": _TEXT, "code_changed": (bool,), "moved": (list,)},
}
#: Whatever a plugin puts in its place later.
_dumps = json.dumps
#: The events that end a unit.
ENDS = ("finished", "stopped", "failed")


def encode(message: Mapping[str, Any]) -> bytes:
    """Return a message as bytes; it begins a line, whatever a plugin may have written before."""
    return f"\n{_dumps(message, default=str)}\n".encode()


def decode(line: bytes, secret: str, process: int) -> dict[str, Any] | None:
    """Return the message in a line, without what proves it; ``None`` if it is none of this worker's."""
    try:
        message = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(message, dict) or message.pop("secret", None) != secret or message.pop("process", 0) != process:
        return None
    form = _FORMS.get(str(message.get("event")))
    if form is None or form.keys() != message.keys() - {"event"}:
        return None
    return message if all(isinstance(message[name], types) for name, types in form.items()) else None


def seconds_of(value: float) -> float:
    """Return seconds that a worker reported; 0 for what is no duration."""
    return float(value) if math.isfinite(value) and value >= 0 else 0.0


def high_descriptor(descriptor: int) -> int:
    """Move a descriptor to a high number, closed where another program is started, and return it.

    Programs close or write to low numbers that they take for theirs.
    """
    import fcntl

    for least in (800, 200):
        try:
            moved = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, least)
        except (OSError, ValueError):
            continue  # A system that grants fewer descriptors.
        os.close(descriptor)
        return moved
    os.set_inheritable(descriptor, False)
    return descriptor
