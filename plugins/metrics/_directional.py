"""Limit on the image size for metrics that compare the directional parts of filters."""

from __future__ import annotations

import math

from gahbench import Shape
from gahbench.jacobian import LARGEST_EXACT


def check_size(metric: str, shape: Shape) -> None:
    """Raise ``ValueError`` for images that are too large for complete filters, which directional parts need."""
    if math.prod(shape) > LARGEST_EXACT:
        size = "x".join(map(str, shape))
        alternative = "truth-alignment" if metric.startswith("truth") else "alignment"
        raise ValueError(
            f"{metric} needs complete filters; accepted: images of up to {LARGEST_EXACT} values (48x48 grey), not "
            f"{size}; {alternative} accepts larger images"
        )
