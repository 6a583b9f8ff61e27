"""The best denoiser that compares images with the training images only patch by patch."""

from __future__ import annotations

import math
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from gahbench import DataError, Reference, Shape, TrainingData, Truth, image_shape
from gahbench.jacobian import LinearMaps, SparseMaps

from .._papers import KAMB_2025
from ._local_posterior import Boundary, Patches, local_derivatives, local_means

#: Where the search for a patch starts.
START = 7
#: Noise levels in an octave at which a side is chosen, for all that are near: sampling meets new ones with every step.
LEVELS_AN_OCTAVE = 2


class LocalScore(Reference):
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
    four seconds for an image on one core. Its Jacobian is exact: covariances of centres and patches over sigma^2,
    which are not symmetric. Without noise the images are returned as they are.

    Parameters
    ----------
    patch
        Side of a patch in pixels, odd; ``null`` for the best near each noise level.
    equivariant
        Whether patches come from all positions.
    boundary
        The continuation beyond the border.
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
    fits_training_subset = True

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
            raise ValueError(f"patch={patch}: accepted are odd sides, 1, 3, 5, ..., or null to choose one")
        self.patch = patch
        self.equivariant = equivariant
        self.boundary: Boundary = boundary
        self.images = images
        self.validation = validation
        self.device = torch.device("cpu")
        self._examples: TrainingData | None = None
        self._training: Tensor | None = None
        self._chosen: dict[float, int] = {}
        self._count = 0

    def check_shape(self, shape: Shape) -> None:
        """Raise ``ValueError`` for periodic images (C, H, W) that are smaller than a patch, which would meet itself."""
        if self.boundary == "periodic" and self.patch is not None and self.patch > min(shape[1:]):
            raise ValueError(
                f"periodic images need sides of at least patch={self.patch}, not {shape[1]}x{shape[2]}; accepted: a "
                "smaller patch, or boundary=zeros"
            )

    def fit(self, examples: TrainingData) -> None:
        """Keep the training images, and the examples for when a side must be chosen.

        Raises
        ------
        DataError
            If there are no training images.
        ValueError
            If they are smaller than a patch and periodic.
        """
        self.check_shape(examples.shape)
        self._examples = examples
        self._training = examples.training(self.images).to(self.device)
        self._chosen.clear()

    def move(self, device: torch.device) -> None:
        """Compute on a device."""
        self.device = device
        if self._training is not None:
            self._training = self._training.to(device)

    @property
    def notes(self) -> tuple[str, ...]:
        """From how many images it was learned, and which sides were chosen."""
        if self._training is None:
            return ()
        learned = f"learned from {len(self._training)} training image{'s' * (len(self._training) > 1)}"
        if not self._chosen:
            return (learned,)
        found = ", ".join(f"{side} near σ {sigma:.2g}" for sigma, side in sorted(self._chosen.items()))
        return (learned, f"patch chosen on {self._count} validation image{'s' * (self._count > 1)}: {found}")

    def denoise(self, noisy: Tensor, sigma: float, truth: Truth) -> Tensor:
        """Return the denoised images, shape (N, C, H, W), where the noisy ones are.

        Raises
        ------
        DataError
            If it was not fitted, or to images of another shape, or there is nothing to choose a side on.
        """
        training = self._fitted(image_shape(noisy))
        if sigma == 0:
            return noisy
        return local_means(training, noisy.to(self.device), sigma, self._patches(self.side(sigma))).to(noisy.device)

    def jacobian(self, noisy: Tensor, sigma: float, truth: Truth) -> LinearMaps | None:
        """Return the derivatives of the denoised images, float64; ``None`` without noise."""
        training = self._fitted(image_shape(noisy))
        if sigma == 0:
            return None
        found = local_derivatives(training, noisy.to(self.device), sigma, self._patches(self.side(sigma)))
        return SparseMaps(*found, image_shape(noisy))

    def side(self, sigma: float) -> int:
        """Return the side of a patch at a noise level > 0, chosen if need be.

        Raises
        ------
        DataError
            If it has to be chosen before :meth:`fit`, or there are no validation images.
        """
        if self.patch is not None:
            return self.patch
        near: float = 2 ** (round(LEVELS_AN_OCTAVE * math.log2(sigma)) / LEVELS_AN_OCTAVE)
        if near not in self._chosen:
            self._chosen[near] = self._choose(near)
        return self._chosen[near]

    def _choose(self, sigma: float) -> int:
        if self._examples is None or self._training is None:
            raise DataError("the side of a patch is chosen on validation images: call fit(examples) first, or give it")
        training = self._training
        try:
            clean = self._examples.validation(self.validation)
        except DataError as reason:
            raise DataError(f"{reason}, or give 'patch' a value") from reason
        self._count = len(clean)
        noisy = (clean + self._examples.noise(len(clean), sigma)).to(self.device)
        clean = clean.to(self.device)
        sides = candidates(image_shape(clean), self.boundary)
        errors: dict[int, float] = {}

        def error(place: int) -> float:
            if place not in errors:
                denoised = local_means(training, noisy, sigma, self._patches(sides[place]))
                errors[place] = float((denoised - clean).double().square().mean())
            return errors[place]

        start = max(place for place, side in enumerate(sides) if side <= START)
        for step, end in ((1, len(sides) - 1), (-1, 0)):
            place = start
            while place != end and error(place + step) < error(place):
                place += step
            if place != start:
                break
        return sides[place]

    def _patches(self, side: int) -> Patches:
        return Patches(side, self.equivariant, self.boundary)

    def _fitted(self, shape: Shape) -> Tensor:
        if self._training is None:
            raise DataError("local-score is learned from training images: call fit(examples) first")
        if image_shape(self._training) != shape:
            raise DataError(
                f"local-score was fitted to images of shape {image_shape(self._training)} and cannot denoise images of "
                f"shape {shape}"
            )
        return self._training


def candidates(shape: Shape, boundary: Boundary) -> list[int]:
    """Return the sides among which one is chosen for images (C, H, W), in order.

    They are 1 + 2k for k = 0, 1, 2, 3, 4, 6, 8, 12, 16, ..., up to the least that has the whole image in each patch, or
    in periodic images to the greatest that meets nothing twice.
    """
    shorter, longer = min(shape[1:]), max(shape[1:])
    largest = (shorter - 1) // 2 * 2 + 1 if boundary == "periodic" else 2 * longer - 1
    halves = [0, 1, *(2**octave * step // 2 for octave in range(1, 16) for step in (2, 3))]
    return [*(side for side in (1 + 2 * half for half in halves) if side < largest), largest]
