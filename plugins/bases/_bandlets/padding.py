"""White noise in the wavelet coefficients of padded images."""

from __future__ import annotations

import torch
from torch import Tensor

from .._extension import NO_NOISE
from ..wavelet import COARSE, wavelet_matrix


def padded_size(height: int, width: int, levels: int | None, deepest: int = 4, smallest: int = 4) -> tuple[int, int]:
    """Return the size to which images are padded: the smallest that can be halved ``levels`` times."""
    if levels is None:
        down, across = height, width
        while down % 2 == across % 2 == 0 and min(down, across) // 2 >= smallest:
            down, across = down // 2, across // 2
        if height % 2 == width % 2 == 0 and min(down, across) < COARSE:
            return height, width
        levels = 1
        while levels < deepest and min(height, width) >> (levels + 1) >= smallest:
            levels += 1
    multiple = 1 << levels
    return -(-height // multiple) * multiple, -(-width // multiple) * multiple


def padded_noise(wavelet: str, levels: int, size: tuple[int, int], padded: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Return the statistics of white noise in the wavelet coefficients of padded images."""
    rows = _axis(wavelet, levels, size[0], padded[0])
    columns = _axis(wavelet, levels, size[1], padded[1])
    deviations = torch.ones(padded, dtype=torch.float64)
    untouched = torch.ones(padded, dtype=torch.bool)
    for level in range(levels):
        height, width = padded[0] >> level, padded[1] >> level
        (down, clear_down), (across, clear_across) = rows[level], columns[level]
        deviations[:height, :width] = down[:, None] * across[None, :]
        untouched[:height, :width] = clear_down[:, None] & clear_across[None, :]
    return torch.where(deviations > NO_NOISE, deviations, 0), untouched


def _axis(wavelet: str, levels: int, size: int, padded: int) -> list[tuple[Tensor, Tensor]]:
    """Return deviations, and a mask of untouched samples, along one side: approximation and details at each level."""
    padding = torch.zeros(padded, size, dtype=torch.float64)
    padding[torch.arange(padded), torch.arange(padded).clamp(max=size - 1)] = 1
    approximation = torch.eye(padded, dtype=torch.float64)
    found = []
    for level in range(levels):
        both = wavelet_matrix(wavelet, padded >> level) @ approximation
        found.append(((both @ padding).norm(dim=1), (both[:, size:].abs() < 1e-12).all(dim=1)))
        approximation = both[: len(both) // 2]
    return found
