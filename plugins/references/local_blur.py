"""A blur that is wide where an image is flat, and alike in all directions."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from gahbench import Reference, Shape, Truth, image_shape
from gahbench.jacobian import DenseMaps

from ..bases._matrices import check_values, of_all_channels
from ..bases.iso_local import Window, local_variance

#: Bisections of the logarithm of the width, over this range of squared pixels.
_STEPS = 50
_LOG_RANGE = (-25.0, 25.0)
#: The squared width of a kernel, in pixels.
_WIDTHS = (1e-4, 400.0)


class LocalBlur(Reference):
    """A Gaussian blur whose width follows the variance of the clean image about each pixel: an oracle without geometry.

    The kernel of pixel p is exp(-|p - q|^2 / (2 h_p^2)), scaled to sum to 1, with h_p^2 = h^2 / (v_p + floor^2)^power,
    v_p the variance in the window about p; the filter is the symmetric part of the matrix of all kernels, for each
    channel alone. It adapts to the image and is isotropic at every pixel: high in ``alignment`` with graphs, and 0 in
    ``direction``.

    Parameters
    ----------
    kept
        Trace of the filter as a share of the number of pixels, which h follows from.
    window
        Side of the square window, in pixels, odd.
    floor
        Standard deviation below which differences in variance do not matter, in units of the grey scale.
    power
        How fast the width falls with the variance.
    """

    kind = "oracle"

    def __init__(
        self,
        kept: Annotated[float, Field(gt=0, lt=1)] = 0.1,
        window: Window = 5,
        floor: Annotated[float, Field(gt=0)] = 0.03,
        power: Annotated[float, Field(gt=0)] = 0.5,
    ) -> None:
        self.kept = kept
        self.window = window
        self.floor = floor
        self.power = power

    def check_shape(self, shape: Shape) -> None:
        """Raise ``ValueError`` for images (C, H, W) of too many pixels for a matrix."""
        check_values((1, *shape[1:]), "local-blur is a matrix")

    def denoise(self, noisy: Tensor, sigma: float, truth: Truth) -> Tensor:
        """Return the blurred images, shape (N, C, H, W)."""
        rows, columns = self._kernels(truth.clean)
        images = noisy.double().to(rows.device)
        # Each pixel by its own kernel, and each kernel into all pixels: the symmetric part, without its matrix.
        gathered = ((columns[:, None] @ images.mT) * rows[:, None]).sum(-1).reshape(images.shape)
        spread = (images.flatten(2)[..., None] * rows[:, None]).mT @ columns[:, None]
        return ((gathered + spread) / 2).to(noisy)

    def jacobian(self, noisy: Tensor, sigma: float, truth: Truth) -> DenseMaps:
        """Return the blur of each image."""
        shape = image_shape(noisy)
        filters = self.matrices(truth.clean).to(noisy)
        return DenseMaps(of_all_channels(filters, shape[0]), shape)

    def matrices(self, clean: Tensor, traces: Tensor | None = None) -> Tensor:
        """Return the blur of each image, symmetric, shape (N, H * W, H * W), float64."""
        rows, columns = self._kernels(clean, traces)
        kernels = (rows[..., None] * columns[..., None, :]).flatten(2)
        return (kernels + kernels.mT) / 2

    def _kernels(self, clean: Tensor, traces: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return factors of the kernel of each pixel: along columns, (N, H * W, H), and along rows, (N, H * W, W)."""
        height, width = clean.shape[-2:]
        falls = (local_variance(clean, self.window) + self.floor**2).flatten(1) ** self.power
        asked = falls.new_full((len(clean),), self.kept * height * width) if traces is None else traces.to(falls)
        low, high = (torch.full_like(asked, end) for end in _LOG_RANGE)
        for _ in range(_STEPS):
            middle = (low + high) / 2
            # About its own pixel a kernel is 1, before it is scaled.
            sums = [factors.sum(-1) for factors in _gaussians(falls, middle, height, width)]
            excess = (1 / (sums[0] * sums[1])).sum(-1) > asked
            low, high = torch.where(excess, middle, low), torch.where(excess, high, middle)
        rows, columns = _gaussians(falls, (low + high) / 2, height, width)
        return rows / rows.sum(-1, keepdim=True), columns / columns.sum(-1, keepdim=True)


def _gaussians(falls: Tensor, logarithms: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Return the Gaussian of each pixel along its column, shape (N, H * W, H), and along its row, (N, H * W, W)."""
    widths = (logarithms.exp()[:, None] / falls).clamp(*_WIDTHS)
    places = torch.arange(height * width, device=falls.device)
    found = []
    for place, side in ((places // width, height), (places % width, width)):
        distances = (place[:, None] - torch.arange(side, device=falls.device)).double().square()
        found.append(torch.exp(-distances / (2 * widths[..., None])))
    return found[0], found[1]
