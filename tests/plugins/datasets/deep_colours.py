"""A PNG file with 16 bits per channel, which Pillow does not write."""

from __future__ import annotations

import struct
import zlib


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


#: The file of a black colour image of 8x8 pixels.
DEEP_COLOURS = (
    b"\x89PNG\r\n\x1a\n"
    + _chunk(b"IHDR", struct.pack(">IIBBBBB", 8, 8, 16, 2, 0, 0, 0))
    + _chunk(b"IDAT", zlib.compress(8 * (b"\0" + bytes(48))))
    + _chunk(b"IEND", b"")
)
