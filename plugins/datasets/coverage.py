"""How much of each pixel lies on one side of a curve."""

from __future__ import annotations

import torch
from torch import Tensor


def coverage(rows: Tensor, columns: Tensor, size: int) -> Tensor:
    """Return the area of each pixel to the right of a path, or inside of a closed one.

    A path counts where it goes down and counts negatively where it goes up, so a closed path that comes down
    on its left encloses a coverage of 1. By Green's theorem the area is the integral along the path of the
    width to its right; each step of the path is cut exactly at the borders between rows and taken at its
    middle across, which makes polygons of steps well below a pixel exact to about the square of the step.

    Parameters
    ----------
    rows, columns
        Nodes of the paths in pixels, shape (N, P) or (1, P) when shared; pixel (i, j) is the square from (i,
        j) to (i + 1, j + 1). They may leave the image.
    size
        Height and width of the images.

    Returns
    -------
    Tensor
        Shape (N, size, size), values in [0, 1].
    """
    borders = torch.arange(size, dtype=rows.dtype, device=rows.device)[:, None]
    # Height that each step covers in each row, shape (N, size, P - 1).
    depth = (rows[:, None, :] - borders).clamp(0, 1).diff(dim=-1)
    middles = (columns[:, 1:] + columns[:, :-1]) / 2
    # Width of each pixel to the right of each step, shape (N, P - 1, size).
    width = (borders[:, 0] + 1 - middles[:, :, None]).clamp(0, 1)
    # The clamp removes only rounding.
    return (depth @ width).clamp(0, 1)
