"""Local score machines: posterior means that depend on a patch around each pixel."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from gahbench import Shape, TrainingData, hardware, image_shape
from gahbench.jacobian import SparseMaps

from .._papers import KAMB_2025
from ._training_memory import PatchComparison, candidate_sides
from ._window_sums import NEGLIGIBLE, Boundary, means_by_position

#: Number of pixel values in the patches that are copied at a time: 16 MiB in float64 for noisy patches, and as much for
#: training patches.
PATCH_VALUES = 1 << 21
#: Number of pairs of patches whose weights are computed at a time; on a CPU, the weights fit into its cache.
PAIRS = 1 << 18
PAIRS_GPU = 1 << 24
#: Number of noisy patches whose weights are computed at a time.
ROWS = 1024
#: Number of values of the training patches among which similar patches are merged at a time: 128 MiB.
MERGE_VALUES = 1 << 25
#: Largest number of patches that are merged into one, and smallest group that is split further.
LARGEST_GROUP, SMALLEST_GROUP = 1024, 4
#: Number of principal components along which groups are split, and of patches that determine them.
COMPONENTS, EXAMPLES = 12, 4096
#: Largest rounding error of a log weight for which float32 is used; otherwise float64.
MAX_ROUNDING = 1e-3


class LocalScore(PatchComparison):
    """Local score machine of Kamb & Ganguli, ICML 2025 (arXiv 2412.20292).

    Among all functions whose value at a pixel depends only on the patch around it, the machine has the smallest
    training loss. The value is sum_p w_p c_p, an average of the centres c_p of training patches p with w = softmax(-|y
    - p|^2 / 2 sigma^2), where y is the noisy patch around the pixel, with all channels. The ``equivariant`` machine
    (ELS) computes the same function at all pixels, and compares a patch with training patches at all positions. The
    other machine (LS) compares it with training patches at the same position only. Both model a convolutional network
    with a small receptive field, and combine patches of training images into new images. If patches cover the whole
    image, LS is ``empirical-bayes``.

    The boundary ``zeros`` models a network that pads with zeros. Beyond the border there is no noise, so the network
    can detect the border: patches near it are compared inside the image only, and only with training patches that the
    border cuts off in the same way. Pixels at equal distance from a border share patches, so a pixel in a corner is
    compared with the same position only. With the boundary ``periodic``, noisy and training patches wrap around, and
    the machine commutes exactly with shifts.

    The patch side is the only tuned parameter. If it is ``null``, it is chosen for each half octave of noise levels by
    the mean squared error on validation images, among 1, 3, 5, 7, 9, 13, 17, 25, 33, ... and the smallest side at which
    every patch covers the whole image. The search starts at 7 and moves to larger sides, or otherwise to smaller sides,
    as long as the error falls.

    The machine can be fitted to any :class:`gahbench.TrainingData`, such as the images that a network was trained on.
    The time of ELS is proportional to the squared number of pixels and to the number of training images: with 256
    training images of 40x40 an image takes two to four seconds on one core. Most patches of large sets are similar;
    ``merge_tolerance`` merges them, which saves time if many noisy images are denoised at once. The time of LS is
    proportional to pixels and training images. The Jacobian is exact, for patches that are not merged: covariances of
    centres and patches over sigma^2, which are not symmetric. If sigma is 0 the images are returned unchanged.

    Parameters
    ----------
    patch
        Side of a patch in pixels, odd; ``null`` to choose it near each noise level.
    equivariant
        Whether training patches at all positions are compared.
    boundary
        ``zeros`` for patches cut off at the border, ``periodic`` for patches that wrap around.
    merge_tolerance
        Groups of training patches are replaced by their mean if their root mean square distance from it is at most this
        fraction of sigma, in [0, 1]; 0 for the exact average. Used by equivariant machines only.
    images
        Largest number of training images.
    validation
        Largest number of validation images for choosing the patch side.

    Raises
    ------
    ValueError
        If the side of a patch is even.
    """

    display_name = "local score machine"
    citation = KAMB_2025
    label_parameters = ("equivariant",)

    def __init__(
        self,
        patch: Annotated[int, Field(ge=1)] | None = None,
        equivariant: bool = True,
        boundary: Boundary = "zeros",
        merge_tolerance: Annotated[float, Field(ge=0, le=1)] = 0.0,
        images: Annotated[int, Field(ge=1)] = 256,
        validation: Annotated[int, Field(ge=1)] = 4,
    ) -> None:
        if patch is not None and patch % 2 == 0:
            raise ValueError(
                f"patch={patch}; accepted: odd sides, 1, 3, 5, ..., or null to choose a side on validation images"
            )
        super().__init__(patch, images, validation)
        self.equivariant = equivariant
        self.boundary: Boundary = boundary
        self.merge_tolerance = merge_tolerance
        self._contrast: float | None = None

    def check_shape(self, shape: Shape) -> None:
        """Raise ``ValueError`` for periodic images (C, H, W) that are smaller than a patch."""
        if self.boundary == "periodic" and self.patch is not None and self.patch > min(shape[1:]):
            raise ValueError(
                f"periodic images need sides of at least patch={self.patch}, not {shape[1]}x{shape[2]}; accepted: a "
                "smaller patch, or boundary=zeros"
            )

    def fit(self, examples: TrainingData) -> None:
        """Keep the training images, and the examples for choosing a side later."""
        super().fit(examples)
        self._contrast = contrast_of(self.fitted(examples.shape))

    def means_with_side(self, training: Tensor, noisy: Tensor, sigma: float, side: int) -> Tensor:
        """Return the images (N, C, H, W) denoised with patches of the given side; ``sigma`` is greater than 0."""
        if self.equivariant:
            return local_means(training, noisy, sigma, self._patches(side), self.merge_tolerance, self._contrast)
        return means_by_position(training, noisy, sigma, side, self.boundary)

    def sides(self, shape: Shape) -> list[int]:
        """Return the candidate sides, up to the smallest at which every patch covers the whole image."""
        shorter, longer = min(shape[1:]), max(shape[1:])
        return candidate_sides((shorter - 1) // 2 * 2 + 1 if self.boundary == "periodic" else 2 * longer - 1)

    def derivatives(self, training: Tensor, noisy: Tensor, sigma: float) -> SparseMaps:
        """Return the covariances of centres and patches over sigma^2, float64, for patches that are not merged."""
        derivatives = local_derivatives(training, noisy, sigma, self._patches(self.side(sigma)))
        return SparseMaps(*derivatives, image_shape(noisy))

    def _patches(self, side: int) -> Patches:
        return Patches(side, self.equivariant, self.boundary)


@dataclass(frozen=True)
class Span:
    """Consecutive rows, or columns, of pixels whose patches are cut off in the same way.

    The span has ``count`` rows from ``first``. Their patches have ``size`` rows, ``before`` of them before the pixel,
    and the first patch starts at row ``top``.
    """

    first: int
    count: int
    top: int
    before: int
    size: int


def spans(side: int, patch: int, boundary: Boundary) -> list[Span]:
    """Return the spans along an image side, in order."""
    half = patch // 2
    if boundary == "periodic":
        return [Span(0, side, 0, half, patch)]
    reaches = [(min(position, half), min(side - 1 - position, half)) for position in range(side)]
    result = []
    for (before, after), positions in itertools.groupby(range(side), key=lambda position: reaches[position]):
        first, *following = positions
        result.append(Span(first, 1 + len(following), first - before, before, before + after + 1))
    return result


@dataclass(frozen=True)
class Patches:
    """Extraction of the patches that are compared."""

    side: int
    equivariant: bool
    boundary: Boundary

    def areas(self, shape: Shape) -> Iterator[tuple[Span, Span]]:
        """Yield rows and columns of pixels whose patches have the same shape; a single row if positions matter."""
        rows, columns = (spans(side, self.side, self.boundary) for side in shape[1:])
        if not self.equivariant:
            rows = [
                Span(span.first + i, 1, span.top + i, span.before, span.size)
                for span in rows
                for i in range(span.count)
            ]
        yield from itertools.product(rows, columns)

    def extended(self, images: Tensor) -> Tensor:
        """Return the images, padded where patches extend beyond a periodic border."""
        half = self.side // 2
        return functional.pad(images, (half,) * 4, mode="circular") if self.boundary == "periodic" else images

    def cut(self, images: Tensor, rows: Span, columns: Span) -> Iterator[tuple[slice, slice, Tensor]]:
        """Yield the patches of an area in batches of images, or of rows of an image, that fit into memory."""
        down = slice(rows.top, rows.top + rows.count + rows.size - 1)
        region = images[:, :, down, columns.top : columns.top + columns.count + columns.size - 1]
        windows = region.unfold(2, rows.size, 1).unfold(3, columns.size, 1).permute(0, 2, 3, 1, 4, 5)
        row = columns.count * images.shape[1] * rows.size * columns.size
        batch_size = max(1, PATCH_VALUES // (row * rows.count))
        height = rows.count if batch_size > 1 else max(1, PATCH_VALUES // row)
        for image, start in itertools.product(range(0, len(images), batch_size), range(0, rows.count, height)):
            batch, lines = slice(image, image + batch_size), slice(start, min(start + height, rows.count))
            patches = windows[batch, lines].flatten(3)
            if self.equivariant:
                yield batch, lines, patches.flatten(0, 2)[None]
            else:
                yield batch, lines, patches.flatten(1, 2).transpose(0, 1)

    def images(self, values: Tensor, columns: Span, count: int) -> Tensor:
        """Return values at the centres of patches, shape (B, R, v), as images, shape (count, v, rows, columns)."""
        if self.equivariant:
            return values.view(count, -1, columns.count, values.shape[2]).permute(0, 3, 1, 2)
        return values.view(-1, columns.count, count, values.shape[2]).permute(2, 3, 0, 1)

    def centres(self, channels: int, rows: Span, columns: Span) -> Tensor:
        """Return the flat index of the centre in a patch for each channel, shape (C,)."""
        return torch.arange(channels) * rows.size * columns.size + rows.before * columns.size + columns.before


class Average:
    """Averages over training patches p, added in chunks, with weights softmax(-|y - p|^2 / 2 sigma^2)."""

    def __init__(self, noisy: Tensor, sigma: float, size: int) -> None:
        self._noisy, self._variance = noisy / sigma**2, sigma**2
        batch, count, _ = noisy.shape
        self._peak = noisy.new_full((batch, count, 1), -torch.inf)
        self._sums = noisy.new_zeros(batch, count, 1 + size)
        self._pairs = PAIRS_GPU if hardware(noisy.device).is_accelerator else PAIRS

    def add(self, patches: Tensor, values: Tensor, counts: Tensor | None = None) -> None:
        """Add training patches (B, K, d) with the values to average (B, K, v), and optionally their counts (B, K)."""
        offsets = patches.square().sum(2)[:, None] / (-2 * self._variance)
        if counts is not None:
            offsets = offsets + counts.log()[:, None]
        values = functional.pad(values, (1, 0), value=1)
        batch, count, _ = self._noisy.shape
        row_step = min(count, ROWS)
        column_step = min(patches.shape[1], max(64, self._pairs // row_step))
        batch_step = max(1, self._pairs // (row_step * column_step))
        for first, row, column in itertools.product(
            range(0, batch, batch_step), range(0, count, row_step), range(0, patches.shape[1], column_step)
        ):
            items, rows = slice(first, first + batch_step), slice(row, row + row_step)
            columns = slice(column, column + column_step)
            # The log weights omit |y|^2, which is the same for all training patches.
            weights = torch.baddbmm(offsets[items, :, columns], self._noisy[items, rows], patches[items, columns].mT)
            previous_peak = self._peak[items, rows]
            # The peak cancels in the average, so no gradient through it is needed.
            peak = torch.maximum(previous_peak, weights.detach().amax(2, keepdim=True))
            weights.sub_(peak).clamp_(min=NEGLIGIBLE).exp_()
            sums = self._sums[items, rows] * torch.exp(previous_peak - peak)
            self._sums[items, rows] = torch.baddbmm(sums, weights, values[items, columns])
            self._peak[items, rows] = peak

    def values(self) -> Tensor:
        """Return the averages, shape (B, R, v)."""
        return self._sums[..., 1:] / self._sums[..., :1]


def local_means(
    training: Tensor,
    noisy: Tensor,
    sigma: float,
    patches: Patches,
    merge_tolerance: float = 0.0,
    contrast: float | None = None,
) -> Tensor:
    """Return the weighted average of the centres of training patches at each pixel, shape (N, C, H, W)."""
    channels = noisy.shape[1]
    dtype = torch.promote_types(noisy.dtype, _precision(training, sigma, patches, contrast))
    # Subtracting the mean does not change distances, but reduces rounding errors.
    origin = training.mean()
    extended_training, extended_noisy = patches.extended(training), patches.extended((noisy - origin).to(dtype))
    result = torch.empty_like(noisy)
    for rows, columns in patches.areas(image_shape(noisy)):
        centres = patches.centres(channels, rows, columns).to(noisy.device)
        merged_patches = (
            list(_merge_in_chunks(extended_training, rows, columns, patches, origin, merge_tolerance * sigma))
            if merge_tolerance
            else None
        )
        for batch, lines, noisy_patches in patches.cut(extended_noisy, rows, columns):
            average = Average(noisy_patches, sigma, channels)
            if merged_patches is None:
                for _, _, training_patches in patches.cut(extended_training, rows, columns):
                    compared = training_patches.to(dtype) - origin
                    average.add(compared, compared[..., centres])
            else:
                for means, counts in merged_patches:
                    average.add(means[None].to(dtype), means[None, :, centres].to(dtype), counts[None].to(dtype))
            denoised = patches.images(average.values() + origin, columns, len(noisy[batch]))
            across = slice(columns.first, columns.first + columns.count)
            result[batch, :, rows.first + lines.start : rows.first + lines.stop, across] = denoised.to(noisy.dtype)
    return result


def _merge_in_chunks(
    extended_training: Tensor, rows: Span, columns: Span, patches: Patches, origin: Tensor, radius: float
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the training patches of an area after merging similar patches, and how many patches each represents."""
    buffer: list[Tensor] = []
    for _, _, training_patches in patches.cut(extended_training, rows, columns):
        buffer.append(training_patches[0] - origin)
        if sum(chunk.numel() for chunk in buffer) >= MERGE_VALUES:
            yield merge_similar(torch.cat(buffer), radius)
            buffer.clear()
    if buffer:
        yield merge_similar(torch.cat(buffer), radius)


