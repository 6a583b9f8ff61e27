"""The best denoiser that compares images with the training images only patch by patch."""

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
from ._training_memory import ChosenSide, doubling_sides
from ._window_sums import NEGLIGIBLE, Boundary, positioned_means

#: Values of the patches that are copied at a time: 16 MiB in float64, for noisy and for training patches each.
PATCHES = 1 << 21
#: Pairs of patches that are weighed at a time, on a processor, whose cache holds them, and on a GPU.
PAIRS = 1 << 18
PAIRS_GPU = 1 << 24
#: Noisy patches that are weighed at a time.
ROWS = 1024
#: Values of training patches among which those alike are merged: 128 MiB.
MERGED = 1 << 25
#: Patches are alike in groups of at most so many, and not split below so few.
LARGEST, SMALLEST = 1024, 4
#: Principal components that groups are split along, and patches that they are found from.
COMPONENTS, EXAMPLES = 12, 4096
#: How far rounding may put off the logarithm of a weight, at worst, in float32: beyond it float64 is used.
ROUNDING = 1e-3


class LocalScore(ChosenSide):
    """The local score machines of Kamb & Ganguli, ICML 2025 (arXiv 2412.20292).

    Of all functions whose value at a pixel depends on the patch around it alone, it has the least training loss. The
    value is sum_p w_p c_p, an average of the centres c_p of training patches p, w = softmax(-|y - p|^2 / 2 sigma^2), y
    the noisy patch around the pixel, with all channels. ``equivariant`` (ELS), where the function has to be the same at
    all pixels, the patches come from everywhere in the training images; otherwise (LS) from the position of the pixel.
    They are the limit of a convolutional network with such a small receptive field, and combine patches of
    training images into new images. With patches that hold the whole image, the machine that is not equivariant is
    ``empirical-bayes``.

    Borders are those of a network that pads with zeros. Beyond the border there is no
    noise, so that the network can detect the border: patches are compared where they are inside the image, and
    those of pixels near a border with those training patches alone that it cuts off alike. Pixels at equal distance
    from a border share patches, so in corners only the same position is left. ``periodic`` images go on at the other
    end: then shifts of the noisy image are shifts of the result, exactly, and training patches wrap around too.

    The side of the patch is the one parameter that is calibrated. If it is not given it is chosen by the mean squared
    error on validation images, once for each half octave of noise levels: among 1, 3, 5, 7, 9, 13, 17, 25, 33, ... and
    the side from which on patches hold the whole image, it goes up from 7, or else down, as long as the error falls.

    It may be fitted to any :class:`gahbench.TrainingData`, such as the very images that a network was trained on. Time
    grows with the square of the number of pixels (equivariant), and with training images: 256 of 40x40 take two to
    four seconds for an image on one core. Most patches of large sets are alike: ``alike`` merges those that are, for
    many noisy images at once. Where positions matter, time grows with pixels and training images alone. The Jacobian is
    exact, and that of patches that are not merged: covariances of centres and patches over sigma^2, which are not
    symmetric. Without noise the images are returned as they are.

    Parameters
    ----------
    patch
        Side of a patch in pixels, odd; ``null`` for the best near each noise level.
    equivariant
        Whether patches come from all positions.
    boundary
        The continuation beyond the border.
    alike
        Training patches are replaced by their mean where its root mean square distance from them is at most this share
        of sigma; 0 for the exact average. For equivariant machines.
    images
        Most training images to learn from.
    validation
        Most validation images to choose the side on.

    Raises
    ------
    ValueError
        If the side of a patch is even.
    """

    citation = KAMB_2025
    label_parameters = ("equivariant",)

    def __init__(
        self,
        patch: Annotated[int, Field(ge=1)] | None = None,
        equivariant: bool = True,
        boundary: Boundary = "zeros",
        alike: Annotated[float, Field(ge=0, le=1)] = 0.0,
        images: Annotated[int, Field(ge=1)] = 256,
        validation: Annotated[int, Field(ge=1)] = 4,
    ) -> None:
        if patch is not None and patch % 2 == 0:
            raise ValueError(f"patch={patch}: accepted are odd sides, 1, 3, 5, ..., or null to choose one")
        super().__init__(patch, images, validation)
        self.equivariant = equivariant
        self.boundary: Boundary = boundary
        self.alike = alike
        self._contrast: float | None = None

    def check_shape(self, shape: Shape) -> None:
        """Raise ``ValueError`` for periodic images (C, H, W) that are smaller than a patch, which would meet itself."""
        if self.boundary == "periodic" and self.patch is not None and self.patch > min(shape[1:]):
            raise ValueError(
                f"periodic images need sides of at least patch={self.patch}, not {shape[1]}x{shape[2]}; accepted: a "
                "smaller patch, or boundary=zeros"
            )

    def fit(self, examples: TrainingData) -> None:
        """Keep the training images, and the examples for when a side must be chosen; see :meth:`ChosenSide.fit`."""
        super().fit(examples)
        self._contrast = contrast_of(self.fitted(examples.shape))

    def means_of_side(self, training: Tensor, noisy: Tensor, sigma: float, side: int) -> Tensor:
        """Return the images (N, C, H, W) denoised by patches of a side; ``sigma`` is greater than 0."""
        if self.equivariant:
            return local_means(training, noisy, sigma, self._patches(side), self.alike, self._contrast)
        return positioned_means(training, noisy, sigma, side, self.boundary)

    def sides(self, shape: Shape) -> list[int]:
        """Return the sides among which one is chosen: up to the least that has the whole image in each patch."""
        shorter, longer = min(shape[1:]), max(shape[1:])
        return doubling_sides((shorter - 1) // 2 * 2 + 1 if self.boundary == "periodic" else 2 * longer - 1)

    def derivatives(self, training: Tensor, noisy: Tensor, sigma: float) -> SparseMaps:
        """Return the covariances of centres and patches over sigma^2, of patches that are not merged."""
        found = local_derivatives(training, noisy, sigma, self._patches(self.side(sigma)))
        return SparseMaps(*found, image_shape(noisy))

    def _patches(self, side: int) -> Patches:
        return Patches(side, self.equivariant, self.boundary)


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
            rows = [
                Span(span.first + i, 1, span.top + i, span.before, span.size)
                for span in rows
                for i in range(span.count)
            ]
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
