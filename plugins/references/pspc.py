"""Composites of the posterior means of patches."""

from __future__ import annotations

import torch
from torch import Tensor

from gahbench import Shape, image_shape
from gahbench.jacobian import DenseMaps

from .._papers import NIEDOBA_2025
from ..bases._matrices import check_values
from ._training_memory import ChosenSide, doubling_sides
from ._window_sums import composite_jacobian, composites


class PatchSetPosteriorComposites(ChosenSide):
    """Patch set posterior composites (PSPC) with square patches: Niedoba et al., ICML 2025 (arXiv 2411.19339).

    Each square patch that lies within the noisy image is denoised by ``empirical-bayes`` of the patches at the same
    position in the training images: sum_i w_i x_i, w = softmax(-|y - x_i|^2 / 2 sigma^2), over the patches x_i, with
    all channels. At a pixel the result is the mean of the patches that cover it. So whole patches are averaged, where
    ``local-score`` takes the centre of each alone, and patches of training images are combined into new images. A patch
    that is the whole image is ``empirical-bayes``.

    The side of the patch is the one parameter that is calibrated. If it is not given it is chosen by the mean squared
    error on validation images, once for each half octave of noise levels, as for ``local-score``: among 1, 3, 5, 7, 9,
    13, 17, 25, 33, ... and the shorter side of the image. The published schedule for CIFAR-10 and 18 noise levels has
    3 to 32 pixels. Patches of the shapes of the sensitivity of a given network (PSPC-Flex) are not offered.

    Distances are sums over windows, so that time does not grow with the patch: with training images times pixels. The
    Jacobian is exact: covariances of patches over sigma^2, averaged where they overlap, for images of up to 4096
    values; it is not symmetric. Without noise the images are returned as they are.

    Parameters
    ----------
    patch
        Side of a patch in pixels; ``null`` for the best near each noise level.
    images
        Most training images to learn from.
    validation
        Most validation images to choose the side on.
    """

    citation = NIEDOBA_2025

    def check_shape(self, shape: Shape) -> None:
        """Raise ``ValueError`` for images (C, H, W) that are smaller than a patch."""
        if self.patch is not None and self.patch > min(shape[1:]):
            size = f"{shape[1]}x{shape[2]}"
            raise ValueError(f"patch={self.patch} does not fit into images of {size}; accepted: up to {min(shape[1:])}")

    def sides(self, shape: Shape) -> list[int]:
        """Return the sides among which one is chosen for images (C, H, W), up to their shorter side."""
        return doubling_sides(min(shape[1:]))

    def means_of_side(self, training: Tensor, noisy: Tensor, sigma: float, side: int) -> Tensor:
        """Return the images (N, C, H, W) denoised by patches of a side; ``sigma`` is greater than 0."""
        return composites(training, noisy, sigma, side)

    def derivatives(self, training: Tensor, noisy: Tensor, sigma: float) -> DenseMaps:
        """Return the covariances of patches over sigma^2, averaged where patches overlap."""
        shape, side = image_shape(noisy), self.side(sigma)
        check_values(shape, "pspc has Jacobians that are matrices")
        return DenseMaps(torch.stack([composite_jacobian(training, one.double(), sigma, side) for one in noisy]), shape)
