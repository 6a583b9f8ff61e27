"""Wavelet packets that are adapted to images."""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import Tensor

from gahbench import BasisError, Shape

from .._papers import COIFMAN_1992
from .._tensors import cache_tensors
from ._extension import Size, extend, first_layer, fold, lay_out
from .wavelet import Wavelet, check_orthogonal, wavelet_inverse, wavelet_matrix


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
    citation = COIFMAN_1992
    adaptive = True

    def __init__(self, name: str = "sym4", levels: int | None = None) -> None:
        check_orthogonal(name)
        super().__init__(name, levels)
        # For every level, whether each of its 2^level x 2^level squares is split: (N, C, 2^level, 2^level).
        self._splits: list[Tensor] | None = None
        self._images_shape: torch.Size | None = None

    def adapt(self, images: Tensor, threshold: float, noisy: bool = False) -> WaveletPacket:
        """Return the best basis of each channel of each image; a basis of one image transforms any number of images."""
        valid_size = self.valid_size(images.shape[-2], images.shape[-1])
        levels = len(self._sizes(*valid_size))
        costs = []
        packets = extend(images, valid_size)
        for level in range(levels + 1):
            costs.append(_squares(packets.square().clamp(max=threshold**2), level).sum((-3, -1)))
            if level < levels:
                packets = self._transform_squares(packets, level, wavelet_matrix)
        split_cost = threshold**2 if noisy else 0.0
        best = costs[levels]
        splits = []
        for level in reversed(range(levels)):
            children = _squares(best, level).sum((-3, -1)) + split_cost
            is_split = children < costs[level]
            is_split[..., 0, 0] = True
            best = torch.where(is_split, children, costs[level])
            splits.append(is_split)
        adapted = copy.copy(self)
        adapted._splits, adapted._images_shape = _reachable(splits[::-1]), images.shape
        return adapted

    def analysis(self, images: Tensor) -> Tensor:
        """Return the coefficients, in the dtype and on the device of the images; see :meth:`Wavelet.analysis`."""
        self._check(images)
        return super().analysis(images)

    def synthesis(self, coefficients: Tensor) -> Tensor:
        """Return the images, shape (N, C, H, W)."""
        self._check(coefficients)
        return super().synthesis(coefficients)

    def forward(self, images: Tensor) -> Tensor:
        """Return the coefficients, shape (N, C, H, W), of images whose sides can be halved."""
        coefficients = images
        for level, is_split in enumerate(self._adapted_splits()):
            transformed = self._transform_squares(coefficients, level, wavelet_matrix)
            coefficients = _where_split(is_split, transformed, coefficients)
        return coefficients

    def backward(self, coefficients: Tensor, size: Size) -> Tensor:
        """Return the images, shape (N, C, H, W)."""
        images = first_layer(coefficients, size)
        for level, is_split in reversed(list(enumerate(self._adapted_splits()))):
            images = _where_split(is_split, self._transform_squares(images, level, wavelet_inverse), images)
        return images

    def noise_levels(self, shape: Shape) -> Tensor:
        """Return the standard deviations under unit white noise: 1, or (N, C, K, H, W) if images are extended."""
        size = (shape[-2], shape[-1])
        valid_size = self.valid_size(*size)
        if valid_size == size:
            return super().noise_levels(shape)
        splits = self._adapted_splits()
        down, across = (
            _norms(self.name, side, extended, len(splits)) for side, extended in zip(size, valid_size, strict=True)
        )
        levels = torch.ones(*splits[0].shape[:2], *valid_size, dtype=torch.float64, device=splits[0].device)
        for is_split, rows, columns in zip(splits, down, across, strict=True):
            levels = _where_split(is_split, (rows[:, None] * columns).to(levels).expand_as(levels), levels)
        return lay_out(levels.flatten(2), size)

    def _adapted_splits(self) -> list[Tensor]:
        if self._splits is None:
            raise BasisError("wavelet-packet has no basis yet: call adapt(images, threshold), and use its result")
        return self._splits

    def _check(self, values: Tensor) -> None:
        """Raise ``BasisError`` for images, or coefficients, to which the basis is not adapted."""
        self._adapted_splits()
        adapted_shape = self._images_shape
        assert adapted_shape is not None
        shape = (*values.shape[:2], *values.shape[-2:])
        if shape[1:] != adapted_shape[1:] or adapted_shape[0] not in (1, len(values)):
            raise BasisError(f"wavelet-packet was adapted to images {tuple(adapted_shape)}, not {shape}")

    def _transform_squares(
        self, packets: Tensor, level: int, matrix: Callable[[str, int, torch.dtype, torch.device], Tensor]
    ) -> Tensor:
        """Transform every square of a level by a step of the wavelet transform, or of its inverse."""
        *batch, height, width = packets.shape
        rows, columns = (matrix(self.name, side >> level, packets.dtype, packets.device) for side in (height, width))
        down = rows @ packets.reshape(*batch, -1, len(rows), width)
        across = down.reshape(*batch, height, -1, len(columns)) @ columns.T
        return across.reshape(packets.shape)


def _squares(packets: Tensor, level: int) -> Tensor:
    """Reshape (..., H, W) to (..., 2^level, H / 2^level, 2^level, W / 2^level)."""
    *batch, height, width = packets.shape
    return packets.reshape(*batch, 1 << level, height >> level, 1 << level, width >> level)


def _where_split(is_split: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """Return the squares of ``first`` that are split, and the other squares of ``second``."""
    level = is_split.shape[-1].bit_length() - 1
    squares = torch.where(is_split[..., :, None, :, None], _squares(first, level), _squares(second, level))
    return squares.reshape(first.shape)


def _reachable(splits: list[Tensor]) -> list[Tensor]:
    """Return the splits whose ancestors are all split."""
    reachable = splits[:1]
    for is_split in splits[1:]:
        parents = reachable[-1].repeat_interleave(2, dim=-2).repeat_interleave(2, dim=-1)
        reachable.append(is_split & parents)
    return reachable


@cache_tensors(32)
def _norms(name: str, side: int, extended: int, levels: int) -> tuple[Tensor, ...]:
    """Return the norms of the rows that split an extended signal into all packets of each level, coarsest last."""
    composite = torch.eye(extended, dtype=torch.float64)
    norms = []
    for level in range(levels):
        identity = torch.eye(1 << level, dtype=torch.float64)
        composite = torch.kron(identity, wavelet_matrix(name, extended >> level)) @ composite
        norms.append(fold(composite, side).norm(dim=1))
    return tuple(norms)
