"""Wavelet packets, adapted to images."""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import Tensor

from gahbench import BasisError, Shape

from .._papers import COIFMAN_1992
from .._tensors import cache_tensors
from ._extension import Size, first_layer, folded, laid_out, mirrored
from .wavelet import Wavelet, check_orthogonal, wavelet_inverse, wavelet_matrix


class WaveletPacket(Wavelet):
    """The best basis of orthonormal wavelet packets (Coifman & Wickerhauser 1992) with periodic boundaries.

    Every detail subband of ``Wavelet`` may itself be split into four by the same filters, and so on until its parts
    are as small as the approximation. A choice of splits, a quadtree for each channel of each image, is an
    orthonormal basis; :meth:`adapt` finds, from the bottom up, the one with the least sum over coefficients of
    min(c^2, threshold^2). The approximation is always split down to the last level, so that the plain wavelet
    transform is the basis without further splits, and the coarse scale is the same for every image.

    On noisy images each further split is charged threshold^2, as much as a coefficient that is kept. All of these
    bases see white noise of the same energy, so that under noise their costs differ only by its rare coefficients
    above the threshold, and a split must save more than one kept coefficient does.

    Coefficients lie where the wavelet's do, with the four parts of a subband that is split in its quarters, low
    frequencies of the filters at the top left of each (not sorted by frequency).

    Images of other sizes are continued as in ``Wavelet``. How their noise is spread over the coefficients then depends
    on the choice of splits: noise levels are those of each image.

    Parameters
    ----------
    name
        An orthogonal wavelet of the families haar, db, sym and coif.
    levels
        How often the sides are halved at most, by default as in ``Wavelet``.

    Raises
    ------
    ValueError
        If no such orthogonal wavelet exists.
    """

    citation = COIFMAN_1992
    adaptive = True

    def __init__(self, name: str = "sym4", levels: int | None = None) -> None:
        check_orthogonal(name)
        super().__init__(name, levels)
        # For every level, which of its 2^level x 2^level squares are split: (N, C, 2^level, 2^level).
        self._splits: list[Tensor] | None = None
        self._of: torch.Size | None = None

    def adapt(self, images: Tensor, threshold: float, noisy: bool = False) -> WaveletPacket:
        """Return the best basis of every channel of every image; one of a single image takes any number of images."""
        fitting = self.fitting(images.shape[-2], images.shape[-1])
        levels = len(self._sizes(*fitting))
        costs = []
        packets = mirrored(images, fitting)
        for level in range(levels + 1):
            costs.append(_squares(packets.square().clamp(max=threshold**2), level).sum((-3, -1)))
            if level < levels:
                packets = self._one_step(packets, level, wavelet_matrix)
        charge = threshold**2 if noisy else 0.0
        best = costs[levels]
        splits = []
        for level in reversed(range(levels)):
            children = _squares(best, level).sum((-3, -1)) + charge
            split = children < costs[level]
            split[..., 0, 0] = True
            best = torch.where(split, children, costs[level])
            splits.append(split)
        adapted = copy.copy(self)
        adapted._splits, adapted._of = _reached(splits[::-1]), images.shape
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
        for level, split in enumerate(self._chosen()):
            coefficients = _choose(split, self._one_step(coefficients, level, wavelet_matrix), coefficients)
        return coefficients

    def backward(self, coefficients: Tensor, size: Size) -> Tensor:
        """Return the images, shape (N, C, H, W)."""
        images = first_layer(coefficients, size)
        for level, split in reversed(list(enumerate(self._chosen()))):
            images = _choose(split, self._one_step(images, level, wavelet_inverse), images)
        return images

    def noise_levels(self, shape: Shape) -> Tensor:
        """Return the standard deviations under unit white noise: 1, or (N, C, K, H, W) where images are continued."""
        size = (shape[-2], shape[-1])
        fitting = self.fitting(*size)
        if fitting == size:
            return super().noise_levels(shape)
        splits = self._chosen()
        down, across = (
            _norms(self.name, side, extended, len(splits)) for side, extended in zip(size, fitting, strict=True)
        )
        levels = torch.ones(*splits[0].shape[:2], *fitting, dtype=torch.float64, device=splits[0].device)
        for split, rows, columns in zip(splits, down, across, strict=True):
            levels = _choose(split, (rows[:, None] * columns).to(levels).expand_as(levels), levels)
        return laid_out(levels.flatten(2), size)

    def _chosen(self) -> list[Tensor]:
        if self._splits is None:
            raise BasisError("wavelet-packet has no basis yet: call adapt(images, threshold) and use what it returns")
        return self._splits

    def _check(self, given: Tensor) -> None:
        """Raise ``BasisError`` for images, or coefficients of images, that it was not adapted to."""
        self._chosen()
        assert self._of is not None
        of = (*given.shape[:2], *given.shape[-2:])
        if of[1:] != self._of[1:] or self._of[0] not in (1, len(given)):
            raise BasisError(f"wavelet-packet was adapted to images {tuple(self._of)}, not {of}")

    def _one_step(
        self, packets: Tensor, level: int, matrix: Callable[[str, int, torch.dtype, torch.device], Tensor]
    ) -> Tensor:
        """Transform every square of a level by one step of the wavelet transform, or back."""
        *batch, height, width = packets.shape
        rows, columns = (matrix(self.name, side >> level, packets.dtype, packets.device) for side in (height, width))
        down = rows @ packets.reshape(*batch, -1, len(rows), width)
        across = down.reshape(*batch, height, -1, len(columns)) @ columns.T
        return across.reshape(packets.shape)


def _squares(packets: Tensor, level: int) -> Tensor:
    """Return (..., H, W) as (..., 2^level, H / 2^level, 2^level, W / 2^level)."""
    *batch, height, width = packets.shape
    return packets.reshape(*batch, 1 << level, height >> level, 1 << level, width >> level)


def _choose(split: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """Return the squares of the first where they are split, those of the second elsewhere."""
    level = split.shape[-1].bit_length() - 1
    chosen = torch.where(split[..., :, None, :, None], _squares(first, level), _squares(second, level))
    return chosen.reshape(first.shape)


def _reached(splits: list[Tensor]) -> list[Tensor]:
    """Return the splits whose ancestors are all split."""
    reached = splits[:1]
    for split in splits[1:]:
        parents = reached[-1].repeat_interleave(2, dim=-2).repeat_interleave(2, dim=-1)
        reached.append(split & parents)
    return reached


@cache_tensors(32)
def _norms(name: str, side: int, extended: int, levels: int) -> tuple[Tensor, ...]:
    """Return the norms of the rows that split a continued signal into all packets of each level, coarsest last."""
    composite = torch.eye(extended, dtype=torch.float64)
    norms = []
    for level in range(levels):
        each = torch.eye(1 << level, dtype=torch.float64)
        composite = torch.kron(each, wavelet_matrix(name, extended >> level)) @ composite
        norms.append(folded(composite, side).norm(dim=1))
    return tuple(norms)
