"""A sheet of samples."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gahbench._util.shapes import image_shape
from gahbench.report.contact_sheet import Cell, lay_out, picture, remark

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from gahbench.sampling import Samples

_ABREAST = 8
_MAX_SAMPLES = 64


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
