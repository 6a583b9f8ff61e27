"""An isotropic blur that is wide where the clean image is flat."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from gahbench import Reference, Shape, Truth, image_shape
from gahbench.jacobian import DenseMaps

from ..bases._matrices import block_diagonal, check_values
from ..bases.iso_local import Window, local_variance

#: Number of bisection steps for log h^2, and range of the search.
_STEPS = 50
_LOG_RANGE = (-25.0, 25.0)
#: Smallest and largest squared width of a kernel, in squared pixels.
_WIDTHS = (1e-4, 400.0)


class LocalBlur(Reference):
    """Oracle that blurs each pixel isotropically, with a width that depends on the local variance of the clean image.

    The kernel of pixel p is exp(-|p - q|^2 / (2 h_p^2)), scaled to a sum of 1, with
    h_p^2 = h^2 / (v_p + floor^2)^power, where v_p is the variance in the window around p. The filter is the symmetric
    part of the matrix of all kernels, and is applied to each channel separately. It adapts to the image without using
    the direction of contours: its ``alignment`` with graphs is high, and its ``direction`` is 0.

    Parameters
    ----------
    trace_fraction
        Trace of the filter divided by the number of pixels, in (0, 1); it determines h.
    window
        Side of the square window in pixels, odd.
    floor
        Standard deviation, in units of grey values, below which differences in variance have little effect.
    power
        Exponent of the decrease of the squared width with the variance, greater than 0.
    """

    display_name = "local blur"
    kind = "oracle"

    def __init__(
        self,
        trace_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.1,
        window: Window = 5,
        floor: Annotated[float, Field(gt=0)] = 0.03,
        power: Annotated[float, Field(gt=0)] = 0.5,
    ) -> None:
        self.trace_fraction = trace_fraction
        self.window = window
        self.floor = floor
        self.power = power

    def check_shape(self, shape: Shape) -> None:
        """Raise ``ValueError`` for image shapes (C, H, W) with too many pixels for a matrix."""
        check_values((1, *shape[1:]), "local-blur is a matrix")

    def denoise(self, noisy: Tensor, sigma: float, truth: Truth) -> Tensor:
        """Return the blurred images, shape (N, C, H, W)."""
        rows, columns = self._kernels(truth.clean)
        images = noisy.double().to(rows.device)
        # Applying the kernels and their transpose gives the symmetric part without building its matrix.
        gathered = ((columns[:, None] @ images.mT) * rows[:, None]).sum(-1).reshape(images.shape)
        spread = (images.flatten(2)[..., None] * rows[:, None]).mT @ columns[:, None]
        return ((gathered + spread) / 2).to(noisy)

    def jacobian(self, noisy: Tensor, sigma: float, truth: Truth) -> DenseMaps:
        """Return the blur matrices as Jacobians."""
        shape = image_shape(noisy)
        filters = self.matrices(truth.clean).to(noisy)
        return DenseMaps(block_diagonal(filters, shape[0]), shape)

    def matrices(self, clean: Tensor, traces: Tensor | None = None) -> Tensor:
        """Return the symmetric blur matrix of each image, shape (N, H * W, H * W), float64."""
        rows, columns = self._kernels(clean, traces)
        kernels = (rows[..., None] * columns[..., None, :]).flatten(2)
        return (kernels + kernels.mT) / 2

    def _kernels(self, clean: Tensor, traces: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return the separable factors of the kernels, along columns (N, H * W, H) and along rows (N, H * W, W)."""
        height, width = clean.shape[-2:]
        divisors = (local_variance(clean, self.window) + self.floor**2).flatten(1) ** self.power
        targets = (
            divisors.new_full((len(clean),), self.trace_fraction * height * width)
            if traces is None
            else traces.to(divisors)
        )
        low, high = (torch.full_like(targets, end) for end in _LOG_RANGE)
        for _ in range(_STEPS):
            middle = (low + high) / 2
            # An unscaled kernel is 1 at its centre, so the trace is the sum of 1 / (sum of the kernel).
            sums = [factors.sum(-1) for factors in _gaussians(divisors, middle, height, width)]
            excess = (1 / (sums[0] * sums[1])).sum(-1) > targets
            low, high = torch.where(excess, middle, low), torch.where(excess, high, middle)
        rows, columns = _gaussians(divisors, (low + high) / 2, height, width)
        return rows / rows.sum(-1, keepdim=True), columns / columns.sum(-1, keepdim=True)


def _gaussians(divisors: Tensor, log_widths: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Return the Gaussian of each pixel along its column, shape (N, H * W, H), and along its row, (N, H * W, W)."""
    widths = (log_widths.exp()[:, None] / divisors).clamp(*_WIDTHS)
    pixels = torch.arange(height * width, device=divisors.device)
    factors = []
    for positions, side in ((pixels // width, height), (pixels % width, width)):
        distances = (positions[:, None] - torch.arange(side, device=divisors.device)).double().square()
        factors.append(torch.exp(-distances / (2 * widths[..., None])))
    return factors[0], factors[1]