def local_derivatives(training: Tensor, noisy: Tensor, sigma: float, patches: Patches) -> tuple[Tensor, Tensor]:
    """Return indices and values of the Jacobians of :func:`local_means`: covariances of centre and patch / sigma^2."""
    shape = image_shape(noisy)
    origin = training.mean().double()
    extended_training, extended_noisy = patches.extended(training), patches.extended(noisy.double() - origin)
    pixels = patches.extended(torch.arange(noisy[0].numel(), device=noisy.device).double().view(1, *shape)).long()
    indices: list[Tensor] = []
    derivatives: list[list[Tensor]] = [[] for _ in noisy]
    for rows, columns in patches.areas(shape):
        centres = patches.centres(shape[0], rows, columns).to(noisy.device)
        for _, _, inside in patches.cut(pixels, rows, columns):
            inside = inside.flatten(0, 1)
            centre = inside[:, centres, None].expand(-1, -1, inside.shape[1])
            indices.append(torch.stack([centre, inside[:, None].expand(-1, shape[0], -1)]).flatten(1))
        for image, values in enumerate(derivatives):
            for _, _, noisy_patches in patches.cut(extended_noisy[image : image + 1], rows, columns):
                size = noisy_patches.shape[2]
                average = Average(noisy_patches, sigma, size + shape[0] * size)
                for _, _, training_patches in patches.cut(extended_training, rows, columns):
                    compared = training_patches.double() - origin
                    products = compared[..., centres, None] * compared[..., None, :]
                    average.add(compared, torch.cat([compared, products.flatten(-2)], -1))
                means, products = average.values().flatten(0, 1).tensor_split([size], dim=1)
                values.append((products - (means[:, centres, None] * means[:, None]).flatten(1)).flatten() / sigma**2)
    return torch.cat(indices, 1), torch.stack([torch.cat(values) for values in derivatives])


