"""C^alpha images: regular regions that meet along regular contours."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from gahbench import BLOCK, Optimum, Shape, Split, TrueBasis, in_blocks
from gahbench.jacobian import LARGEST_EXACT, DenseMaps, FunctionMaps, LinearMaps

from .._papers import KADKHODAIE_2024, KOROSTELEV_1993, PEYRE_2008
from . import _c_alpha_published as c_alpha_published
from ._conditional import ConditionalGaussian
from ._coverage import coverage
from ._generated import Generated
from ._spectral import filtered, filtered_pairs, power_law, unit_variance
from ._stationary import StationaryField

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
#: Images that the genie denoises together, and whose eigenvalues are held for the next noise level.
TOGETHER = 32
HELD = 2048


class CAlpha(Generated):
    """Piecewise regular images whose regions and contours are both C^alpha.

    The optimal slope of PSNR is a / (a + 1) for the smaller exponent a of contour and background (Korostelev
    & Tsybakov 1993); bandlets reach it (Peyre & Mallat 2008), wavelets are stuck at 1/2 for every alpha >= 1.

    Construction ``exact`` (default). The contour and the two backgrounds are Gaussian with amplitudes
    |w|^-(alpha + 1/2) and |w|^-(alpha + 1), which makes them C^alpha but for logarithms; all are drawn on a
    domain twice the image and cropped, so that nothing is periodic. A background is 1/2 + m + g with
    independent m ~ N(0, .12^2), one for each region, and g a stationary field of zero mean over the doubled
    domain and variance .08^2 at every pixel. Nothing is clipped or rescaled, so that given the contour the
    image is Gaussian; values leave [0, 1] at 5 pixels in 10,000, in 6 images of 1,000 (alpha = 2, size 64; 9
    for alpha = 1). Contours are anti-aliased by area. A ``line`` crosses the image from left to right at
    height 1/2 plus a Gaussian process of standard deviation .15 sides; a ``closed`` contour is star-shaped
    around a centre uniform in [.35, .65]^2, with radius .25 exp(g(angle)), g Gaussian of standard deviation
    .25, so that contours take every direction.

    Its optimum is known between bounds. Given the contour an image is Gaussian, and the Wiener filter the best
    denoiser: its error bounds that of any denoiser, and the eigenvectors of the image's covariance are the true
    geometry-adaptive harmonic basis (see ``_conditional.py``). Its slope tends to that of the
    backgrounds, which is the optimal one unless the contour is rougher than they are; from sigma = 1/255 to 64/255 it
    is .54, .72 and .86 for alpha = 1, 2 and 4 at 64x64 pixels, where the limits are .50, .67 and .80. The bound of an
    image at a noise level takes at most seconds at 64x64 pixels; at 128x128 it takes most of a minute once, and then
    2 s at most for alpha = 2, half a minute for alpha = 1.

    Construction ``paper`` is that of Kadkhodaie 2024 (published code): white noise uniform on
    (-1, 1), multiplied in the periodic Fourier domain by |k|^-alpha (frequency 0 by 1), both for the contour,
    in row round(size c) + size // 2, and for the backgrounds, which are rescaled to exactly [u, 1] and [0, v]
    with u, v uniform and a fair coin for which is which; the mask is blurred 2x2. Of its optimum the rate alone is
    stated, and that is the intended one: filtering white noise so gives Hoelder exponents of only alpha - 1/2 (contour)
    and alpha - 1 (backgrounds), so that the limit of the slope is (alpha - 1) / alpha, that of the backgrounds, rather
    than alpha / (alpha + 1). One departure: where a contour leaves the image at the top, the published code takes the
    row from the bottom (a negative index); here it stays at the top.

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

    citation = (KADKHODAIE_2024, KOROSTELEV_1993, PEYRE_2008)
    label_parameters = ("alpha",)

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
        self._energies: dict[tuple[Split, int], Tensor] = {}

    @property
    def shape(self) -> Shape:
        """Shape (1, size, size) of one image."""
        return (1, self.size, self.size)

    @property
    def optimum(self) -> Optimum:
        """The optimal slope a / (a + 1), a the smaller exponent, and the genie's bound for ``exact``."""
        exponent = min(self.alpha, self.background_alpha)
        return Optimum("bracket" if self.construction == "exact" else "rate", slope=exponent / (exponent + 1))

    def draw(self, generator: torch.Generator, count: int) -> Tensor:
        """Draw images, shape (count, 1, size, size), float32."""
        # Masks come first, so that the mask of an image can be drawn again without its backgrounds.
        masks = self.masks(generator, count)
        if self.construction == "paper":
            noise = torch.empty(2 * count, self.size, self.size).uniform_(-1, 1, generator=generator)
            limits = torch.rand(3, count, 1, 1, generator=generator)
            first, second = c_alpha_published.backgrounds(noise, self.background_alpha, limits)
        else:
            first, second = self._backgrounds(generator, count)
        # In place, as fresh memory takes longer than arithmetic.
        return first.mul_(masks).add_(second.mul_(1 - masks)).unsqueeze(1)

    def lower_bound(self, split: Split, count: int, sigma: float, start: int = 0) -> Tensor:
        """Return the expected error of the genie, which sees the contours; see :meth:`gahbench.Dataset.lower_bound`.

        From all eigenvalues for up to 1600 pixels, and for up to 4096 where the noise is weak; otherwise the lower end
        of bounds on it, which is within .2 % of it unless more than 2047 eigenvalues of a background exceed .1
        sigma^2: for alpha = 1 and 128x128 pixels, below sigma = 2.7/255. There it is below by 1.5 % at sigma = 1/255.

        Raises
        ------
        OptimumError
            For the paper's construction, whose images are not Gaussian given the contour.
        """
        if self.construction == "paper":
            return super().lower_bound(split, count, sigma, start)
        # One image at a time: the matrices of one are large enough to keep all cores busy, and to fill memory.
        errors = [
            self._error(split, start + place, mask, sigma)
            for place, mask in enumerate(self._masks(split, count, start))
        ]
        return torch.tensor(errors, dtype=torch.float64) / self._conditional.field.pixels

    def genie(self, noisy: Tensor, sigma: float, split: Split, start: int = 0) -> Tensor:
        """Return images filtered by the Wiener filter given their contours; see :meth:`gahbench.Dataset.genie`.

        Raises
        ------
        OptimumError
            For the paper's construction, whose images are not Gaussian given the contour.
        """
        if self.construction == "paper":
            return super().genie(noisy, sigma, split, start)
        if len(noisy) == 0:
            return noisy
        masks = torch.split(self._masks(split, len(noisy), start), TOGETHER)
        centred = torch.split((noisy.double().cpu() - 0.5).flatten(1), TOGETHER)
        found = [self._conditional.wiener(*some, sigma) for some in zip(masks, centred, strict=True)]
        return 0.5 + torch.cat(found).reshape(noisy.shape).to(noisy)

    def optimal_filters(self, noisy: Tensor, sigma: float, split: Split, start: int = 0) -> LinearMaps | None:
        """Return the Wiener filters K_x (K_x + sigma^2)^-1 of images given their contours.

        ``None`` for the paper's construction, whose images are not Gaussian given the contour.
        """
        if self.construction == "paper":
            return None
        masks = self._masks(split, len(noisy), start)

        def filtered(vectors: Tensor, places: Sequence[int]) -> Tensor:
            products = [
                self._conditional.wiener(masks[place].expand(len(some), -1), some.contiguous(), sigma)
                for place, own in zip(places, vectors, strict=True)
                for some in torch.split(own, TOGETHER)
            ]
            return torch.cat(products).reshape(vectors.shape)

        if self.size**2 > LARGEST_EXACT:
            return FunctionMaps(filtered, len(noisy), self.shape, masks)
        found = []
        for mask in masks:
            # K (K + s)^-1 = 1 - s (K + s)^-1.
            covariance = self._conditional.matrix(mask)
            covariance.diagonal().add_(sigma**2)
            inverse = torch.cholesky_inverse(torch.linalg.cholesky(covariance))
            found.append((torch.eye(len(mask), dtype=mask.dtype) - sigma**2 * inverse).float())
        return DenseMaps(torch.stack(found), self.shape)

    @property
    def has_true_basis(self) -> bool:
        """Whether the construction is ``exact``."""
        return self.construction == "exact"

    def true_basis(self, split: Split, count: int, start: int = 0) -> TrueBasis | None:
        """Return the eigenvectors of each image's covariance given its contour; ``None`` for the paper's construction.

        All for up to 1024 pixels; otherwise the same number for all images, which includes all with energies above
        (1/255)^2: the best denoiser at sigma = 1/255 multiplies those left out by less than 1/2.
        """
        if self.construction == "paper":
            return None
        found = [self._conditional.basis(mask) for mask in self._masks(split, count, start)]
        if not found:
            return TrueBasis(torch.empty(0, self.size**2, 0).double(), torch.empty(0, 0).double())
        return TrueBasis(torch.stack([vectors for vectors, _ in found]), torch.stack([values for _, values in found]))

    def masks(self, generator: torch.Generator, count: int) -> Tensor:
        """Draw the share of each pixel below or inside a contour, shape (count, size, size)."""
        if self.construction == "paper":
            noise = torch.empty(count, self.size).uniform_(-1, 1, generator=generator)
            return c_alpha_published.masks(noise, self.alpha)
        if self.contour == "line":
            return self._line_masks(generator, count)
        return self._closed_masks(generator, count)

    def background_amplitude(self) -> Tensor:
        """Return the amplitudes, ``rfft2`` of the doubled domain, that filter white noise to a background.

        The covariance of a background at two pixels is the inverse transform of their square at the pixels'
        distance.
        """
        return _background_amplitude(self.size, self.background_alpha)

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
        white = torch.view_as_complex(torch.randn(count, side, side, 2, generator=generator))
        first, second = filtered_pairs(white, self.background_amplitude(), self.size)
        return means[:count] + first, means[count:] + second

    def _masks(self, split: Split, count: int, start: int) -> Tensor:
        """Return the masks of images of a split, shape (count, d), float64."""
        if count == 0:
            return torch.empty(0, self.size**2, dtype=torch.float64)
        masks = in_blocks(lambda block: self.masks(self.generator_of(split, block), BLOCK), count, start)
        return masks.flatten(1).double()

    def _error(self, split: Split, index: int, mask: Tensor, sigma: float) -> float:
        """Return a lower bound on the genie's squared error, a sum over pixels."""
        if not self._conditional.is_resolved(sigma):
            return self._conditional.error_bounds(mask, sigma)[0]
        key = (split, index)
        energies = self._energies.get(key)
        if energies is None:
            if len(self._energies) == HELD:
                self._energies.pop(next(iter(self._energies)))
            energies = self._energies[key] = self._conditional.eigenvalues(mask)
        return float((sigma**2 * energies / (energies + sigma**2)).sum())

    @property
    def _conditional(self) -> ConditionalGaussian:
        return _conditional(self.size, self.background_alpha)


def _background_amplitude(size: int, alpha: float) -> Tensor:
    domain = (2 * size, 2 * size)
    return FIELD_STD * unit_variance(power_law(domain, alpha + 1, constant=0), domain)


# Computed from size and regularity, shared by all datasets of a process: it takes half a minute at 128x128.
@functools.lru_cache(maxsize=2)
def _conditional(size: int, alpha: float) -> ConditionalGaussian:
    return ConditionalGaussian(StationaryField(_background_amplitude(size, alpha)), MEAN_STD**2)
