"""Posterior means over patches of stored training images: local score machines, and averages of whole patches."""

from __future__ import annotations

import contextlib
import itertools
import math
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from typing import Annotated, NamedTuple

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel

from gahbench import Shape, TrainingData, image_shape
from gahbench_plugins.references.training_memory import TrainingMemory, pixel_means
from gahbench_plugins.references.tuned import count_images, validation_images

#: Initial patch side, in pixels, of the search for the best side.
INITIAL_SIDE = 7
#: Number of noise levels per octave at which a side is chosen. The side is reused at nearby noise levels, since every
#: sampling step has a new noise level.
LEVELS_PER_OCTAVE = 2
#: Number of pairs of patches whose weights are computed at a time.
PAIRS = 1 << 24
#: Largest rounding error of a log weight for which float32 is used; otherwise float64.
MAX_ROUNDING = 1e-3


class PatchComparison(TrainingMemory):
    """A reference that compares patches of training images; the patch side is its only tuned parameter.

    If the side is ``None``, it is chosen for each half octave of noise levels by the mean squared error on validation
    images: the search starts at 7 and moves to larger sides, or otherwise to smaller sides, as long as the error falls.
    A subclass implements :meth:`means_with_side` and :meth:`sides`.

    Parameters
    ----------
    patch
        Side of a patch in pixels, or ``None`` to choose it near each noise level.
    images
        Largest number of training images.
    validation
        Largest number of validation images for choosing the patch side.
    """

    def __init__(
        self,
        patch: Annotated[int, Field(ge=1)] | None = None,
        images: Annotated[int, Field(ge=1)] = 4096,
        validation: Annotated[int, Field(ge=1)] = 4,
    ) -> None:
        super().__init__(images)
        self.patch = patch
        self.validation = validation
        self._examples: TrainingData | None = None
        self._chosen: dict[float, int] = {}
        self._count = 0

    @abstractmethod
    def means_with_side(self, training: Tensor, noisy: Tensor, sigma: float, side: int) -> Tensor:
        """Return the images (N, C, H, W) denoised with patches of the given side; ``sigma`` is greater than 0."""

    @abstractmethod
    def sides(self, shape: Shape) -> Sequence[int]:
        """Return the candidate patch sides for images of shape (C, H, W), in ascending order."""

    def fit(self, examples: TrainingData) -> None:
        """Keep the training images, and the examples for choosing a side later."""
        super().fit(examples)
        self._examples = examples
        self._chosen.clear()

    @property
    def notes(self) -> tuple[str, ...]:
        """The number of training images, and the chosen patch sides."""
        if not self._chosen:
            return super().notes
        choices = ", ".join(f"{side} near σ {sigma:.2g}" for sigma, side in sorted(self._chosen.items()))
        return (*super().notes, f"patch chosen on {count_images(self._count, 'validation')}: {choices}")

    def means(self, training: Tensor, noisy: Tensor, sigma: float) -> Tensor:
        """Return the denoised images, shape (N, C, H, W); ``sigma`` is greater than 0."""
        return self.means_with_side(training, noisy, sigma, self.side(sigma))

    def side(self, sigma: float) -> int:
        """Return the patch side at a noise level > 0, which is chosen first if it is not fixed."""
        if self.patch is not None:
            return self.patch
        nearby_level: float = 2 ** (round(LEVELS_PER_OCTAVE * math.log2(sigma)) / LEVELS_PER_OCTAVE)
        if nearby_level not in self._chosen:
            self._chosen[nearby_level] = self._choose(nearby_level)
        return self._chosen[nearby_level]

    def _choose(self, sigma: float) -> int:
        clean = validation_images(self._examples, self.validation, "patch")
        assert self._examples is not None
        self._count = len(clean)
        noisy = (clean + self._examples.noise(len(clean), sigma)).to(self.device)
        training, sides = self.fitted(image_shape(clean)), self.sides(image_shape(clean))
        errors: dict[int, float] = {}

        def error(index: int) -> float:
            if index not in errors:
                denoised = self.means_with_side(training, noisy, sigma, sides[index])
                errors[index] = float((denoised - clean.to(self.device)).double().square().mean())
            return errors[index]

        start = max(index for index, side in enumerate(sides) if side <= INITIAL_SIDE)
        for step, end in ((1, len(sides) - 1), (-1, 0)):
            index = start
            while index != end and error(index + step) < error(index):
                index += step
            if index != start:
                break
        return sides[index]


