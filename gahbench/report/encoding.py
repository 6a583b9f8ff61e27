"""Figures as files: the formats there are, and bytes that are equal for equal figures."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gahbench._util.errors import ParameterError, listing
from gahbench.report.figures import context

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Formats by file suffix, with the entries that would make equal figures differ in their bytes.
FORMATS: dict[str, dict[str, None]] = {
    ".png": {"Software": None},
    ".svg": {"Date": None, "Creator": None},
    ".pdf": {"CreationDate": None, "Creator": None, "Producer": None},
}


def check_suffix(file: Path) -> None:
    """Refuse a file of an unknown format."""
    if file.suffix.lower() not in FORMATS:
        raise ParameterError(f"{file}: unknown suffix '{file.suffix}'; accepted: {listing(FORMATS)}")


def encode(figure: Figure, suffix: str, *, as_text: bool = False, **options: Any) -> bytes:
    """Return a figure's file; equal figures give equal bytes."""
    import matplotlib

    buffer = io.BytesIO()
    # Vector formats would merge all pictures into one, moved by a fraction of a pixel.
    settings: Any = {"image.composite_image": False, "svg.fonttype": "none" if as_text else "path"}
    with context(), matplotlib.rc_context(settings):
        _without_broken_formulas(figure)
        figure.savefig(buffer, format=suffix.lstrip("."), metadata=FORMATS[suffix], **options)
    return buffer.getvalue()


def _without_broken_formulas(figure: Figure) -> None:
    """Have texts between dollar signs that are no formula, as labels may have, written as they are."""
    from matplotlib.mathtext import MathTextParser
    from matplotlib.text import Text

    parser = MathTextParser("path")
    for text in figure.findobj(Text):
        if isinstance(text, Text) and "$" in text.get_text():
            try:
                for line in text.get_text().split("\n"):
                    parser.parse(line)
            except ValueError:
                text.set_parse_math(False)
