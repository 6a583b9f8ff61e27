"""Contact sheets: images side by side, every pixel a square of whole device pixels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.patches import Rectangle
from matplotlib.textpath import TextPath
from numpy.typing import NDArray

from gahbench._util.files import write_output
from gahbench._util.shapes import Shape, image_shape
from gahbench.evaluation.rates import MAX_PSNR
from gahbench.report.cells import folded, number
from gahbench.report.drawing import check_suffix, context, encode

if TYPE_CHECKING:
    from torch import Tensor

    from gahbench.sampling import Samples

# Lengths are in device pixels, of which an inch has so many.
_DPI = 200
_MIN_SIDE = 240
_MAX_SIDE = 512
_GAP = 14
_MARGIN = 24
_FONT = 8.0  # points
_LINE = 1.35 * _FONT * _DPI / 72
_ABREAST = 8
_MAX_SAMPLES = 64


@dataclass(frozen=True, eq=False)
class Cell:
    """One picture of a sheet."""

    picture: NDArray[np.float32]
    title: str = ""


def decibels(error: float) -> str:
    """Write a mean squared error per pixel as PSNR; one that is lost in the rounding of pixels only as that."""
    return f"{number(-10 * math.log10(error), 1)} dB" if error > 10 ** (-MAX_PSNR / 10) else f"> {MAX_PSNR} dB"


def write_figure(figure: Figure, file: Path) -> None:
    """Write a sheet in the format of its suffix."""
    check_suffix(file)
    write_output(encoded(figure, file.suffix.lower()), file)


def encoded(figure: Figure, suffix: str) -> bytes:
    """Return a sheet's file; equal sheets give equal bytes."""
    return encode(figure, suffix, dpi=_DPI)


def lay_out(rows: Sequence[Sequence[Cell]], names: Sequence[str], captions: Sequence[str]) -> Figure:
    """Lay out pictures of one size in rows."""
    with context():
        height, width = rows[0][0].picture.shape[:2]
        scale = max(1, math.ceil(_MIN_SIDE / max(height, width)))
        height, width = scale * height, scale * width
        # Pictures may be flatter than the name of their row.
        line = _GAP + max(height, math.ceil(_LINE))
        titles = [[cell.title for cell in row] for row in rows]
        pitch = _GAP + max(width, *(_text_width(title) for row in titles for title in row))
        left = _MARGIN + max(map(_text_width, names)) + (_GAP if any(names) else 0)
        total = left + max(map(len, rows)) * pitch - _GAP + _MARGIN
        # Characters are hardly wider than that on average; where they are, the sheet grows with its caption.
        fold = max(12, int((total - 2 * _MARGIN) / (0.72 * _FONT * _DPI / 72)))
        caption = "\n".join(folded(text, fold) for text in captions)
        total = max(total, _text_width(caption) + 2 * _MARGIN)
        heads = [math.ceil(_LINE * max(title.count("\n") + 1 if title else 0 for title in row)) for row in titles]
        top = _MARGIN + math.ceil(_LINE * (caption.count("\n") + 1)) + _GAP
        bottom = top + sum(heads) + len(rows) * line - _GAP + _MARGIN
        # Half a device pixel more, since the backend cuts off fractions.
        figure = Figure(figsize=((total + 0.5) / _DPI, (bottom + 0.5) / _DPI), dpi=_DPI)
        axes = figure.add_axes((0, 0, total / (total + 0.5), bottom / (bottom + 0.5)))
        axes.set(xlim=(0, total), ylim=(bottom, 0))
        axes.axis("off")
        text: dict[str, Any] = {"fontsize": _FONT, "linespacing": 1.2}
        axes.text(_MARGIN, _MARGIN, caption, va="top", **text)
        for row, name, head in zip(rows, names, heads, strict=True):
            top += head
            axes.text(left - _GAP, top + height / 2, name, ha="right", va="center", color="0.45", **text)
            for place, cell in enumerate(row):
                x = left + place * pitch
                extent = (x, x + width, top + height, top)
                # A frame of one device pixel sets white apart from paper.
                axes.add_patch(Rectangle((x - 1, top - 1), width + 2, height + 2, color="0.75", linewidth=0, zorder=1))
                axes.imshow(_eight_bits(cell.picture), extent=extent, interpolation="nearest", aspect="auto", zorder=2)
                axes.text(x, top - _GAP / 2, cell.title, va="bottom", **text)
            top += line
        # Showing an image has moved the limits.
        axes.set(xlim=(0, total), ylim=(bottom, 0))
    return figure


def _eight_bits(picture: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Return RGB values, shape (H, W, 3): a colour map would round grey ones twice."""
    colours = picture if picture.ndim == 3 else picture[:, :, None].repeat(3, axis=2)
    return np.round(255 * colours).astype(np.uint8)


def _text_width(text: str) -> int:
    """Return the width of the widest line, in device pixels."""
    font = FontProperties(size=_FONT)
    widths = [TextPath((0, 0), line, prop=font).get_extents().x1 for line in text.split("\n") if line.strip()]
    return math.ceil(max(widths, default=0) * _DPI / 72)


def picture(image: Tensor) -> NDArray[np.float32]:
    """Return an image (C, H, W) as it is shown: colours if it has three channels, else the mean of its channels."""
    side = _MAX_SIDE
    top, left = (max(0, (length - side) // 2) for length in image.shape[1:])
    seen = image[:, top : top + side, left : left + side].float()
    return np.asarray((seen.permute(1, 2, 0) if len(seen) == 3 else seen.mean(0)).clamp(0, 1))


def remark(shape: Shape) -> str:
    """Return a note on what pictures of images (C, H, W) leave out, if anything."""
    channels, height, width = shape
    left_out = "" if channels in (1, 3) else f", mean of {channels} channels"
    if max(height, width) > _MAX_SIDE:
        left_out += f", central {min(height, _MAX_SIDE)}×{min(width, _MAX_SIDE)} of {height}×{width} pixels"
    return left_out


def sample_sheet(samples: Samples) -> Figure:
    """Draw the first 64 samples; above those that did not converge their status is written."""
    shown = min(len(samples), _MAX_SAMPLES)
    images = samples.images[:shown].nan_to_num(nan=0, posinf=0, neginf=0)
    cells = [
        Cell(picture(image), "" if status == "converged" else status)
        for image, status in zip(images, samples.status, strict=False)
    ]
    firsts = range(0, shown, _ABREAST)
    rows = [cells[first : first + _ABREAST] for first in firsts]
    which = "" if shown == len(samples) else f"the first {shown} of "
    caption = f"{which}{samples}, seed {samples.settings.seed}{remark(image_shape(samples.images))}"
    names = [str(samples.first + first) for first in firsts]
    return lay_out(rows, names, [*samples.source.split("\n"), caption] if samples.source else [caption])
