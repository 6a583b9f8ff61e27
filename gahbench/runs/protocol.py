"""Messages between a process and its child processes: lines of JSON through a socket.

The parent's end is :class:`gahbench.runs.child.Child`, and the child's end is :class:`Link`. Plugins may use
standard output and standard error. A line is a message only if it contains the process ID of the child, and exactly the
fields of its event with their types. So neither a plugin that writes to every file descriptor nor a forked process
reports an event by accident. A plugin can still forge messages on purpose.
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

#: The maximum number of characters of a traceback that is sent.
MAX_TRACEBACK = 20_000
#: Seconds between two heartbeats of a child process.
HEARTBEAT_SECONDS = 2.0
#: Seconds for which a child process continues after its parent has ended.
ORPHAN_SECONDS = 20.0
#: The exit status of a child process in which the socket was closed.
SOCKET_CLOSED = 70
#: The error of a unit that its worker reports as finished although the store does not hold it.
NOT_STORED = "the worker reported the unit as finished, but the results folder does not hold it complete"
_NUMBER, _OPTIONAL_NUMBER, _TEXT = (int, float), (int, float, type(None)), (str,)
#: The fields of each event, with their types.
_EVENT_FIELDS: dict[str, dict[str, tuple[type, ...]]] = {
    "alive": {},
    "constructing": {"plugin": _TEXT},
    # Events of worker processes.
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
    # Events of the process that plans.
    "opened": {"record": (dict,)},
    "refused": {"error": _TEXT, "kind": _TEXT},
    "os error": {"errno": (int,), "error": _TEXT, "file": (str, type(None))},
}
#: The events that end a unit.
ENDS = ("finished", "stopped", "unstored", "lost", "failed")
#: A separate encoder, since a plugin may replace ``json.dumps``.
_ENCODER = json.JSONEncoder(default=str)


class CodeChangedError(PluginError):
    """The code that would run a unit differs from the code that planned it."""


def encode(message: Mapping[str, Any]) -> bytes:
    """Return a message as bytes; it begins with a newline, to end any incomplete line that a plugin wrote."""
    return f"\n{_ENCODER.encode(message)}\n".encode()


def decode(line: bytes | bytearray, process: int) -> dict[str, Any] | None:
    """Return the message in a line; ``None`` if the line is not a message of the process with this ID."""
    try:
        message = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(message, dict) or message.pop("process", 0) != process:
        return None
    fields = _EVENT_FIELDS.get(str(message.get("event")))
    if fields is None or fields.keys() != message.keys() - {"event"}:
        return None
    return message if all(isinstance(message[name], types) for name, types in fields.items()) else None


class Link:
    """The child's end of the socket: it receives commands, and sends events and heartbeats."""

    def __init__(self, descriptor: int) -> None:
        self.inbox: queue.Queue[dict[str, Any]] = queue.Queue()
        self.stop = threading.Event()
        # Programs that a plugin starts must not inherit the socket and keep it open.
        os.set_inheritable(descriptor, False)
        self._socket = socket.socket(fileno=descriptor)
        self._process = os.getpid()
        self._lock = threading.Lock()
        for target in (self._listen, self._send_heartbeats):
            threading.Thread(target=target, daemon=True).start()

    def send(self, event: str, **details: Any) -> None:
        """Report an event; if a plugin has closed the socket, exit with :data:`SOCKET_CLOSED`."""
        if os.getpid() != self._process:
            return  # This is a forked process.
        line = encode({"event": event, "process": self._process, **details})
        with self._lock:
            try:
                self._socket.sendall(line)
            except ConnectionError:
                # The parent has ended; a fit may still write its checkpoint.
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
            pass  # The parent has died, perhaps while it was writing a line.
        # The parent has ended: let a fit write its checkpoint, then kill the process group.
        self.stop.set()
        self.inbox.put({})
        time.sleep(ORPHAN_SECONDS)
        if os.getpgrp() == os.getpid():
            os.killpg(os.getpid(), signal.SIGKILL)
        os._exit(0)

    def _send_heartbeats(self) -> None:
        while True:
            self.send("alive")
            time.sleep(HEARTBEAT_SECONDS)
