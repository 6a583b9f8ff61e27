"""Image files that are damaged, or declare a size that they do not have."""

from __future__ import annotations

import functools
import io
import struct
import zlib
from typing import Any

import numpy as np
from hypothesis import strategies as st
from PIL import Image

MODES = {
    "PNG": ("1", "L", "LA", "P", "RGB", "RGBA", "I", "I;16"),
    "JPEG": ("L", "RGB", "CMYK"),
    "BMP": ("1", "L", "P", "RGB"),
    "GIF": ("L", "P", "RGB"),
    "TIFF": ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "LAB", "I", "I;16", "F"),
    "WEBP": ("RGB", "RGBA"),
    "PPM": ("1", "L", "RGB", "I"),
    "JPEG2000": ("L", "RGB", "RGBA"),
    "ICO": ("RGB",),
    "EPS": ("RGB",),
    "PDF": ("RGB",),
}
SUFFIXES = {"JPEG": ".jpg", "TIFF": ".tif", "JPEG2000": ".jp2", "PPM": ".pnm"}
SIDES = (1, 2, 3, 7, 8, 9, 24, 40, 64, 100)
#: Sides that headers declare, although the files do not contain images of such sides.
DECLARED_SIDES = (0, 1, 8, 4000, 8192, 8193, 13_000, 16_384, 40_000, 65_535, 2**31 - 1, 2**32 - 1)


def picture(kind: str, mode: str, height: int, width: int, number: int, orientation: Any = None) -> bytes:
    """Return an image file with random pixels; grey if PIL cannot write the mode."""
    rng = np.random.default_rng(number)
    image = Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))
    options: dict[str, Any] = {}
    if orientation is not None:
        exif = Image.Exif()
        exif[0x0112] = orientation
        options["exif"] = exif
    for candidate in (mode, "L"):
        buffer = io.BytesIO()
        try:
            image.convert("I" if candidate == "I;16" else candidate).convert(candidate).save(buffer, kind, **options)
        except Exception:
            options = {}
            continue
        return buffer.getvalue()
    return b""


def file_with_declared_size(kind: str, height: int, width: int) -> bytes:
    """Return a small file that declares an image of any size."""
    if kind == "PPM":
        return f"P6 {width} {height} 255\n".encode() + bytes(300)
    if kind == "PNG":
        header = struct.pack(">IIBBBBB", width % 2**32, height % 2**32, 8, 2, 0, 0, 0)
        return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", zlib.compress(bytes(99))) + _chunk(
            b"IEND", b""
        )  # fmt: skip
    content = picture(kind, MODES[kind][-1], 57, 59, 0)
    # Replace the sides wherever they are stored, in four or two bytes of either order.
    for side, declared in ((57, height), (59, width)):
        for form in (">I", "<I", ">H", "<H"):
            limit = 2 ** (8 * struct.calcsize(form))
            content = content.replace(struct.pack(form, side), struct.pack(form, declared % limit))
    return content


@functools.cache
def bomb(side: int) -> bytes:
    """Return a small PNG file with very many black pixels."""
    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    compressor = zlib.compressobj(9)
    row = bytes(side + 1)
    packed = b"".join([*(compressor.compress(row) for _ in range(side)), compressor.flush()])
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", packed) + _chunk(b"IEND", b"")


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def damage_bytes(content: bytes, kind: str, number: int) -> bytes:
    """Return content with some bytes removed, changed or repeated."""
    rng = np.random.default_rng(number)
    if kind == "cut" and content:
        return content[: int(rng.integers(len(content)))]
    if kind == "doubled":
        return content + content
    if kind in ("flipped", "header flipped") and content:
        changed = bytearray(content)
        end = len(changed) if kind == "flipped" else min(len(changed), 80)
        for index in rng.integers(0, end, rng.integers(1, 6)):
            changed[index] = rng.integers(256)
        return bytes(changed)
    if kind == "filled" and len(content) > 4:
        first, last = sorted(rng.integers(0, len(content), 2))
        return content[:first] + bytes([rng.choice((0, 255))]) * (last - first) + content[last:]
    return content


DAMAGES = ("none", "none", "cut", "flipped", "header flipped", "filled", "doubled")


@st.composite
def pictures(draw: st.DrawFn) -> tuple[str, bytes]:
    """Draw the suffix and the content of an image file."""
    kind = draw(st.sampled_from(sorted(MODES)))
    suffix = SUFFIXES.get(kind, f".{kind.lower()}")
    number = draw(st.integers(0, 10_000))
    source = draw(st.sampled_from(("picture",) * 6 + ("file_with_declared_size", "bomb", "noise", "empty")))
    if source == "picture":
        mode, orientation = draw(st.sampled_from(MODES[kind])), draw(st.sampled_from((None, None, 1, 3, 6, 8, 0, 77)))
        content = picture(kind, mode, draw(st.sampled_from(SIDES)), draw(st.sampled_from(SIDES)), number, orientation)
    elif source == "file_with_declared_size":
        content = file_with_declared_size(
            kind, draw(st.sampled_from(DECLARED_SIDES)), draw(st.sampled_from(DECLARED_SIDES))
        )
    elif source == "bomb":
        # The smallest bomb is not refused, and must be decoded within the limits.
        suffix, content = ".png", bomb(draw(st.sampled_from((13_000, 8193, 3000))))
    else:
        content = b"" if source == "empty" else np.random.default_rng(number).bytes(draw(st.sampled_from((1, 9, 3000))))
    return suffix, damage_bytes(content, draw(st.sampled_from(DAMAGES)), number)
