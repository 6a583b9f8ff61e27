"""Pictures of a page: PNG files in palettes, as addresses."""

from __future__ import annotations

import base64
import io
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from PIL.Image import Image


def png_address(picture: Image, colours: int, **options: Any) -> str:
    """Return a picture as a ``data:`` address of a PNG."""
    small = picture if picture.mode == "P" else picture.convert("RGB").quantize(colours)
    buffer = io.BytesIO()
    small.save(buffer, "PNG", optimize=True, **options)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
