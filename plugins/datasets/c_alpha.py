"""C^alpha images: regular regions that meet along regular contours."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from gahbench import BLOCK, Optimum, Split, TrueBasis, hardware, in_blocks
from gahbench._util.latest import Latest
from gahbench.jacobian import LARGEST_EXACT, DenseMaps, FunctionMaps, LinearMaps

from .._papers import KADKHODAIE_2024, KOROSTELEV_1993, PEYRE_2008
from .._tensors import cache_tensors
from . import _c_alpha_published as c_alpha_published
from ._conditional import ConditionalGaussian, StationaryField
from ._generated import Generated
from ._spectral import averaged_field, filtered, filtered_pairs, power_law, unit_variance

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
#: Pixels of the masters that are drawn as one block.
MASTER_PIXELS = 1 << 20


class CAlpha(Generated):
    """Piecewise regular images whose regions and contours are both C^alpha.

    The optimal slope of PSNR is a / (a + 1) for the smaller exponent a of contour and background (Korostelev
    & Tsybakov 1993); bandlets reach it (Peyre & Mallat 2008), wavelets are stuck at 1/2 for every alpha >= 1.

    Construction ``exact`` (default). The contour and the two backgrounds are Gaussian with amplitudes
    |w|^-(alpha + 1/2) and |w|^-(alpha + 1), which makes them C^alpha but for logarithms; all are drawn on a
    domain twice the image and cropped, so that nothing is periodic. A background is 1/2 + m + g with
    independent m ~ N(0, 0.12^2), one for each region, and g a stationary field of zero mean over the doubled
    domain and variance 0.08^2 at every pixel. Nothing is clipped or rescaled, so that given the contour the
    image is Gaussian; values leave [0, 1] at 5 pixels in 10,000, in 6 images of 1,000 (alpha = 2, size 64; 9
    for alpha = 1). Contours are anti-aliased by area. A ``line`` crosses the image from left to right at
    height 1/2 plus a Gaussian process of standard deviation 0.15 sides; a ``closed`` contour is star-shaped
    around a centre uniform in [0.35, 0.65]^2, with radius 0.25 exp(g(angle)), g Gaussian of standard deviation
    0.25, so that contours take every direction. A ``disc`` is such a contour with one g for all angles. With
    ``background_alpha=flat`` regions have no g but their constant: cartoon images, whose contour is all that is to be
    found. Contours are known to oracles, as functions that are zero on them, which ``true-flow`` follows.

    With a ``master``, contour and backgrounds are those of images of that size, whatever the size: the mask and each
    background are averaged over blocks of pixels, each by itself, and then composed, so that given the contour an image
    is still Gaussian and the genie's error still a bound. Images of two sizes are then the same images under the same
    noise, up to the factor sigma, so that errors at the same sigma / size can be compared. Masters
    up to 256 suit training; of masters of 4096 images are drawn one at a time.

    Its optimum is known between bounds. Given the contour an image is Gaussian, and the Wiener filter the best
    denoiser: its error bounds that of any denoiser, and the eigenvectors of the image's covariance are the true
    geometry-adaptive harmonic basis (see ``_conditional.py``). Its slope tends to that of the backgrounds, 1 where they
    are flat, which is the optimal one unless the contour is rougher than they are; from sigma = 1/255 to 64/255 it is
    0.54, 0.72 and 0.86 for alpha = 1, 2 and 4 at 64x64 pixels, where the limits are 0.50, 0.67 and 0.80. The bound of
    an image at a noise level takes at most seconds at 64x64 pixels; at 128x128 it takes most of a minute once, and then
    2 s at most for alpha = 2, half a minute for alpha = 1.

    Construction ``paper`` is that of Kadkhodaie 2024 (published code): white noise uniform on
    (-1, 1), multiplied in the periodic Fourier domain by |k|^-alpha (frequency 0 by 1), both for the contour,
    in row round(size c) + size // 2, and for the backgrounds, which are rescaled to exactly [u, 1] and [0, v]
    with u, v uniform and a fair coin for which is which; the mask is blurred 2x2. Of its optimum the rate alone is
    stated, and that is the intended one: filtering white noise so gives Hoelder exponents of only alpha - 1/2 (contour)
    and alpha - 1 (backgrounds), so that the limit of the slope is (alpha - 1) / alpha, that of the backgrounds, rather
    than alpha / (alpha + 1). One departure: where a contour leaves the image at the top, the published code takes the
    row from the bottom (a negative index); here it stays at the top.

    Training images are made on a GPU where there is one, from the same random numbers.

    Parameters
    ----------
    alpha
        Regularity of the contours.
    size
        Height and width in pixels.
    construction
        ``exact`` or ``paper``.
    contour
        ``line``, or with the exact construction ``closed`` or ``disc``, on which alpha has no influence.
    background_alpha
        Regularity of the regions, or ``flat`` with the exact construction; the same as ``alpha`` if not given.
    master
        Height and width of the images that these are block averages of, a multiple of ``size``, with the exact
        construction; by default images are made at their own size.
    seed
        Seed of the images. Without a master the same seed gives the same random numbers for every alpha.

    Raises
    ------
    ValueError
        If the master is no multiple of the size, or the paper's construction is asked for what only the exact one has.
    """

    citation = (KADKHODAIE_2024, KOROSTELEV_1993, PEYRE_2008)
    label_parameters = ("alpha",)

    def __init__(
        self,
        alpha: Positive = 2.0,
        size: Annotated[int, Field(ge=8)] = 64,
        construction: Literal["exact", "paper"] = "exact",
        contour: Literal["line", "closed", "disc"] = "line",
        background_alpha: Positive | Literal["flat"] | None = None,
        master: Annotated[int, Field(ge=8)] | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__("c-alpha", seed)
        if construction == "paper":
            if contour != "line":
                raise ValueError(f"contour={contour!r} with construction='paper': accepted is 'line'")
            if background_alpha == "flat" or master is not None:
                raise ValueError("background_alpha='flat' and master need construction='exact'")
        if master is not None and master % size:
            raise ValueError(f"master={master} with size={size}: accepted are multiples of the size, or null")
        self.alpha = alpha
        self.size = size
        self.construction = construction
        self.contour = contour
        self.background_alpha = alpha if background_alpha is None else background_alpha
        self.master = master
        if master is not None:
            # A block must not depend on the size, so that all sizes have the same images.
            self.together = max(1, min(BLOCK, MASTER_PIXELS // master**2))
        self._energies: Latest[Tensor] = Latest(HELD, lambda energies: 1)

    @property
    def optimum(self) -> Optimum:
        """The optimal slope a / (a + 1), a the smaller exponent, and the genie's bound for ``exact``."""
        contour = math.inf if self.contour == "disc" else self.alpha
        exponent = min(contour, math.inf if self.background_alpha == "flat" else self.background_alpha)
        # A disc on flat regions is an image of few parameters.
        slope = 1.0 if exponent == math.inf else exponent / (exponent + 1)
        return Optimum("bracket" if self.construction == "exact" else "rate", slope=slope)

    def draw(self, generator: torch.Generator, count: int, device: torch.device | str = "cpu") -> Tensor:
        """Draw images, shape (count, 1, size, size), float32, on a device; masks and random numbers are the CPU's."""
        # Masks come first, so that the mask of an image can be drawn again without its backgrounds.
        masks = self.masks(generator, count).to(device)
        if self.construction == "paper":
            noise = c_alpha_published.drawn(generator, count, self.size).to(device)
            limits = torch.rand(3, count, 1, 1, generator=generator).to(device)
            assert self.background_alpha != "flat"
            return c_alpha_published.images(masks, noise, self.background_alpha, limits).unsqueeze(1)
        first, second = self._backgrounds(generator, count, device)
        # In place, as fresh memory takes longer than arithmetic.
        return first.mul_(masks).add_(second.mul_(1 - masks)).unsqueeze(1)

    def lower_bound(self, split: Split, count: int, sigma: float, start: int = 0) -> Tensor:
        """Return the expected error of the genie, which sees the contours; see :meth:`gahbench.Dataset.lower_bound`.

        From all eigenvalues for up to 1600 pixels, and for up to 4096 where the noise is weak; otherwise the lower end
        of bounds on it, which is within 0.2 % of it unless more than 2047 eigenvalues of a background exceed 0.1
        sigma^2: for alpha = 1 and 128x128 pixels, below sigma = 2.7/255. There it is below by 1.5 % at sigma = 1/255.
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
        """Return images filtered by the Wiener filter given their contours; see :meth:`gahbench.Dataset.genie`."""
        if self.construction == "paper":
            return super().genie(noisy, sigma, split, start)
        if len(noisy) == 0:
            return noisy
        masks = torch.split(self._masks(split, len(noisy), start), TOGETHER)
        centred = torch.split((noisy.double().cpu() - 0.5).flatten(1), TOGETHER)
        denoised = [self._conditional.wiener(*some, sigma) for some in zip(masks, centred, strict=True)]
        return 0.5 + torch.cat(denoised).reshape(noisy.shape).to(noisy)

    def optimal_filters(self, noisy: Tensor, sigma: float, split: Split, start: int = 0) -> LinearMaps | None:
        """Return the Wiener filters K_x (K_x + sigma^2)^-1 of images given their contours."""
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
        matrices = []
        for mask in masks:
            # K (K + s)^-1 = 1 - s (K + s)^-1.
            covariance = self._conditional.matrix(mask)
            covariance.diagonal().add_(sigma**2)
            inverse = torch.cholesky_inverse(torch.linalg.cholesky(covariance))
            matrices.append((torch.eye(len(mask), dtype=mask.dtype) - sigma**2 * inverse).float())
        return DenseMaps(torch.stack(matrices), self.shape)

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
        bases = [self._conditional.basis(mask) for mask in self._masks(split, count, start)]
        if not bases:
            return TrueBasis(torch.empty(0, self.size**2, 0).double(), torch.empty(0, 0).double())
        return TrueBasis(torch.stack([vectors for vectors, _ in bases]), torch.stack([values for _, values in bases]))

    @property
    def has_level_sets(self) -> bool:
        """Whether the construction is ``exact``."""
        return self.construction == "exact"

    def level_sets(self, split: Split, count: int, start: int = 0) -> Tensor | None:
        """Return how far outside of its contour, or above it, each pixel is; ``None`` for the paper's construction."""
        if self.construction == "paper":
            return None
        if count == 0:
            return torch.empty(0, *self.shape[1:], dtype=torch.float64)
        return self._by_blocks(
            lambda generator, number: self._contour(generator, number).level_sets(self.size), split, count, start
        )

    def masks(self, generator: torch.Generator, count: int) -> Tensor:
        """Draw the share of each pixel below or inside a contour, shape (count, size, size)."""
        if self.construction == "paper":
            noise = torch.empty(count, self.size).uniform_(-1, 1, generator=generator)
            return c_alpha_published.masks(noise, self.alpha)
        return self._contour(generator, count).masks(self.size)

    def _contour(self, generator: torch.Generator, count: int) -> Lines | Stars:
        """Draw the contours of the exact construction."""
        side = self.size if self.master is None else self.master
        if self.contour == "line":
            nodes = LINE_NODES * side
            return Lines(0.5 + LINE_STD * self._contours(generator, count, 2 * nodes)[:, : nodes + 1])
        nodes = CLOSED_NODES * side
        low, high = CENTRE_RANGE
        centres = low + (high - low) * torch.rand(count, 2, 1, generator=generator)
        if self.contour == "disc":
            functions = torch.randn(count, 1, generator=generator).expand(-1, nodes)
        else:
            functions = self._contours(generator, count, nodes)
        return Stars(centres, RADIUS, torch.exp(RADIUS_STD * functions))

    def _contours(self, generator: torch.Generator, count: int, nodes: int) -> Tensor:
        """Draw periodic C^alpha Gaussian functions of variance 1, shape (count, nodes)."""
        amplitude = unit_variance(power_law((nodes,), self.alpha + 0.5, constant=1), (nodes,))
        return filtered(torch.randn(count, nodes, generator=generator), amplitude)

    def _backgrounds(
        self, generator: torch.Generator, count: int, device: torch.device | str = "cpu"
    ) -> tuple[Tensor, Tensor]:
        means = 0.5 + MEAN_STD * torch.randn(2 * count, 1, 1, generator=generator).to(device)
        if self.background_alpha == "flat":
            flat = means.repeat(1, self.size, self.size)
            return flat[:count], flat[count:]
        if self.master is not None:
            field = averaged_field(self.master, self.background_alpha, FIELD_STD)
            first, second = field.pairs(generator, count, self.size, device)
        else:
            white = torch.randn(count, 2 * self.size, 2 * self.size, 2, generator=generator).to(device)
            amplitude = _background_amplitude(self.size, self.background_alpha, None)
            first, second = filtered_pairs(torch.view_as_complex(white), amplitude, self.size)
        return means[:count] + first, means[count:] + second

    def _drawn(self, split: Split, block: int) -> Tensor:
        # Rounding differs from device to device: the images that entrants are scored on are the same on all machines.
        there = hardware()
        if split in ("validation", "test") or not there.is_accelerator:
            return super()._drawn(split, block)
        # In a stream that does not wait for the steps of a fit.
        with there.stream():
            return self.draw(self.generator_of(split, block), self.together, there.device).cpu()

    def _masks(self, split: Split, count: int, start: int) -> Tensor:
        """Return the masks of images of a split, shape (count, d), float64."""
        if count == 0:
            return torch.empty(0, self.size**2, dtype=torch.float64)
        return self._by_blocks(self.masks, split, count, start).flatten(1).double()

    def _by_blocks(
        self, draw: Callable[[torch.Generator, int], Tensor], split: Split, count: int, start: int
    ) -> Tensor:
        """Return what is drawn first of images of a split, shape (count, ...)."""
        return in_blocks(
            lambda block: draw(self.generator_of(split, block), self.together), count, start, self.together
        )

    def _error(self, split: Split, index: int, mask: Tensor, sigma: float) -> float:
        """Return a lower bound on the genie's squared error, a sum over pixels."""
        if not self._conditional.is_resolved(sigma):
            return self._conditional.error_bounds(mask, sigma)[0]
        energies = self._energies.get((split, index), lambda: self._conditional.eigenvalues(mask))
        return float((sigma**2 * energies / (energies + sigma**2)).sum())

    @property
    def _conditional(self) -> ConditionalGaussian:
        return _conditional(self.size, self.background_alpha, self.master)


