"""Averages of posterior means of overlapping patches."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from gahbench import Shape
from gahbench_plugins.references.training_memory import PatchComparison, candidate_sides, window_sums


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
