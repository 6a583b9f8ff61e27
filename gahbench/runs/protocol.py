"""Messages between a process and its child processes: lines of JSON through a socket.

The parent's end is :class:`gahbench.runs.child.Child`, the child's end is :class:`Link`. Standard output and error are
left to plugins. A line that does not name the process of the child, or has other fields or types than its event has, is
not a message: neither what a plugin prints to every descriptor nor a fork of the process can report an event by
accident. A plugin that means to forge messages can.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import socket
import threading
import time
from collections.abc import Mapping
from typing import Any

from gahbench._util.errors import PluginError

#: Characters of a traceback that are kept.
MAX_TRACEBACK = 20_000
#: Seconds between two heartbeats of a child process.
HEARTBEAT_SECONDS = 2.0
#: Seconds for which a child process may go on once its parent is gone.
LAST_SECONDS = 20.0
#: The exit status of a process whose end of the socket was closed in it.
SOCKET_CLOSED = 70
#: The error of a unit that its worker reports as finished and that the store does not hold.
NOT_HELD = "its worker said that it had finished, and the store does not hold it whole"
_NUMBER, _OPTIONAL_NUMBER, _TEXT = (int, float), (int, float, type(None)), (str,)
#: The fields of each event, with their types.
_FORMS: dict[str, dict[str, tuple[type, ...]]] = {
    "alive": {},
    "constructing": {"what": _TEXT},
    # From worker processes.
    "ready": {},
    "progress": {
        "step": (int,),
        "steps": (int, type(None)),
        "fraction": _NUMBER,
        "loss": _NUMBER,
        "psnr": _OPTIONAL_NUMBER,
        "images_per_second": _NUMBER,
        "remaining_seconds": _NUMBER,
    },
    "note": {"text": _TEXT},
    "finished": {"unit": _TEXT, "seconds": _NUMBER},
    "stopped": {"unit": _TEXT},
    "unstored": {"unit": _TEXT, "error": _TEXT, "number": (int, type(None))},
    "lost": {"unit": _TEXT, "error": _TEXT, "traceback": _TEXT},
    "failed": {"unit": _TEXT, "error": _TEXT, "traceback": _TEXT, "code_changed": (bool,)},
    # From the process that plans.
    "opened": {"record": (dict,)},
    "refused": {"error": _TEXT, "kind": _TEXT},
    "os error": {"errno": (int,), "error": _TEXT, "file": (str, type(None))},
}
#: The events that end a unit.
ENDS = ("finished", "stopped", "unstored", "lost", "failed")
#: A plugin may replace ``json.dumps``.
_ENCODER = json.JSONEncoder(default=str)


class CodeChangedError(PluginError):
    """The code here is not that which planned a unit."""


def encode(message: Mapping[str, Any]) -> bytes:
    """Return a message as bytes; it begins a line, whatever a plugin may have written before."""
    return f"\n{_ENCODER.encode(message)}\n".encode()


def decode(line: bytes | bytearray, process: int) -> dict[str, Any] | None:
    """Return the message in a line; ``None`` if it is not a message of the process."""
    try:
        message = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(message, dict) or message.pop("process", 0) != process:
        return None
    form = _FORMS.get(str(message.get("event")))
    if form is None or form.keys() != message.keys() - {"event"}:
        return None
    return message if all(isinstance(message[name], types) for name, types in form.items()) else None


class Link:
    """The end of a child process: it receives commands, and sends events and heartbeats."""

    def __init__(self, descriptor: int) -> None:
        self.inbox: queue.Queue[dict[str, Any]] = queue.Queue()
        self.stop = threading.Event()
        # Programs that a plugin starts must not keep the socket open.
        os.set_inheritable(descriptor, False)
        self._socket = socket.socket(fileno=descriptor)
        self._process = os.getpid()
        self._lock = threading.Lock()
        for target in (self._listen, self._beat):
            threading.Thread(target=target, daemon=True).start()

    def send(self, event: str, **details: Any) -> None:
        """Report an event; the process ends if its socket was closed in it."""
        if os.getpid() != self._process:
            return  # A plugin has forked the process.
        line = encode({"event": event, "process": self._process, **details})
        with self._lock:
            try:
                self._socket.sendall(line)
            except ConnectionError:
                # The parent is gone; a fit may still write its checkpoint.
                self.stop.set()
            except OSError:
                os._exit(SOCKET_CLOSED)

    def _listen(self) -> None:
        try:
            with self._socket.makefile("rb") as lines:
                for line in lines:
                    message = json.loads(line)
                    if message.get("stop"):
                        self.stop.set()
                    self.inbox.put(message)
        except (OSError, ValueError):
            pass  # The parent died, maybe in the middle of a line.
        # The parent is gone: a fit may write its checkpoint, and then the process group is killed.
        self.stop.set()
        self.inbox.put({})
        time.sleep(LAST_SECONDS)
        if os.getpgrp() == os.getpid():
            os.killpg(os.getpid(), signal.SIGKILL)
        os._exit(0)

    def _beat(self) -> None:
        while True:
            self.send("alive")
            time.sleep(HEARTBEAT_SECONDS)
