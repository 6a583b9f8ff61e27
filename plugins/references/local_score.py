"""The best denoiser that compares images with the training images only patch by patch."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor

from gahbench import Shape, TrainingData, image_shape
from gahbench.jacobian import SparseMaps

from .._papers import KAMB_2025
from ._local_posterior import Boundary, Patches, contrast_of, local_derivatives, local_means
from ._training_memory import ChosenSide, doubling_sides
from ._window_sums import positioned_means


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