def contrast_of(training: Tensor) -> float:
    """Return the largest difference of grey values in training images; reading the value synchronises a GPU."""
    return float(training.amax() - training.amin())


def _precision(training: Tensor, sigma: float, patches: Patches, contrast: float | None) -> torch.dtype:
    """Return the dtype in which log weights, which are products of patches over sigma^2, are accurate."""
    _, channels, height, width = training.shape
    values = channels * min(patches.side, height) * min(patches.side, width)
    largest = contrast_of(training) if contrast is None else contrast
    error = torch.finfo(torch.float32).eps * values * largest * (largest + 3 * sigma) / sigma**2
    return torch.float32 if error < MAX_ROUNDING else torch.float64


def merge_similar(patches: Tensor, radius: float) -> tuple[Tensor, Tensor]:
    """Replace groups of similar patches by their means; return the patches, and how many patches each represents."""
    count = len(patches)
    halvings = max(0, (count // SMALLEST_GROUP).bit_length() - 1)
    size = -(-count // 2**halvings)
    # The last patch is repeated with weight 0 to fill the groups.
    indices = torch.arange(size * 2**halvings, device=patches.device)
    weights = (indices < count).to(patches)
    coordinates = _coordinates(patches)
    groups = indices.clamp(max=count - 1)[None]
    group_weights = weights[None]
    means, counts = [], []
    for _ in range(halvings + 1):
        if groups.shape[1] <= LARGEST_GROUP:
            members = patches[groups]
            group_count = group_weights.sum(1)
            mean = (group_weights[..., None] * members).sum(1) / group_count.clamp(min=1)[:, None]
            spread = (group_weights * (members - mean[:, None]).square().sum(2)).sum(1) / group_count.clamp(min=1)
            is_similar = spread <= radius**2
            is_kept = is_similar & (group_count > 0)
            means.append(mean[is_kept])
            counts.append(group_count[is_kept])
            groups, group_weights = groups[~is_similar], group_weights[~is_similar]
        if not len(groups) or groups.shape[1] < 2 * SMALLEST_GROUP:
            break
        groups, group_weights = _halve(groups, group_weights, coordinates)
    remaining = groups[group_weights > 0]
    return torch.cat([*means, patches[remaining]]), torch.cat([*counts, weights.new_ones(len(remaining))])


def _coordinates(patches: Tensor) -> Tensor:
    """Return the principal coordinates of patches, shape (K, r)."""
    examples = patches[:: max(1, len(patches) // EXAMPLES)]
    centred = examples - examples.mean(0)
    vectors: Tensor = torch.linalg.eigh(centred.mT @ centred).eigenvectors
    return patches @ vectors[:, -COMPONENTS:]


def _halve(groups: Tensor, weights: Tensor, coordinates: Tensor) -> tuple[Tensor, Tensor]:
    """Split groups (G, L) in half along their widest coordinate: (2 G, L / 2); odd L is padded with weight 0."""
    if groups.shape[1] % 2:
        groups = torch.cat([groups, groups[:, -1:]], 1)
        weights = torch.cat([weights, torch.zeros_like(weights[:, -1:])], 1)
    members = coordinates[groups]
    widest = members.var(1).argmax(1)
    order = members.gather(2, widest[:, None, None].expand(-1, members.shape[1], 1))[..., 0].argsort(1)
    half = groups.shape[1] // 2
    return groups.gather(1, order).reshape(-1, half), weights.gather(1, order).reshape(-1, half)
