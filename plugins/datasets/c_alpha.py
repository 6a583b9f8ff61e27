"""C^alpha images: regular regions that meet along regular contours."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from gahbench import BLOCK, Optimum, Split, TrueBasis, draw_in_blocks, hardware
from gahbench._util.resources import LRUCache
from gahbench.jacobian import LARGEST_EXACT, DenseMaps, FunctionMaps, LinearMaps

from .._papers import KADKHODAIE_2024, KOROSTELEV_1993, PEYRE_2008
from .._tensors import cache_tensors
from . import _c_alpha_published as c_alpha_published
from ._conditional import ConditionalGaussian, StationaryField
from ._generated import Generated
from ._spectral import averaged_field, filter_noise, filter_pairs, power_law, unit_variance

Positive = Annotated[float, Field(gt=0)]

# Exact construction, in grey values: about 3.5 standard deviations on either side of the mean lie in [0, 1].
MEAN_STD = 0.12
FIELD_STD = 0.08
# Lengths of contours, in units of the side of the image.
LINE_STD = 0.15
RADIUS = 0.25
CENTRE_RANGE = (0.35, 0.65)
#: Standard deviation of the logarithm of the radius.
RADIUS_STD = 0.25
#: Number of nodes of a contour divided by the side of the image in pixels, for lines and for closed contours.
LINE_NODES = 8
CLOSED_NODES = 16
#: Number of images that the genie denoises at a time.
BATCH = 32
#: Number of images whose eigenvalues are cached for other noise levels.
MAX_CACHED_IMAGES = 2048
#: Number of pixels, at the render size, of the images in a block.
BLOCK_PIXELS = 1 << 20


class CAlpha(Generated):
    """Piecewise regular images whose regions and contours are both C^alpha.

    The optimal slope of PSNR is a / (a + 1), where a is the smaller exponent of contour and background (Korostelev &
    Tsybakov 1993). Bandlets reach this slope (Peyre & Mallat 2008), whereas wavelets have slope 1/2 for alpha >= 1.

    With the construction ``exact`` (default), the contour and the two backgrounds are Gaussian with amplitudes
    |w|^-(alpha + 1/2) and |w|^-(alpha + 1), which makes them C^alpha up to logarithms. They are drawn on a domain twice
    the image and cropped, so that they are not periodic. A background is 1/2 + m + g, with independent m ~ N(0, 0.12^2)
    for each region, and g a stationary field of zero mean over the doubled domain and variance 0.08^2 at every pixel.
    Images are not clipped or rescaled, so they are Gaussian given the contour; 5 pixels in 10,000 are outside [0, 1],
    and they lie in 6 of 1,000 images (alpha = 2, size 64; 9 images for alpha = 1). Contours are anti-aliased by area. A
    ``line`` crosses the image from left to right at height 1/2 plus a Gaussian process of standard deviation 0.15
    sides. A ``closed`` contour is star-shaped around a centre uniform in [0.35, 0.65]^2, with radius 0.25
    exp(g(angle)), g Gaussian of standard deviation 0.25, so that contours have all directions. A ``disc`` is a closed
    contour with constant g. With ``background_alpha=flat`` each region is constant: a cartoon image, determined by its
    contour and two grey values. Oracles know each contour as the zero set of a function, whose level lines
    ``true-flow`` follows.

    With a ``render_size``, images are drawn at that size: the mask and each background are averaged over blocks of
    pixels separately, and then composed, so that images are still Gaussian given the contour, and the error of the
    genie, which knows the contour, is still a lower bound. Images of two sizes are then the same images with the same
    noise, up to the factor sigma, so that errors at the same sigma / size can be compared. Sizes up to 256 are fast
    enough for training; at 4096, images are drawn one at a time.

    The optimum is bracketed. An image is Gaussian given its contour, so the Wiener filter is the best denoiser that
    knows the contour: its error is a lower bound for every denoiser, and the eigenvectors of the covariance of the
    image are the true geometry-adaptive harmonic basis (see ``_conditional.py``). The slope of the bound tends to the
    slope of the backgrounds, 1 for flat backgrounds, which is optimal unless the contour is rougher. From sigma = 1/255
    to 64/255 the slope of the bound is 0.54, 0.72 and 0.86 for alpha = 1, 2 and 4 at 64x64 pixels, where the limits are
    0.50, 0.67 and 0.80. The bound of an image at a noise level takes at most seconds at 64x64 pixels. At 128x128
    pixels, the setup takes most of a minute; then a bound takes at most 2 s for alpha = 2, and half a minute for
    alpha = 1.

    With the construction ``paper``, images follow the published code of Kadkhodaie 2024. White noise, uniform on
    (-1, 1), is multiplied in the periodic Fourier domain by |k|^-alpha (frequency 0 by 1), both for the contour c,
    which lies in row round(size c) + size // 2, and for the backgrounds, which are rescaled to exactly [u, 1] and [0,
    v] with u, v uniform and their order decided by a fair coin. The mask is blurred 2x2. The stated optimum is only the
    intended rate: white noise filtered in this way has Hoelder exponents of only alpha - 1/2 (contour) and alpha - 1
    (backgrounds), so that the limit of the slope is (alpha - 1) / alpha, as for the backgrounds, rather than
    alpha / (alpha + 1). There is one difference: if a contour leaves the image at the top, the published code uses a
    negative index, which is a row at the bottom; here the contour stays at the top.

    Training images are computed on a GPU if available, from the same random numbers.

    Parameters
    ----------
    alpha
        Regularity exponent of the contours.
    size
        Height and width in pixels.
    construction
        ``exact`` or ``paper``.
    contour
        ``line``, or with the exact construction ``closed`` or ``disc``; ``alpha`` has no influence on a ``disc``.
    background_alpha
        Regularity exponent of the regions, or ``flat`` with the exact construction; by default ``alpha``.
    render_size
        Height and width in pixels at which images are drawn before block averaging, a multiple of ``size``. It needs
        the exact construction. By default images are drawn at ``size``.
    seed
        Seed of the images. Without ``render_size`` the same seed gives the same random numbers for every alpha.

    Raises
    ------
    ValueError
        If the render size is not a multiple of the size, or an option of the exact construction is used with ``paper``.
    """

    display_name = "C{alpha:superscript} cartoons"
    citation = (KADKHODAIE_2024, KOROSTELEV_1993, PEYRE_2008)
    label_parameters = ("alpha",)

    def __init__(
        self,
        alpha: Positive = 2.0,
        size: Annotated[int, Field(ge=8)] = 64,
        construction: Literal["exact", "paper"] = "exact",
        contour: Literal["line", "closed", "disc"] = "line",
        background_alpha: Positive | Literal["flat"] | None = None,
        render_size: Annotated[int, Field(ge=8)] | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__("c-alpha", seed)
        if construction == "paper":
            if contour != "line":
                raise ValueError(f"contour={contour!r} with construction='paper'; accepted: 'line'")
            if background_alpha == "flat" or render_size is not None:
                raise ValueError("background_alpha='flat' and render_size need construction='exact'")
        if render_size is not None and render_size % size:
            raise ValueError(f"render_size={render_size} with size={size}; accepted: multiples of the size, or null")
        self.alpha = alpha
        self.size = size
        self.construction = construction
        self.has_true_basis = self.has_level_sets = construction == "exact"
        self.contour = contour
        self.background_alpha = alpha if background_alpha is None else background_alpha
        self.render_size = render_size
        if render_size is not None:
            # Blocks do not depend on the size, so that all sizes have the same images.
            self.block_size = max(1, min(BLOCK, BLOCK_PIXELS // render_size**2))
        self._energies: LRUCache[Tensor] = LRUCache(MAX_CACHED_IMAGES, lambda energies: 1)

    @property
    def optimum(self) -> Optimum:
        """The optimal slope a / (a + 1), where a is the smaller exponent, and the genie's bound for ``exact``."""
        contour = math.inf if self.contour == "disc" else self.alpha
        exponent = min(contour, math.inf if self.background_alpha == "flat" else self.background_alpha)
        # Discs on flat regions are a manifold of few parameters.
        slope = 1.0 if exponent == math.inf else exponent / (exponent + 1)
        return Optimum("bracket" if self.construction == "exact" else "rate", slope=slope)

    def draw(self, generator: torch.Generator, count: int, device: torch.device | str = "cpu") -> Tensor:
        """Draw images, shape (count, 1, size, size), float32; random numbers and masks are computed on the CPU."""
        # Draw masks first, so that they can be drawn again without the backgrounds.
        masks = self.masks(generator, count).to(device)
        if self.construction == "paper":
            noise = c_alpha_published.draw_noise(generator, count, self.size).to(device)
            limits = torch.rand(3, count, 1, 1, generator=generator).to(device)
            assert self.background_alpha != "flat"
            return c_alpha_published.build_images(masks, noise, self.background_alpha, limits).unsqueeze(1)
        first, second = self._draw_backgrounds(generator, count, device)
        # Work in place, since allocating memory takes longer than arithmetic.
        return first.mul_(masks).add_(second.mul_(1 - masks)).unsqueeze(1)

    def lower_bound(self, split: Split, count: int, sigma: float, start: int = 0) -> Tensor:
        """Return the expected error of the genie, which knows the contours; see :meth:`gahbench.Dataset.lower_bound`.

        The error is computed from all eigenvalues for up to 1600 pixels, and for up to 4096 pixels if the noise is
        weak. Otherwise the result is a lower bound on the error, within 0.2 % of it unless more than 2047 eigenvalues
        of a background exceed 0.1 sigma^2, as for alpha = 1 and 128x128 pixels below sigma = 2.7/255. In this example,
        the bound is 1.5 % too low at sigma = 1/255.
        """
        if self.construction == "paper":
            return super().lower_bound(split, count, sigma, start)
        # Process one image at a time: the matrices of an image are large enough to use all cores, and much memory.
        errors = [
            self._error(split, index, mask, sigma) for index, mask in enumerate(self._masks(split, count, start), start)
        ]
        return torch.tensor(errors, dtype=torch.float64) / self._conditional.field.pixels

    def genie(self, noisy: Tensor, sigma: float, split: Split, start: int = 0) -> Tensor:
        """Denoise images by the Wiener filter given their contours; see :meth:`gahbench.Dataset.genie`."""
        if self.construction == "paper":
            return super().genie(noisy, sigma, split, start)
        if len(noisy) == 0:
            return noisy
        masks = torch.split(self._masks(split, len(noisy), start), BATCH)
        centred = torch.split((noisy.double().cpu() - 0.5).flatten(1), BATCH)
        denoised = [self._conditional.wiener(*batch, sigma) for batch in zip(masks, centred, strict=True)]
        return 0.5 + torch.cat(denoised).reshape(noisy.shape).to(noisy)

    def optimal_filters(self, noisy: Tensor, sigma: float, split: Split, start: int = 0) -> LinearMaps | None:
        """Return the Wiener filters K_x (K_x + sigma^2)^-1 of images given their contours."""
        if self.construction == "paper":
            return None
        masks = self._masks(split, len(noisy), start)

        def apply_filters(vectors: Tensor, indices: Sequence[int]) -> Tensor:
            products = [
                self._conditional.wiener(masks[index].expand(len(batch), -1), batch.contiguous(), sigma)
                for index, rows in zip(indices, vectors, strict=True)
                for batch in torch.split(rows, BATCH)
            ]
            return torch.cat(products).reshape(vectors.shape)

        if self.size**2 > LARGEST_EXACT:
            return FunctionMaps(apply_filters, len(noisy), self.shape, masks)
        matrices = []
        for mask in masks:
            # K (K + s)^-1 = 1 - s (K + s)^-1.
            covariance = self._conditional.matrix(mask)
            covariance.diagonal().add_(sigma**2)
            inverse = torch.cholesky_inverse(torch.linalg.cholesky(covariance))
            matrices.append((torch.eye(len(mask), dtype=mask.dtype) - sigma**2 * inverse).float())
        return DenseMaps(torch.stack(matrices), self.shape)

    def true_basis(self, split: Split, count: int, start: int = 0) -> TrueBasis | None:
        """Return the eigenvectors of each image's covariance given its contour; ``None`` for ``construction=paper``.

        For up to 1024 pixels the bases are complete. For more pixels, all bases have the same number of vectors, which
        include all vectors of energies above (1/255)^2; the best denoiser at sigma = 1/255 multiplies the omitted
        coefficients by less than 1/2.
        """
        if self.construction == "paper":
            return None
        bases = [self._conditional.basis(mask) for mask in self._masks(split, count, start)]
        if not bases:
            return TrueBasis(torch.empty(0, self.size**2, 0).double(), torch.empty(0, 0).double())
        return TrueBasis(torch.stack([vectors for vectors, _ in bases]), torch.stack([values for _, values in bases]))

    def level_sets(self, split: Split, count: int, start: int = 0) -> Tensor | None:
        """Return signed distances from contours, positive outside or above; ``None`` for ``construction=paper``."""
        if self.construction == "paper":
            return None
        if count == 0:
            return torch.empty(0, *self.shape[1:], dtype=torch.float64)
        return self._draw_by_blocks(
            lambda generator, number: self._draw_contour(generator, number).level_sets(self.size), split, count, start
        )

    def masks(self, generator: torch.Generator, count: int) -> Tensor:
        """Draw the fractions of each pixel below or inside a contour, shape (count, size, size)."""
        if self.construction == "paper":
            noise = torch.empty(count, self.size).uniform_(-1, 1, generator=generator)
            return c_alpha_published.build_masks(noise, self.alpha)
        return self._draw_contour(generator, count).masks(self.size)

    def _draw_contour(self, generator: torch.Generator, count: int) -> Lines | Stars:
        """Draw contours by the exact construction."""
        side = self.size if self.render_size is None else self.render_size
        if self.contour == "line":
            nodes = LINE_NODES * side
            return Lines(0.5 + LINE_STD * self._draw_functions(generator, count, 2 * nodes)[:, : nodes + 1])
        nodes = CLOSED_NODES * side
        low, high = CENTRE_RANGE
        centres = low + (high - low) * torch.rand(count, 2, 1, generator=generator)
        if self.contour == "disc":
            functions = torch.randn(count, 1, generator=generator).expand(-1, nodes)
        else:
            functions = self._draw_functions(generator, count, nodes)
        return Stars(centres, RADIUS, torch.exp(RADIUS_STD * functions))

    def _draw_functions(self, generator: torch.Generator, count: int, nodes: int) -> Tensor:
        """Draw periodic C^alpha Gaussian functions of variance 1, shape (count, nodes)."""
        amplitude = unit_variance(power_law((nodes,), self.alpha + 0.5, constant=1), (nodes,))
        return filter_noise(torch.randn(count, nodes, generator=generator), amplitude)

    def _draw_backgrounds(
        self, generator: torch.Generator, count: int, device: torch.device | str = "cpu"
    ) -> tuple[Tensor, Tensor]:
        means = 0.5 + MEAN_STD * torch.randn(2 * count, 1, 1, generator=generator).to(device)
        if self.background_alpha == "flat":
            flat = means.repeat(1, self.size, self.size)
            return flat[:count], flat[count:]
        if self.render_size is not None:
            field = averaged_field(self.render_size, self.background_alpha, FIELD_STD)
            first, second = field.pairs(generator, count, self.size, device)
        else:
            white = torch.randn(count, 2 * self.size, 2 * self.size, 2, generator=generator).to(device)
            amplitude = _background_amplitude(self.size, self.background_alpha, None)
            first, second = filter_pairs(torch.view_as_complex(white), amplitude, self.size)
        return means[:count] + first, means[count:] + second

    def _draw_block(self, split: Split, block: int) -> Tensor:
        # Rounding depends on the device: draw validation and test images on the CPU, so that all machines agree.
        device = hardware()
        if split in ("validation", "test") or not device.is_accelerator:
            return super()._draw_block(split, block)
        # Use a stream that does not wait for the steps of a fit.
        with device.stream():
            return self.draw(self.generator_of(split, block), self.block_size, device.device).cpu()

    def _masks(self, split: Split, count: int, start: int) -> Tensor:
        """Return the masks of images of a split, shape (count, d), float64."""
        if count == 0:
            return torch.empty(0, self.size**2, dtype=torch.float64)
        return self._draw_by_blocks(self.masks, split, count, start).flatten(1).double()

    def _draw_by_blocks(
        self, draw: Callable[[torch.Generator, int], Tensor], split: Split, count: int, start: int
    ) -> Tensor:
        """Draw again a part of the images, such as masks, that uses the first random numbers of each block."""
        return draw_in_blocks(
            lambda block: draw(self.generator_of(split, block), self.block_size), count, start, self.block_size
        )

    def _error(self, split: Split, index: int, mask: Tensor, sigma: float) -> float:
        """Return a lower bound on the genie's squared error, summed over pixels."""
        if not self._conditional.is_resolved(sigma):
            return self._conditional.error_bounds(mask, sigma)[0]
        energies = self._energies.get((split, index), lambda: self._conditional.eigenvalues(mask))
        return float((sigma**2 * energies / (energies + sigma**2)).sum())

    @property
    def _conditional(self) -> ConditionalGaussian:
        return _conditional(self.size, self.background_alpha, self.render_size)


