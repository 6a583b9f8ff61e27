"""Wavelet packets that are adapted to images."""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import Tensor

from gahbench_plugins.bases.extended import Size, check_adapted, extend
from gahbench_plugins.bases.wavelet import Levels, Wavelet, check_name, packet_norms, wavelet_inverse, wavelet_matrix


class WaveletPacket(Wavelet):
    """The best basis of orthonormal wavelet packets (Coifman & Wickerhauser 1992) with periodic boundaries.

    Every detail subband of ``Wavelet`` may be split into four parts by the same filters, recursively until its parts
    are as small as the approximation. The splits, a quadtree for each channel of each image, define an orthonormal
    basis. :meth:`adapt` finds the basis with the minimum sum of min(c^2, threshold^2) over the coefficients c, from the
    smallest parts up. The approximation is always split to the last level, so that the basis without further splits is
    the wavelet transform, and the coarse scale is the same for every image.

    On noisy images each further split costs threshold^2, as much as a kept coefficient. White noise has the same energy
    in all of these bases, so their costs on noise differ only by rare coefficients above the threshold, and a
    split must save more than a kept coefficient.

    Coefficients are arranged as for the wavelet, with the four parts of a split subband in its quarters. The output of
    the low-pass filters is at the top left of every split subband, so the parts are not sorted by frequency.

    Images whose sides cannot be halved often enough are extended as in ``Wavelet``. Then the noise of the coefficients
    depends on the splits, and so noise levels are separate for each image.

    Parameters
    ----------
    name
        An orthogonal wavelet of the families haar, db, sym and coif.
    levels
        Maximum number of times that the sides are halved, by default as in ``Wavelet``.

    Raises
    ------
    ValueError
        If the orthogonal wavelet does not exist.
    """

    display_name = "{name:text} wavelet packets"
    citation = "coifman-1992"
    adaptive = True

    def __init__(self, name: str = "sym4", levels: Levels = None) -> None:
        check_name(name)
        super().__init__(name, levels)
        # For every level, whether each of its 2^level x 2^level squares is split: (N, C, 2^level, 2^level).
        self._splits: list[Tensor] = []
        self._shape = torch.Size()

    def adapt(self, images: Tensor, threshold: float, noisy: bool = False) -> WaveletPacket:
        """Return the best basis of each channel of each image; a basis of one image transforms any number of images."""
        packets = extend(images, self.valid_size(images.shape[-2], images.shape[-1]))
        levels = self.depth(packets.shape[-2], packets.shape[-1])
        costs = []
        for level in range(levels + 1):
            if level:
                packets = self._transform_squares(packets, level - 1, wavelet_matrix)
            costs.append(_squares(packets.square().clamp(max=threshold**2), level).sum((-3, -1)))
        best = costs[levels]
        splits: list[Tensor] = []
        for level in reversed(range(levels)):
            children = _squares(best, level).sum((-3, -1)) + (threshold**2 if noisy else 0.0)
            is_split = children < costs[level]
            is_split[..., 0, 0] = True
            best = torch.where(is_split, children, costs[level])
            splits.insert(0, is_split)
        for level in range(1, levels):
            # A square exists only if the larger square was split.
            splits[level] &= splits[level - 1].repeat_interleave(2, dim=-2).repeat_interleave(2, dim=-1)
        adapted = copy.copy(self)
        adapted._splits, adapted._shape = splits, packets.shape
        return adapted

    def forward(self, images: Tensor) -> Tensor:
        """Return the coefficients, shape (N, C, H, W), of images whose sides can be halved."""
        check_adapted(self, self._shape, images.shape)
        for level, is_split in enumerate(self._splits):
            images = _where_split(is_split, self._transform_squares(images, level, wavelet_matrix), images)
        return images

    def backward(self, coefficients: Tensor) -> Tensor:
        """Return the images, shape (N, C, H, W)."""
        check_adapted(self, self._shape, coefficients.shape)
        for level, is_split in reversed(list(enumerate(self._splits))):
            images = self._transform_squares(coefficients, level, wavelet_inverse)
            coefficients = _where_split(is_split, images, coefficients)
        return coefficients

    def extended_noise(self, size: Size, valid_size: Size) -> Tensor:
        """Return the standard deviations of coefficients of extended unit white noise, float64, (N, C, H, W)."""
        check_adapted(self, self._shape, self._shape)
        axes = [packet_norms(self.name, *sides, len(self._splits)) for sides in zip(size, valid_size, strict=True)]
        levels = torch.ones(*self._shape[:2], *valid_size, dtype=torch.float64, device=self._splits[0].device)
        for is_split, rows, columns in zip(self._splits, *axes, strict=True):
            levels = _where_split(is_split, (rows[:, None] * columns).to(levels).expand_as(levels), levels)
        return levels

    def _transform_squares(self, packets: Tensor, level: int, matrix: Callable[..., Tensor]) -> Tensor:
        """Transform every square of a level by a step of the wavelet transform, or of its inverse."""
        rows, columns = (matrix(self.name, side >> level, packets.dtype, packets.device) for side in packets.shape[-2:])
        down = (rows @ torch.unflatten(packets, -2, (-1, len(rows)))).flatten(-3, -2)
        return (torch.unflatten(down, -1, (-1, len(columns))) @ columns.T).flatten(-2)


def _squares(packets: Tensor, level: int) -> Tensor:
    """Reshape (..., H, W) to (..., 2^level, H / 2^level, 2^level, W / 2^level)."""
    return torch.unflatten(torch.unflatten(packets, -1, (1 << level, -1)), -3, (1 << level, -1))


def _where_split(is_split: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """Return the squares of ``first`` that are split, and the other squares of ``second``."""
    level = is_split.shape[-1].bit_length() - 1
    squares = torch.where(is_split[..., :, None, :, None], _squares(first, level), _squares(second, level))
    return squares.reshape(first.shape)
