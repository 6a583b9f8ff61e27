"""Averages of the centres of training patches, weighted by how well the patches fit around each noisy pixel."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from gahbench import Shape, hardware, image_shape

Boundary = Literal["zeros", "periodic"]

#: Values of the patches that are copied at a time: 16 MiB in float64, for noisy and for training patches each.
PATCHES = 1 << 21
#: Pairs of patches that are weighed at a time, on a processor, whose cache holds them, and on a GPU.
PAIRS = 1 << 18
PAIRS_GPU = 1 << 24
#: Noisy patches that are weighed at a time.
ROWS = 1024
#: Values of training patches among which those alike are merged: 128 MiB.
MERGED = 1 << 25
#: Logarithm of weights that do not count: smaller ones would be denormal numbers, which processors are slow at.
NEGLIGIBLE = -80.0
#: Patches are alike in groups of at most so many, and not split below so few.
LARGEST, SMALLEST = 1024, 4
#: Principal components that groups are split along, and patches that they are found from.
COMPONENTS, EXAMPLES = 12, 4096
#: How far rounding may put off the logarithm of a weight, at worst, in float32: beyond it float64 is used.
ROUNDING = 1e-3


@dataclass(frozen=True)
class Span:
    """Rows, or columns, of pixels whose patches reach equally far within the image."""

    first: int
    count: int
    top: int
    before: int
    size: int


def spans(side: int, patch: int, boundary: Boundary) -> list[Span]:
    """Return the spans of an image side, in order."""
    half = patch // 2
    if boundary == "periodic":
        return [Span(0, side, 0, half, patch)]
    reaches = [(min(place, half), min(side - 1 - place, half)) for place in range(side)]
    found = []
    for (before, after), places in itertools.groupby(range(side), key=lambda place: reaches[place]):
        first, *others = places
        found.append(Span(first, 1 + len(others), first - before, before, before + after + 1))
    return found


def alone(span: Span) -> list[Span]:
    """Return the spans of each of the pixels of a span."""
    return [Span(span.first + i, 1, span.top + i, span.before, span.size) for i in range(span.count)]


@dataclass(frozen=True)
class Patches:
    """The patches of images, and which of them are compared."""

    side: int
    equivariant: bool
    boundary: Boundary

    def areas(self, shape: Shape) -> Iterator[tuple[Span, Span]]:
        """Yield rows and columns of the pixels whose patches are alike; in one row where positions matter."""
        rows, columns = (spans(side, self.side, self.boundary) for side in shape[1:])
        if not self.equivariant:
            rows = [one for span in rows for one in alone(span)]
        yield from itertools.product(rows, columns)

    def extended(self, images: Tensor) -> Tensor:
        """Return the images with the margin that their patches reach into."""
        half = self.side // 2
        return functional.pad(images, (half,) * 4, mode="circular") if self.boundary == "periodic" else images

    def cut(self, images: Tensor, rows: Span, columns: Span) -> Iterator[tuple[slice, slice, Tensor]]:
        """Yield the patches of an area, of as many extended images, or else rows of one, as fit into memory."""
        down = slice(rows.top, rows.top + rows.count + rows.size - 1)
        region = images[:, :, down, columns.top : columns.top + columns.count + columns.size - 1]
        windows = region.unfold(2, rows.size, 1).unfold(3, columns.size, 1).permute(0, 2, 3, 1, 4, 5)
        row = columns.count * images.shape[1] * rows.size * columns.size
        together = max(1, PATCHES // (row * rows.count))
        height = rows.count if together > 1 else max(1, PATCHES // row)
        for image, line in itertools.product(range(0, len(images), together), range(0, rows.count, height)):
            which, lines = slice(image, image + together), slice(line, min(line + height, rows.count))
            patches = windows[which, lines].flatten(3)
            if self.equivariant:
                yield which, lines, patches.flatten(0, 2)[None]
            else:
                yield which, lines, patches.flatten(1, 2).transpose(0, 1)

    def images(self, values: Tensor, columns: Span, count: int) -> Tensor:
        """Return what belongs to the centres of patches, shape (B, R, v), as images: (count, v, rows, columns)."""
        if self.equivariant:
            return values.view(count, -1, columns.count, values.shape[2]).permute(0, 3, 1, 2)
        return values.view(-1, columns.count, count, values.shape[2]).permute(2, 3, 0, 1)

    def centres(self, channels: int, rows: Span, columns: Span) -> Tensor:
        """Return where the centre is in a patch, for each channel, shape (C,)."""
        return torch.arange(channels) * rows.size * columns.size + rows.before * columns.size + columns.before


class Average:
    """Averages over training patches p, which come in parts, under weights softmax(-|y - p|^2 / 2 sigma^2)."""

    def __init__(self, noisy: Tensor, sigma: float, size: int) -> None:
        self._noisy, self._variance = noisy / sigma**2, sigma**2
        batch, count, _ = noisy.shape
        self._peak = noisy.new_full((batch, count, 1), -torch.inf)
        self._sums = noisy.new_zeros(batch, count, 1 + size)
        self._pairs = PAIRS_GPU if hardware(noisy.device).has_large_batches else PAIRS

    def add(self, patches: Tensor, values: Tensor, numbers: Tensor | None = None) -> None:
        """Add training patches, shape (B, K, d), with what is averaged, shape (B, K, v)."""
        offsets = patches.square().sum(2)[:, None] / (-2 * self._variance)
        if numbers is not None:
            offsets = offsets + numbers.log()[:, None]
        values = functional.pad(values, (1, 0), value=1)
        batch, count, _ = self._noisy.shape
        rows = min(count, ROWS)
        columns = min(patches.shape[1], max(64, self._pairs // rows))
        places = max(1, self._pairs // (rows * columns))
        for place, row, column in itertools.product(
            range(0, batch, places), range(0, count, rows), range(0, patches.shape[1], columns)
        ):
            here, some, others = slice(place, place + places), slice(row, row + rows), slice(column, column + columns)
            # The logarithms of the weights, but for |y|^2, which all share.
            weights = torch.baddbmm(offsets[here, :, others], self._noisy[here, some], patches[here, others].mT)
            before = self._peak[here, some]
            # It cancels, and has no derivative.
            peak = torch.maximum(before, weights.detach().amax(2, keepdim=True))
            weights.sub_(peak).clamp_(min=NEGLIGIBLE).exp_()
            sums = self._sums[here, some] * torch.exp(before - peak)
            self._sums[here, some] = torch.baddbmm(sums, weights, values[here, others])
            self._peak[here, some] = peak

    def values(self) -> Tensor:
        """Return the averages, shape (B, R, v)."""
        return self._sums[..., 1:] / self._sums[..., :1]


def local_means(
    training: Tensor, noisy: Tensor, sigma: float, patches: Patches, alike: float = 0.0, contrast: float | None = None
) -> Tensor:
    """Return the average centre of the training patches at each pixel."""
    channels = noisy.shape[1]
    dtype = torch.promote_types(noisy.dtype, _precision(training, sigma, patches, contrast))
    # Distances do not depend on the origin of grey values, but rounding does.
    origin = training.mean()
    known, given = patches.extended(training), patches.extended((noisy - origin).to(dtype))
    result = torch.empty_like(noisy)
    for rows, columns in patches.areas(image_shape(noisy)):
        centres = patches.centres(channels, rows, columns).to(noisy.device)
        fewer = list(_merged(known, rows, columns, patches, origin, alike * sigma)) if alike else None
        for which, lines, some in patches.cut(given, rows, columns):
            average = Average(some, sigma, channels)
            if fewer is None:
                for _, _, others in patches.cut(known, rows, columns):
                    compared = others.to(dtype) - origin
                    average.add(compared, compared[..., centres])
            else:
                for means, numbers in fewer:
                    average.add(means[None].to(dtype), means[None, :, centres].to(dtype), numbers[None].to(dtype))
            found = patches.images(average.values() + origin, columns, len(noisy[which]))
            across = slice(columns.first, columns.first + columns.count)
            result[which, :, rows.first + lines.start : rows.first + lines.stop, across] = found.to(noisy.dtype)
    return result


def _merged(
    known: Tensor, rows: Span, columns: Span, patches: Patches, origin: Tensor, radius: float
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the training patches of an area, those merged that are alike, and the numbers that they stand for."""
    held: list[Tensor] = []
    for _, _, others in patches.cut(known, rows, columns):
        held.append(others[0] - origin)
        if sum(some.numel() for some in held) >= MERGED:
            yield merged(torch.cat(held), radius)
            held.clear()
    if held:
        yield merged(torch.cat(held), radius)