def _background_amplitude(size: int, alpha: float | Literal["flat"], render_size: int | None) -> Tensor:
    """Return amplitudes, in ``rfft2`` layout of the doubled domain, that filter white noise to a background."""
    if alpha == "flat":
        return torch.zeros(2 * size, size + 1, dtype=torch.float64)
    if render_size is not None:
        return averaged_field(render_size, alpha, FIELD_STD).amplitude(size)
    domain = (2 * size, 2 * size)
    return FIELD_STD * unit_variance(power_law(domain, alpha + 1, constant=0), domain)


# All datasets of a process share the field, since its spectrum takes half a minute at 128x128 pixels.
@cache_tensors(2)
def _conditional(size: int, alpha: float | Literal["flat"], render_size: int | None) -> ConditionalGaussian:
    return ConditionalGaussian(StationaryField(_background_amplitude(size, alpha, render_size)), MEAN_STD**2)


@dataclass(frozen=True, eq=False)
class Lines:
    """Contours that cross images from left to right."""

    heights: Tensor

    def masks(self, size: int) -> Tensor:
        """Return the fraction of each pixel below the contour, shape (N, size, size)."""
        nodes = self.heights.shape[1] - 1
        positions = torch.arange(nodes + 1)[None] * (size / nodes)
        # The transposition maps pixels below the contour to pixels to the right of the path.
        return coverage(rows=positions, columns=size * self.heights, size=size).mT

    def level_sets(self, size: int) -> Tensor:
        """Return the height of each pixel's centre above the contour, in pixels, shape (N, size, size), float64."""
        step = (self.heights.shape[1] - 1) // size
        middles = size * self.heights[:, step // 2 :: step].double()
        return middles[:, None, :] - (torch.arange(size, dtype=torch.float64) + 0.5)[:, None]


@dataclass(frozen=True, eq=False)
class Stars:
    """Closed contours that every ray from a centre intersects once."""

    centres: Tensor
    radius: float
    growth: Tensor

    def masks(self, size: int) -> Tensor:
        """Return the fraction of each pixel inside the contour, shape (N, size, size)."""
        nodes = self.growth.shape[1]
        centres = size * self.centres
        radii = size * self.radius * self.growth
        radii = torch.cat([radii, radii[:, :1]], dim=1)
        angles = torch.arange(nodes + 1) * (2 * math.pi / nodes)
        rows = centres[:, 0] - radii * torch.sin(angles)
        columns = centres[:, 1] + radii * torch.cos(angles)
        # Rounding of the angle would leave a gap between the first and last nodes.
        rows[:, -1], columns[:, -1] = rows[:, 0], columns[:, 0]
        return coverage(rows, columns, size)

    def level_sets(self, size: int) -> Tensor:
        """Return the signed distance of pixels from the contour along rays, in pixels, (N, size, size), float64."""
        nodes = self.growth.shape[1]
        radii = size * self.radius * self.growth.double()
        positions = torch.arange(size, dtype=torch.float64) + 0.5
        levels = []
        for centre, radius in zip(size * self.centres[..., 0].double(), radii, strict=True):
            up, right = (centre[0] - positions)[:, None], positions - centre[1]
            turns = (torch.atan2(up.expand(size, size), right.expand(size, size)) / (2 * math.pi)).remainder(1) * nodes
            before = turns.floor()
            node = before.long() % nodes
            share = turns - before
            levels.append(torch.hypot(up, right) - torch.lerp(radius[node], radius[(node + 1) % nodes], share))
        return torch.stack(levels)


def coverage(rows: Tensor, columns: Tensor, size: int) -> Tensor:
    """Return the area of each pixel to the right of a path, or inside a closed path."""
    # Parts of a path above or below the image cover no pixel; parts to the left of the image cover all columns.
    middles = ((columns[:, 1:] + columns[:, :-1]) / 2).clamp(0, size)
    rows = rows.clamp(0, size).expand(len(middles), -1)
    lefts = middles.floor()
    shares = middles - lefts
    ends = rows[:, :-1], rows[:, 1:]
    first = torch.minimum(*ends).floor()
    last = torch.maximum(*ends).floor()
    # Each step of the path adds increments to the pixel that it crosses and to the next pixel, such that the cumulative
    # sum along the row is the covered area. The extra row and columns collect increments outside of the image.
    increments = rows.new_zeros(len(rows), (size + 1) * (size + 2))
    for offset in range(int((last - first).max()) + 1):
        row = first + offset
        depth = (ends[1] - row).clamp(0, 1) - (ends[0] - row).clamp(0, 1)
        indices = row.long().clamp(max=size) * (size + 2) + lefts.long()
        increments.scatter_add_(1, indices, depth * (1 - shares))
        increments.scatter_add_(1, indices + 1, depth * shares)
    # The clamp removes only rounding errors.
    return increments.view(-1, size + 1, size + 2)[:, :size, :size].cumsum(-1).clamp(0, 1)
