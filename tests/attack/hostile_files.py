"""The table of hostile files that all readers are tried on: contents that are no record, and special files."""

from __future__ import annotations

import os
import socket
from pathlib import Path

#: Contents that are neither a record of gahbench nor its plan, by description.
CONTENTS = {
    "empty": b"",
    "an open object": b"{",
    "a list": b"[]",
    "null": b"null",
    "not a number": b"NaN",
    "an infinite number": b"1e999",
    "a long number": b"9" * 5000,
    "half of a character": b'"\\ud800"',
    "not UTF-8": b"\xff\xfe",
    "zeros": b"\0" * 64,
    "nested lists": b"[" * 100_000,
    "nested objects": b'{"a":' * 100_000,
    "files that are a list": b'{"files": []}',
    "no files": b'{"files": {}}',
    "a repeated name": b'{"suite": "s", "suite": 1}',
    "control characters": b'{"error": "a\\nb\\u0000\\ud800"}',
}
#: Kinds of paths other than readable regular files.
SPECIAL = ("fifo", "socket", "folder", "broken link", "link", "loop", "device", "zero", "missing", "forbidden")


def make_special(kind: str, path: Path, content: bytes = b"") -> Path:
    """Create a special or unreadable file, or a link to a file with the content, and return its path."""
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "socket":
        # The path of a socket must be short, so bind it in the current folder and move it.
        with socket.socket(socket.AF_UNIX) as unix_socket:
            unix_socket.bind("socket")
            Path("socket").rename(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "broken link":
        path.symlink_to("nowhere")
    elif kind == "link":
        path.with_name("target").write_bytes(content)
        path.symlink_to("target")
    elif kind == "loop":
        path.symlink_to(path.name)
    elif kind == "forbidden":
        path.write_bytes(content)
        path.chmod(0)
    elif kind != "missing":
        path.symlink_to("/dev/null" if kind == "device" else "/dev/zero")
    return path