def _background_amplitude(size: int, alpha: float | Literal["flat"], master: int | None) -> Tensor:
    """Return the amplitudes, ``rfft2`` of the doubled domain, that filter white noise to a background."""
    if alpha == "flat":
        return torch.zeros(2 * size, size + 1, dtype=torch.float64)
    if master is not None:
        return averaged_field(master, alpha, FIELD_STD).amplitude(size)
    domain = (2 * size, 2 * size)
    return FIELD_STD * unit_variance(power_law(domain, alpha + 1, constant=0), domain)


# Computed from size and regularity, shared by all datasets of a process: it takes half a minute at 128x128.
@cache_tensors(2)
def _conditional(size: int, alpha: float | Literal["flat"], master: int | None) -> ConditionalGaussian:
    return ConditionalGaussian(StationaryField(_background_amplitude(size, alpha, master)), MEAN_STD**2)


@dataclass(frozen=True, eq=False)
class Lines:
    """Contours that cross images from left to right."""

    heights: Tensor

    def masks(self, size: int) -> Tensor:
        """Return the part of each pixel below, shape (N, size, size)."""
        nodes = self.heights.shape[1] - 1
        places = torch.arange(nodes + 1)[None] * (size / nodes)
        # With rows and columns swapped, below a path to the right is right of a path that goes down.
        return coverage(rows=places, columns=size * self.heights, size=size).mT

    def level_sets(self, size: int) -> Tensor:
        """Return how far above the contour the middle of each pixel is, in pixels, shape (N, size, size), float64."""
        step = (self.heights.shape[1] - 1) // size
        middles = size * self.heights[:, step // 2 :: step].double()
        return middles[:, None, :] - (torch.arange(size, dtype=torch.float64) + 0.5)[:, None]


@dataclass(frozen=True, eq=False)
class Stars:
    """Closed contours that every ray from a centre crosses once."""

    centres: Tensor
    radius: float
    growth: Tensor

    def masks(self, size: int) -> Tensor:
        """Return the part of each pixel inside, shape (N, size, size)."""
        nodes = self.growth.shape[1]
        centres = size * self.centres
        radii = size * self.radius * self.growth
        radii = torch.cat([radii, radii[:, :1]], dim=1)
        angles = torch.arange(nodes + 1) * (2 * math.pi / nodes)
        rows = centres[:, 0] - radii * torch.sin(angles)
        columns = centres[:, 1] + radii * torch.cos(angles)
        # The first and last node differ by rounding in the angle alone; a closed path must close.
        rows[:, -1], columns[:, -1] = rows[:, 0], columns[:, 0]
        return coverage(rows, columns, size)

    def level_sets(self, size: int) -> Tensor:
        """Return how far outside, along the ray, the middle of each pixel is, in pixels, (N, size, size), float64."""
        nodes = self.growth.shape[1]
        radii = size * self.radius * self.growth.double()
        places = torch.arange(size, dtype=torch.float64) + 0.5
        levels = []
        for centre, radius in zip(size * self.centres[..., 0].double(), radii, strict=True):
            up, right = (centre[0] - places)[:, None], places - centre[1]
            turns = (torch.atan2(up.expand(size, size), right.expand(size, size)) / (2 * math.pi)).remainder(1) * nodes
            before = turns.floor()
            node = before.long() % nodes
            share = turns - before
            levels.append(torch.hypot(up, right) - torch.lerp(radius[node], radius[(node + 1) % nodes], share))
        return torch.stack(levels)


def coverage(rows: Tensor, columns: Tensor, size: int) -> Tensor:
    """Return the area of each pixel to the right of a path, or inside of a closed one."""
    # Parts of a path above or below the image cover nothing, those left of it all columns.
    middles = ((columns[:, 1:] + columns[:, :-1]) / 2).clamp(0, size)
    rows = rows.clamp(0, size).expand(len(middles), -1)
    lefts = middles.floor()
    shares = middles - lefts
    ends = rows[:, :-1], rows[:, 1:]
    first = torch.minimum(*ends).floor()
    last = torch.maximum(*ends).floor()
    # The part that a step covers of its row goes to the pixel it crosses and, as an increment, to the next: a sum along
    # the row then covers all pixels to the right. The row and columns past the image take what has no place in it.
    increments = rows.new_zeros(len(rows), (size + 1) * (size + 2))
    for offset in range(int((last - first).max()) + 1):
        row = first + offset
        depth = (ends[1] - row).clamp(0, 1) - (ends[0] - row).clamp(0, 1)
        places = row.long().clamp(max=size) * (size + 2) + lefts.long()
        increments.scatter_add_(1, places, depth * (1 - shares))
        increments.scatter_add_(1, places + 1, depth * shares)
    # The clamp removes only rounding.
    return increments.view(-1, size + 1, size + 2)[:, :size, :size].cumsum(-1).clamp(0, 1)