class LocalScore(PatchComparison):
    """Local score machine of Kamb & Ganguli, ICML 2025 (arXiv 2412.20292).

    Among all functions whose value at a pixel depends only on the patch around it, the machine has the smallest
    training loss. The value is sum_p w_p c_p, an average of the centres c_p of training patches p with w = softmax(-|y
    - p|^2 / 2 sigma^2), where y is the noisy patch around the pixel, with all channels. The ``equivariant`` machine
    (ELS) computes the same function at all pixels, and compares a patch with training patches at all positions. The
    other machine (LS) compares it with training patches at the same position only. Both model a convolutional network
    with a small receptive field, and combine patches of training images into new images. If patches cover the whole
    image, LS is ``empirical-bayes``.

    The machine models a network that pads with zeros. Beyond the border there is no noise, so the network can detect
    the border: patches near it are compared inside the image only, and only with training patches that the border cuts
    off in the same way. Pixels at equal distance from a border share patches, so a pixel in a corner is compared with
    the same position only.

    The patch side is the only tuned parameter. If it is ``null``, it is chosen for each half octave of noise levels by
    the mean squared error on validation images, among 1, 3, 5, 7, 9, 13, 17, 25, 33, ... and the smallest side at which
    every patch covers the whole image. The search starts at 7 and moves to larger sides, or otherwise to smaller sides,
    as long as the error falls.

    The machine can be fitted to any :class:`gahbench.TrainingData`, such as the images that a network was trained on.
    The time of ELS is proportional to the squared number of pixels and to the number of training images, and the time
    of LS to pixels and training images. The Jacobian is not symmetric. If sigma is 0 the images are returned unchanged.

    Parameters
    ----------
    patch
        Side of a patch in pixels, odd; ``null`` to choose it near each noise level.
    equivariant
        Whether training patches at all positions are compared.
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
    citation = "kamb-2025"
    label_parameters = ("equivariant",)

    def __init__(
        self,
        patch: Annotated[int, Field(ge=1)] | None = None,
        equivariant: bool = True,
        images: Annotated[int, Field(ge=1)] = 256,
        validation: Annotated[int, Field(ge=1)] = 4,
    ) -> None:
        if patch is not None and patch % 2 == 0:
            raise ValueError(
                f"patch={patch}; accepted: odd sides, 1, 3, 5, ..., or null to choose a side on validation images"
            )
        super().__init__(patch, images, validation)
        self.equivariant = equivariant
        self._contrast = 0.0

    def fit(self, examples: TrainingData) -> None:
        """Keep the training images, and the examples for choosing a side later."""
        super().fit(examples)
        training = self.fitted(examples.shape)
        # Reading a value would synchronise a GPU at every call.
        self._contrast = float(training.amax() - training.amin())

    def sides(self, shape: Shape) -> list[int]:
        """Return the candidate sides, up to the smallest at which every patch covers the whole image."""
        return candidate_sides(2 * max(shape[1:]) - 1)

    def means_with_side(self, training: Tensor, noisy: Tensor, sigma: float, side: int) -> Tensor:
        """Return the images (N, C, H, W) denoised with patches of the given side; ``sigma`` is greater than 0."""
        if not self.equivariant:

            def log_weights(squares: Tensor) -> Tensor:
                # The squared differences beyond the border are 0.
                return window_sums(functional.pad(squares.sum(1, keepdim=True), (side // 2,) * 4), side) / (
                    -2 * sigma**2
                )

            return pixel_means(training, noisy, log_weights)
        # Subtracting the mean does not change distances, but reduces rounding errors.
        origin = training.mean()
        dtype = torch.promote_types(noisy.dtype, self._precision(image_shape(noisy), sigma, side))
        training, result = training.to(dtype) - origin, (noisy - origin).to(dtype)
        rows = []
        for down in spans(noisy.shape[2], side):
            trained, seen = down.crop(training, 2), down.crop(result, 2)
            areas = [
                _average(across.crop(trained, 3), across.crop(seen, 3), sigma, down, across)
                for across in spans(noisy.shape[3], side)
            ]
            rows.append(torch.cat(areas, 3))
        return (torch.cat(rows, 2) + origin).to(noisy.dtype)

    def _precision(self, shape: Shape, sigma: float, side: int) -> torch.dtype:
        """Return the dtype in which log weights, which are products of patches over sigma^2, are accurate."""
        values = shape[0] * min(side, shape[1]) * min(side, shape[2])
        error = torch.finfo(torch.float32).eps * values * self._contrast * (self._contrast + 3 * sigma) / sigma**2
        return torch.float32 if error < MAX_ROUNDING else torch.float64


class Span(NamedTuple):
    """Consecutive rows, or columns, of pixels whose patches are cut off in the same way.

    The first of ``length`` patches starts at ``top``. Each has ``size`` rows, ``before`` of them before its pixel.
    """

    top: int
    length: int
    before: int
    size: int

    def crop(self, images: Tensor, axis: int) -> Tensor:
        """Return the part of the images that the patches of the span cover."""
        return images.narrow(axis, self.top, self.length + self.size - 1)


def spans(side: int, patch: int) -> Iterator[Span]:
    """Yield the spans along the side of an image whose border cuts off patches."""
    half = patch // 2
    reaches = [(min(position, half), min(side - 1 - position, half)) for position in range(side)]
    for (before, after), positions in itertools.groupby(range(side), key=lambda position: reaches[position]):
        first, *following = positions
        yield Span(first - before, 1 + len(following), before, before + after + 1)


def _average(training: Tensor, noisy: Tensor, sigma: float, down: Span, across: Span) -> Tensor:
    """Return the averages of the centres of all training patches, weighted for each noisy patch: (N, C, rows, columns).

    The images are cropped to the area that the patches cover. The averages are attention, with log weights
    y.x / sigma^2 - |x|^2 / (2 sigma^2), which omit |y|^2, the same for all training patches x.
    """

    def patches(images: Tensor) -> Tensor:
        windows = images.unfold(2, down.size, 1).unfold(3, across.size, 1)
        return windows.permute(0, 2, 3, 1, 4, 5).flatten(0, 2).flatten(1)

    channels, scale = noisy.shape[1], 1 / sigma**2
    keys, queries = patches(training), patches(noisy)
    # The values are padded, since torch's fastest attention needs equal sizes of keys and values.
    centres = keys.view(len(keys), channels, -1)[:, :, down.before * across.size + across.before]
    values = functional.pad(centres, (0, keys.shape[1] + 1 - channels))
    keys = torch.cat([keys, -keys.square().sum(1, keepdim=True) / 2], 1)
    queries = functional.pad(queries, (0, 1), value=1)
    # Fast attention, which needs four axes and stores no weights, has no second derivatives.
    with sdpa_kernel(SDPBackend.MATH) if queries.requires_grad else contextlib.nullcontext():
        means = [
            functional.scaled_dot_product_attention(part[None, None], keys[None, None], values[None, None], scale=scale)
            for part in torch.split(queries, max(1, PAIRS // len(keys)))
        ]
    averages = torch.cat(means, 2)[0, 0, :, :channels]
    return averages.view(len(noisy), down.length, across.length, channels).permute(0, 3, 1, 2)


class PatchSetPosteriorComposites(PatchComparison):
    """Patch set posterior composites (PSPC) with square patches: Niedoba et al., ICML 2025 (arXiv 2411.19339).

    Each square patch inside the noisy image is denoised by ``empirical-bayes`` with the patches x_i at the same
    position in the training images: sum_i w_i x_i, w = softmax(-|y - x_i|^2 / 2 sigma^2), with all channels. The value
    of a pixel is the mean over the denoised patches that cover it. Whole patches are averaged, whereas ``local-score``
    uses only the centre of each patch; both combine patches of training images into new images. If the patch is the
    whole image, the reference is ``empirical-bayes``.

    The patch side is the only tuned parameter. If it is ``null``, it is chosen for each half octave of noise levels by
    the mean squared error on validation images, as for ``local-score``, among 1, 3, 5, 7, 9, 13, 17, 25, 33, ... and
    the shorter side of the image. The published schedule for CIFAR-10 and 18 noise levels has patch sides of 3 to 32
    pixels. Patches shaped by the sensitivity of a given network (PSPC-Flex) are not supported.

    Distances are sums over windows, so time is proportional to training images times pixels times the patch side. The
    Jacobian is not symmetric. If sigma is 0 the images are returned unchanged.

    Parameters
    ----------
    patch
        Side of a patch in pixels; ``null`` to choose it near each noise level.
    images
        Largest number of training images.
    validation
        Largest number of validation images for choosing the patch side.
    """

    display_name = "patch set posterior composites"
    citation = "niedoba-2025"

    def check_shape(self, shape: Shape) -> None:
        """Raise ``ValueError`` for image shapes (C, H, W) smaller than a patch."""
        if self.patch is not None and self.patch > min(shape[1:]):
            size = f"{shape[1]}x{shape[2]}"
            raise ValueError(f"patch={self.patch} does not fit into images of {size}; accepted: up to {min(shape[1:])}")

    def sides(self, shape: Shape) -> list[int]:
        """Return the candidate patch sides for images of shape (C, H, W), up to their shorter side."""
        return candidate_sides(min(shape[1:]))

    def means_with_side(self, training: Tensor, noisy: Tensor, sigma: float, side: int) -> Tensor:
        """Return the images (N, C, H, W) denoised with patches of the given side; ``sigma`` is greater than 0."""
        averages = []
        for image in noisy.to(torch.promote_types(training.dtype, noisy.dtype)):
            squares = window_sums((training - image).square().sum(1, keepdim=True), side)
            # The weight of a training image for each patch, and their sum over the patches that cover each pixel.
            weights = torch.softmax(squares / (-2 * sigma**2), 0)
            covering = window_sums(functional.pad(weights, (side - 1,) * 4), side)
            averages.append((training * covering).sum(0) / covering.sum(0))
        return torch.stack(averages).to(noisy.dtype)


def candidate_sides(largest: int) -> list[int]:
    """Return ``largest`` and all smaller sides 1 + 2k, k = 0, 1, 2, 3, 4, 6, 8, 12, 16, ..., in ascending order."""
    halves = [0, 1, *(2**octave * step // 2 for octave in range(1, 16) for step in (2, 3))]
    return [*(side for side in (1 + 2 * half for half in halves) if side < largest), largest]


def window_sums(values: Tensor, side: int) -> Tensor:
    """Return the sums over the windows of (N, 1, H, W), shape (N, 1, H - side + 1, W - side + 1)."""
    along = functional.avg_pool2d(values, (1, side), stride=1, divisor_override=1)
    return functional.avg_pool2d(along, (side, 1), stride=1, divisor_override=1)
