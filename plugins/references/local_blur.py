"""An isotropic blur that is wide where the clean image is flat."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from gahbench import Reference, Shape, Truth, image_shape
from gahbench.jacobian import DenseMaps
from gahbench_plugins.bases.iso_local import Window, local_variance

#: Number of bisection steps for log h^2, and range of the search.
_STEPS = 50
_LOG_RANGE = (-25.0, 25.0)
#: Smallest and largest squared width of a kernel, in squared pixels.
_WIDTHS = (1e-4, 400.0)
#: Largest number of pixels of an image, whose matrix takes 128 MiB.
MAX_PIXELS = 4096


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
        if shape[1] * shape[2] > MAX_PIXELS:
            raise ValueError(f"local-blur is a matrix; accepted: images of up to {MAX_PIXELS} pixels, not {shape}")

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
        eye = torch.eye(shape[0]).to(noisy)
        return DenseMaps(torch.stack([torch.kron(eye, matrix) for matrix in filters]), shape)

    def matrices(self, clean: Tensor, traces: Tensor | None = None) -> Tensor:
        """Return the symmetric blur matrix of each image, shape (N, H * W, H * W), float64."""
        rows, columns = self._kernels(clean, traces)
        kernels = (rows[..., None] * columns[..., None, :]).flatten(2)
        return (kernels + kernels.mT) / 2

    def _kernels(self, clean: Tensor, traces: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return the separable factors of the kernels, along columns (N, H * W, H) and along rows (N, H * W, W)."""
        height, width = clean.shape[-2:]
        divisors = (local_variance(clean, self.window) + self.floor**2).flatten(1) ** self.power
        if traces is None:
            traces = divisors.new_full((len(clean),), self.trace_fraction * height * width)
        traces, pixels = traces.to(divisors), torch.arange(height * width, device=divisors.device)
        squares = [
            (positions[:, None] - torch.arange(side, device=pixels.device)).double().square()
            for positions, side in ((pixels // width, height), (pixels % width, width))
        ]

        def gaussians(log_widths: Tensor) -> list[Tensor]:
            widths = (log_widths.exp()[:, None] / divisors).clamp(*_WIDTHS)[..., None]
            return [torch.exp(-distances / (2 * widths)) for distances in squares]

        low, high = (torch.full_like(traces, end) for end in _LOG_RANGE)
        for _ in range(_STEPS):
            middle = (low + high) / 2
            # An unscaled kernel is 1 at its centre, so the trace is the sum of 1 / (sum of the kernel).
            rows, columns = (factors.sum(-1) for factors in gaussians(middle))
            excess = (1 / (rows * columns)).sum(-1) > traces
            low, high = torch.where(excess, middle, low), torch.where(excess, high, middle)
        rows, columns = gaussians((low + high) / 2)
        return rows / rows.sum(-1, keepdim=True), columns / columns.sum(-1, keepdim=True)
