"""Local score machines: posterior means that depend on a patch around each pixel."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator
from typing import Annotated, Literal, NamedTuple

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel

from gahbench import Shape, TrainingData, image_shape
from gahbench_plugins.references.training_memory import PatchComparison, candidate_sides, pixel_means, window_sums

Boundary = Literal["zeros", "periodic"]

#: Number of pairs of patches whose weights are computed at a time.
PAIRS = 1 << 24
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
    The time of ELS is proportional to the squared number of pixels and to the number of training images, and the time
    of LS to pixels and training images. The Jacobian is not symmetric. If sigma is 0 the images are returned unchanged.

    Parameters
    ----------
    patch
        Side of a patch in pixels, odd; ``null`` to choose it near each noise level.
    equivariant
        Whether training patches at all positions are compared.
    boundary
        ``zeros`` for patches cut off at the border, ``periodic`` for patches that wrap around.
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
        boundary: Boundary = "zeros",
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
        self._contrast = 0.0

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
        training = self.fitted(examples.shape)
        # Reading a value would synchronise a GPU at every call.
        self._contrast = float(training.amax() - training.amin())

    def sides(self, shape: Shape) -> list[int]:
        """Return the candidate sides, up to the smallest at which every patch covers the whole image."""
        shorter, longer = min(shape[1:]), max(shape[1:])
        return candidate_sides((shorter - 1) // 2 * 2 + 1 if self.boundary == "periodic" else 2 * longer - 1)

    def means_with_side(self, training: Tensor, noisy: Tensor, sigma: float, side: int) -> Tensor:
        """Return the images (N, C, H, W) denoised with patches of the given side; ``sigma`` is greater than 0."""
        mode = "circular" if self.boundary == "periodic" else "constant"

        def pad(images: Tensor) -> Tensor:
            return functional.pad(images, (side // 2,) * 4, mode=mode)

        if not self.equivariant:
            # The squared differences beyond a border of zeros are 0.
            return pixel_means(
                training, noisy, lambda squares: window_sums(pad(squares.sum(1, keepdim=True)), side) / (-2 * sigma**2)
            )
        # Subtracting the mean does not change distances, but reduces rounding errors.
        origin = training.mean()
        dtype = torch.promote_types(noisy.dtype, self._precision(image_shape(noisy), sigma, side))
        training, result = training.to(dtype) - origin, (noisy - origin).to(dtype)
        if self.boundary == "periodic":
            down, across = (Span(0, length, side // 2, side) for length in noisy.shape[2:])
            return (_average(pad(training), pad(result), sigma, down, across) + origin).to(noisy.dtype)
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