def local_derivatives(training: Tensor, noisy: Tensor, sigma: float, patches: Patches) -> tuple[Tensor, Tensor]:
    """Return the derivatives of :func:`local_means`: covariances of centre and patch over sigma^2."""
    shape = image_shape(noisy)
    origin = training.mean().double()
    known, given = patches.extended(training), patches.extended(noisy.double() - origin)
    numbers = patches.extended(torch.arange(noisy[0].numel(), device=noisy.device).double().view(1, *shape)).long()
    places: list[Tensor] = []
    derivatives: list[list[Tensor]] = [[] for _ in noisy]
    for rows, columns in patches.areas(shape):
        centres = patches.centres(shape[0], rows, columns).to(noisy.device)
        for _, _, inside in patches.cut(numbers, rows, columns):
            inside = inside.flatten(0, 1)
            centre = inside[:, centres, None].expand(-1, -1, inside.shape[1])
            places.append(torch.stack([centre, inside[:, None].expand(-1, shape[0], -1)]).flatten(1))
        for image, found in enumerate(derivatives):
            for _, _, some in patches.cut(given[image : image + 1], rows, columns):
                size = some.shape[2]
                average = Average(some, sigma, size + shape[0] * size)
                for _, _, others in patches.cut(known, rows, columns):
                    compared = others.double() - origin
                    products = compared[..., centres, None] * compared[..., None, :]
                    average.add(compared, torch.cat([compared, products.flatten(-2)], -1))
                means, products = average.values().flatten(0, 1).tensor_split([size], dim=1)
                found.append((products - (means[:, centres, None] * means[:, None]).flatten(1)).flatten() / sigma**2)
    return torch.cat(places, 1), torch.stack([torch.cat(found) for found in derivatives])


