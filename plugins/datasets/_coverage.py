"""The part of each pixel on one side of a curve."""

from __future__ import annotations

import torch
from torch import Tensor


def coverage(rows: Tensor, columns: Tensor, size: int) -> Tensor:
    """Return the area of each pixel to the right of a path, or inside of a closed one."""
    # Parts of a path above or below the image cover nothing, those left of it all columns.
    middles = ((columns[:, 1:] + columns[:, :-1]) / 2).clamp(0, size)
    rows = rows.clamp(0, size).expand(len(middles), -1)
    lefts = middles.floor()
    shares = middles - lefts
    ends = rows[:, :-1], rows[:, 1:]
    first = torch.minimum(*ends).floor()
    last = torch.maximum(*ends).floor()
    # The part that a step covers of its row goes to the pixel it crosses and, as an increment, to the next: a sum along
    # the row then covers all pixels to the right. The row and columns past the image take what has no place in it.
    increments = rows.new_zeros(len(rows), (size + 1) * (size + 2))
    for offset in range(int((last - first).max()) + 1):
        row = first + offset
        depth = (ends[1] - row).clamp(0, 1) - (ends[0] - row).clamp(0, 1)
        places = row.long().clamp(max=size) * (size + 2) + lefts.long()
        increments.scatter_add_(1, places, depth * (1 - shares))
        increments.scatter_add_(1, places + 1, depth * shares)
    # The clamp removes only rounding.
    return increments.view(-1, size + 1, size + 2)[:, :size, :size].cumsum(-1).clamp(0, 1)
