"""C^alpha images: regular regions that meet along regular contours."""

from __future__ import annotations

import math
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from gahbench.contracts import Optimum, Shape

from .coverage import coverage
from .generated import Generated
from .spectral import filtered, power_law, unit_variance

Positive = Annotated[float, Field(gt=0)]

# Of the exact construction, in units of the grey scale: pixels leave [0, 1] at about 3.5 standard deviations.
MEAN_STD = 0.12
FIELD_STD = 0.08
# In units of the side of the image.
LINE_STD = 0.15
RADIUS = 0.25
CENTRE_RANGE = (0.35, 0.65)
#: Standard deviation of the logarithm of the radius.
RADIUS_STD = 0.25
#: Nodes of the contour per pixel of a side.
LINE_NODES = 8
CLOSED_NODES = 16


class CAlpha(Generated):
    """Piecewise regular images whose regions and contours are both C^alpha.

    The optimal slope of PSNR is a / (a + 1) for the smaller exponent a of contour and background (Korostelev
    & Tsybakov 1993); bandlets reach it (Peyre & Mallat 2008), wavelets are stuck at 1/2 for every alpha >= 1.

    Construction ``exact`` (default). The contour and the two backgrounds are Gaussian with amplitudes
    |w|^-(alpha + 1/2) and |w|^-(alpha + 1), which makes them C^alpha but for logarithms; all are drawn on a
    domain twice the image and cropped, so that nothing is periodic. A background is 1/2 + m + g with
    independent m ~ N(0, .12^2), one for each region, and g a stationary field of zero mean over the doubled
    domain and variance .08^2 at every pixel. Nothing is clipped or rescaled, so that given the contour the
    image is Gaussian; values leave [0, 1] at 5 pixels in 10,000, in 6 images of 1,000 (alpha = 2, size 64; 11
    for alpha = 1). Contours are anti-aliased by area. A ``line`` crosses the image from left to right at
    height 1/2 plus a Gaussian process of standard deviation .15 sides; a ``closed`` contour is star-shaped
    around a centre uniform in [.35, .65]^2, with radius .25 exp(g(angle)), g Gaussian of standard deviation
    .25, so that contours take every direction.

    Construction ``paper`` is that of Kadkhodaie 2024 (published code): white noise uniform on
    (-1, 1), multiplied in the periodic Fourier domain by |k|^-alpha (frequency 0 by 1), both for the contour,
    in row round(size c) + size // 2, and for the backgrounds, which are rescaled to exactly [u, 1] and [0, v]
    with u, v uniform and a fair coin for which is which; the mask is blurred 2x2. Filtering white noise so
    gives Hoelder exponents of only alpha - 1/2 (contour) and alpha - 1 (backgrounds): the true optimal slope
    is less than stated. One departure: where a contour leaves the image at the top, the published code takes
    the row from the bottom (a negative index); here it stays at the top.

    Parameters
    ----------
    alpha
        Regularity of the contours.
    size
        Height and width in pixels.
    construction
        ``exact`` or ``paper``.
    contour
        ``line``, or ``closed`` with the exact construction.
    background_alpha
        Regularity of the regions; the same as ``alpha`` if not given.
    seed
        Seed of the images. The same seed gives the same random numbers for every alpha.

    Raises
    ------
    ValueError
        If a closed contour is asked of the paper's construction.
    """

    always_shown = ("alpha",)

    def __init__(
        self,
        alpha: Positive = 2.0,
        size: Annotated[int, Field(ge=8)] = 64,
        construction: Literal["exact", "paper"] = "exact",
        contour: Literal["line", "closed"] = "line",
        background_alpha: Positive | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__("c-alpha", seed)
        if construction == "paper" and contour == "closed":
            raise ValueError("contour='closed' needs construction='exact'; construction='paper' accepts contour='line'")
        self.alpha = alpha
        self.size = size
        self.construction = construction
        self.contour = contour
        self.background_alpha = alpha if background_alpha is None else background_alpha

    @property
    def shape(self) -> Shape:
        """Shape (1, size, size) of one image."""
        return (1, self.size, self.size)

    @property
    def optimum(self) -> Optimum:
        """The optimal slope a / (a + 1), a the smaller exponent; for ``paper`` an overestimate."""
        exponent = min(self.alpha, self.background_alpha)
        return Optimum("rate", slope=exponent / (exponent + 1))

    def draw(self, generator: torch.Generator, count: int) -> Tensor:
        """Draw images, shape (count, 1, size, size), float32."""
        # Masks come first, so that the mask of an image can be drawn again without its backgrounds.
        if self.construction == "paper":
            masks = self._paper_masks(generator, count)
            first, second = self._paper_backgrounds(generator, count)
        else:
            masks = self.masks(generator, count)
            first, second = self._backgrounds(generator, count)
        return (masks * first + (1 - masks) * second).unsqueeze(1)

    def masks(self, generator: torch.Generator, count: int) -> Tensor:
        """Draw the share of each pixel below or inside a contour of ``exact``, shape (count, size, size)."""
        if self.contour == "line":
            return self._line_masks(generator, count)
        return self._closed_masks(generator, count)

    def background_amplitude(self) -> Tensor:
        """Return the amplitudes, ``rfft2`` of the doubled domain, that filter white noise to a background.

        The covariance of a background at two pixels is the inverse transform of their square at the pixels'
        distance.
        """
        domain = (2 * self.size, 2 * self.size)
        amplitude = power_law(domain, self.background_alpha + 1, constant=0)
        return FIELD_STD * unit_variance(amplitude, domain)

    def _line_masks(self, generator: torch.Generator, count: int) -> Tensor:
        nodes = LINE_NODES * self.size
        heights = self.size * (0.5 + LINE_STD * self._contours(generator, count, 2 * nodes)[:, : nodes + 1])
        places = torch.arange(nodes + 1)[None] / LINE_NODES
        # With rows and columns swapped, below a path to the right is right of a path that goes down.
        return coverage(rows=places, columns=heights, size=self.size).mT

    def _closed_masks(self, generator: torch.Generator, count: int) -> Tensor:
        nodes = CLOSED_NODES * self.size
        low, high = CENTRE_RANGE
        centres = self.size * (low + (high - low) * torch.rand(count, 2, 1, generator=generator))
        radii = self.size * RADIUS * torch.exp(RADIUS_STD * self._contours(generator, count, nodes))
        radii = torch.cat([radii, radii[:, :1]], dim=1)
        angles = torch.arange(nodes + 1) * (2 * math.pi / nodes)
        rows = centres[:, 0] - radii * torch.sin(angles)
        columns = centres[:, 1] + radii * torch.cos(angles)
        # The first and last node differ by rounding in the angle alone; a closed path must close.
        rows[:, -1], columns[:, -1] = rows[:, 0], columns[:, 0]
        return coverage(rows, columns, self.size)

    def _contours(self, generator: torch.Generator, count: int, nodes: int) -> Tensor:
        """Draw periodic C^alpha Gaussian functions of variance 1, shape (count, nodes)."""
        amplitude = unit_variance(power_law((nodes,), self.alpha + 0.5, constant=1), (nodes,))
        return filtered(torch.randn(count, nodes, generator=generator), amplitude)

    def _backgrounds(self, generator: torch.Generator, count: int) -> tuple[Tensor, Tensor]:
        side = 2 * self.size
        means = 0.5 + MEAN_STD * torch.randn(2 * count, 1, 1, generator=generator)
        white = torch.randn(2 * count, side, side, generator=generator)
        fields = filtered(white, self.background_amplitude())[:, : self.size, : self.size]
        first, second = (means + fields).chunk(2)
        return first, second

    def _paper_masks(self, generator: torch.Generator, count: int) -> Tensor:
        noise = 2 * torch.rand(count, self.size, generator=generator) - 1
        contours = filtered(noise, power_law((self.size,), self.alpha, constant=1))
        tops = torch.round(self.size * contours) + self.size // 2
        below = (torch.arange(self.size)[None, :, None] >= tops[:, None, :]).float()
        # Averages each pixel with its neighbours above and to the left, mirrored at the border.
        return functional.avg_pool2d(functional.pad(below[:, None], (1, 0, 1, 0), mode="reflect"), 2, stride=1)[:, 0]

    def _paper_backgrounds(self, generator: torch.Generator, count: int) -> tuple[Tensor, Tensor]:
        domain = (self.size, self.size)
        noise = 2 * torch.rand(2 * count, *domain, generator=generator) - 1
        fields = filtered(noise, power_law(domain, self.background_alpha, constant=1))
        low, high = fields.amin((1, 2), keepdim=True), fields.amax((1, 2), keepdim=True)
        first, second = ((fields - low) / (high - low)).chunk(2)
        bottom, top, coin = torch.rand(3, count, 1, 1, generator=generator)
        bright = bottom + (1 - bottom) * first, bottom + (1 - bottom) * second
        dark = top * first, top * second
        return torch.where(coin < 0.5, bright[0], dark[0]), torch.where(coin < 0.5, dark[1], bright[1])