def contrast_of(training: Tensor) -> float:
    """Return the largest difference of grey values in training images, for which a GPU is waited for."""
    return float(training.amax() - training.amin())


def _precision(training: Tensor, sigma: float, patches: Patches, contrast: float | None) -> torch.dtype:
    """Return the dtype in which weights are accurate: products of patches, over sigma^2, are their logarithms."""
    _, channels, height, width = training.shape
    values = channels * min(patches.side, height) * min(patches.side, width)
    largest = contrast_of(training) if contrast is None else contrast
    error = torch.finfo(torch.float32).eps * values * largest * (largest + 3 * sigma) / sigma**2
    return torch.float32 if error < ROUNDING else torch.float64


def merged(patches: Tensor, radius: float) -> tuple[Tensor, Tensor]:
    """Return patches, with those that lie close together replaced by their mean, and how many each stands for."""
    count = len(patches)
    halvings = max(0, (count // SMALLEST).bit_length() - 1)
    size = -(-count // 2**halvings)
    # The last patch is repeated to fill the groups, with the weight 0.
    places = torch.arange(size * 2**halvings, device=patches.device)
    weights = (places < count).to(patches)
    coordinates = _coordinates(patches)
    groups = places.clamp(max=count - 1)[None]
    of_groups = weights[None]
    means, numbers = [], []
    for _ in range(halvings + 1):
        if groups.shape[1] <= LARGEST:
            own = patches[groups]
            number = of_groups.sum(1)
            mean = (of_groups[..., None] * own).sum(1) / number.clamp(min=1)[:, None]
            spread = (of_groups * (own - mean[:, None]).square().sum(2)).sum(1) / number.clamp(min=1)
            alike = spread <= radius**2
            kept = alike & (number > 0)
            means.append(mean[kept])
            numbers.append(number[kept])
            groups, of_groups = groups[~alike], of_groups[~alike]
        if not len(groups) or groups.shape[1] < 2 * SMALLEST:
            break
        groups, of_groups = _halved(groups, of_groups, coordinates)
    single = groups[of_groups > 0]
    return torch.cat([*means, patches[single]]), torch.cat([*numbers, weights.new_ones(len(single))])


def _coordinates(patches: Tensor) -> Tensor:
    """Return coordinates of patches in which groups are split, shape (K, r)."""
    some = patches[:: max(1, len(patches) // EXAMPLES)]
    centred = some - some.mean(0)
    vectors: Tensor = torch.linalg.eigh(centred.mT @ centred).eigenvectors
    return patches @ vectors[:, -COMPONENTS:]


def _halved(groups: Tensor, weights: Tensor, coordinates: Tensor) -> tuple[Tensor, Tensor]:
    """Return twice as many groups of half the size: (2 G, L / 2) of (G, L), L even or one more of weight 0."""
    if groups.shape[1] % 2:
        groups = torch.cat([groups, groups[:, -1:]], 1)
        weights = torch.cat([weights, torch.zeros_like(weights[:, -1:])], 1)
    own = coordinates[groups]
    widest = own.var(1).argmax(1)
    order = own.gather(2, widest[:, None, None].expand(-1, own.shape[1], 1))[..., 0].argsort(1)
    half = groups.shape[1] // 2
    return groups.gather(1, order).reshape(-1, half), weights.gather(1, order).reshape(-1, half)
