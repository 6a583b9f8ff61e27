"""C^alpha images: regular regions that meet along regular contours."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from gahbench import BLOCK, Optimum, OptimumError, Split, TrueBasis, draw_in_blocks, hardware
from gahbench.jacobian import LARGEST_EXACT, DenseMaps
from gahbench_plugins.datasets.fields import averaged_field, filter_noise, filter_pairs, power_law, unit_variance
from gahbench_plugins.datasets.generated import Generated

Positive = Annotated[float, Field(gt=0)]

# Exact construction, in grey values: about 3.5 standard deviations on either side of the mean lie in [0, 1].
MEAN_STD, FIELD_STD = 0.12, 0.08
# Lengths of contours, in units of the side of the image, and standard deviation of the logarithm of the radius.
LINE_STD, RADIUS, CENTRE_RANGE, RADIUS_STD = 0.15, 0.25, (0.35, 0.65), 0.25
#: Number of nodes of a contour divided by the side of the image in pixels, for lines and for closed contours.
LINE_NODES, CLOSED_NODES = 8, 16
#: Number of pixels, at the render size, of the images in a block.
BLOCK_PIXELS = 1 << 20
#: Maximum number of pixels for which the optimum is computed, and of the images whose eigenvalues are cached.
MAX_PIXELS, MAX_CACHED = 4096, 1 << 23
#: Maximum number of pixels for which a basis is complete. In larger bases, smaller energies are left out: the denoiser
#: at sigma = 1/255 multiplies them by less than 1/2.
COMPLETE_PIXELS, MIN_ENERGY = 1024, (1 / 255) ** 2


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

    The optimum is bracketed, and computed for up to 4096 pixels. An image is Gaussian given its contour, so the Wiener
    filter is the best denoiser that knows the contour: its error is a lower bound for every denoiser, and the
    eigenvectors of the covariance K_x of the image are the true geometry-adaptive harmonic basis. For a mask m,

        K_x = M K M + (1 - M) K (1 - M) + v (m m' + (1 - m) (1 - m)'),

    where M = diag(m), K is the covariance of the field of a background, and v = 0.12^2. The slope of the bound tends to
    the slope of the backgrounds, 1 for flat backgrounds, which is optimal unless the contour is rougher. From sigma =
    1/255 to 64/255 the slope of the bound is 0.54, 0.72 and 0.86 for alpha = 1, 2 and 4 at 64x64 pixels, where the
    limits are 0.50, 0.67 and 0.80. At 64x64 pixels the bound of an image takes ten seconds, at all noise levels
    together, and the best denoiser a second at each level.

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
    citation = ("kadkhodaie-2024", "korostelev-1993", "peyre-2008")
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
        self.contour = contour
        self.background_alpha = alpha if background_alpha is None else background_alpha
        self.render_size = render_size
        self.has_level_sets = construction == "exact"
        # Eigenvectors are computed where bounds are.
        self.has_true_basis = self.has_level_sets and size**2 <= MAX_PIXELS
        if render_size is not None:
            # Blocks do not depend on the size, so that all sizes have the same images.
            self.block_size = max(1, min(BLOCK, BLOCK_PIXELS // render_size**2))
        self._energies: dict[tuple[Split, int], Tensor] = {}

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
            noise = torch.empty(2 * count, self.size, self.size).uniform_(-1, 1, generator=generator).to(device)
            limits = torch.rand(3, count, 1, 1, generator=generator).to(device)
            assert self.background_alpha != "flat"
            return published_images(masks, noise, self.background_alpha, limits).unsqueeze(1)
        first, second = self.backgrounds(generator, count, device)
        # Work in place, since allocating memory takes longer than arithmetic.
        return first.mul_(masks).add_(second.mul_(1 - masks)).unsqueeze(1)

    def draw_block(self, split: Split, block: int) -> Tensor:
        """Draw the images of a block, on a GPU if there is one and the images are for training."""
        # Rounding depends on the device: draw validation and test images on the CPU, so that all machines agree.
        device = hardware()
        if split in ("validation", "test") or not device.is_accelerator:
            return super().draw_block(split, block)
        # Use a stream that does not wait for the steps of a fit.
        with device.stream():
            return self.draw(self.generator_of(split, block), self.block_size, device.device).cpu()

    def masks(self, generator: torch.Generator, count: int) -> Tensor:
        """Draw the fractions of each pixel below or inside a contour, shape (count, size, size)."""
        if self.construction == "paper":
            return published_masks(torch.empty(count, self.size).uniform_(-1, 1, generator=generator), self.alpha)
        return self._draw_contour(generator, count).masks(self.size)

    def backgrounds(
        self, generator: torch.Generator, count: int, device: torch.device | str = "cpu"
    ) -> tuple[Tensor, Tensor]:
        """Draw the two regions of images by the exact construction, shape (count, size, size) each."""
        means = 0.5 + MEAN_STD * torch.randn(2 * count, 1, 1, generator=generator).to(device)
        if self.background_alpha == "flat":
            flat = means.repeat(1, self.size, self.size)
            return flat[:count], flat[count:]
        if self.render_size is not None:
            field = averaged_field(self.render_size, self.background_alpha, FIELD_STD)
            first, second = field.pairs(generator, count, self.size, device)
        else:
            white = torch.randn(count, 2 * self.size, 2 * self.size, 2, generator=generator).to(device)
            amplitude = _background_amplitude(self.size, self.background_alpha)
            first, second = filter_pairs(torch.view_as_complex(white), amplitude, self.size)
        return means[:count] + first, means[count:] + second

    def level_sets(self, split: Split, count: int, start: int = 0) -> Tensor | None:
        """Return signed distances from contours, positive outside or above; ``None`` for ``construction=paper``."""
        if not self.has_level_sets:
            return None
        if count == 0:
            return torch.empty(0, *self.shape[1:], dtype=torch.float64)
        return self._draw_by_blocks(
            lambda generator, number: self._draw_contour(generator, number).level_sets(self.size), split, count, start
        )

    def lower_bound(self, split: Split, count: int, sigma: float, start: int = 0) -> Tensor:
        """Return the expected error per pixel of the genie, which knows the contours, shape (count,), float64."""
        errors = []
        for index, mask in enumerate(self._masks(split, count, start), start):
            if (split, index) not in self._energies:
                if (len(self._energies) + 1) * len(mask) > MAX_CACHED:
                    self._energies.clear()
                # Rounding errors can make the smallest eigenvalues negative.
                self._energies[split, index] = torch.linalg.eigvalsh(self._covariance(mask)).clamp(min=0)
            energies = self._energies[split, index]
            errors.append((sigma**2 * energies / (energies + sigma**2)).mean())
        return torch.stack(errors) if errors else torch.empty(0, dtype=torch.float64)

    def genie(self, noisy: Tensor, sigma: float, split: Split, start: int = 0) -> Tensor:
        """Denoise images by the Wiener filter given their contours; see :meth:`gahbench.Dataset.genie`."""
        centred = (noisy.double().cpu() - 0.5).flatten(1)
        denoised = torch.empty_like(centred)
        for index, mask in enumerate(self._masks(split, len(noisy), start)):
            # K (K + s)^-1 = 1 - s (K + s)^-1.
            residual = torch.cholesky_solve(centred[index, :, None], self._factor(mask, sigma))[:, 0]
            denoised[index] = 0.5 + centred[index] - sigma**2 * residual
        return denoised.reshape(noisy.shape).to(noisy)

    def optimal_filters(self, noisy: Tensor, sigma: float, split: Split, start: int = 0) -> DenseMaps | None:
        """Return the Wiener filters K_x (K_x + sigma^2)^-1 of images given their contours, if images are small."""
        if not self.has_true_basis or self.size**2 > LARGEST_EXACT:
            return None
        matrices = []
        for mask in self._masks(split, len(noisy), start):
            inverse = torch.cholesky_inverse(self._factor(mask, sigma))
            matrices.append((torch.eye(len(mask), dtype=mask.dtype) - sigma**2 * inverse).float())
        return DenseMaps(torch.stack(matrices), self.shape)

    def true_basis(self, split: Split, count: int, start: int = 0) -> TrueBasis | None:
        """Return the eigenvectors of each image's covariance given its contour; ``None`` if there is no bound.

        For up to 1024 pixels the bases are complete. For more pixels, all bases have the same number of vectors, which
        include all vectors of energies above (1/255)^2; the best denoiser at sigma = 1/255 multiplies the omitted
        coefficients by less than 1/2.
        """
        if not self.has_true_basis:
            return None
        pixels = kept = self.size**2
        if pixels > COMPLETE_PIXELS:
            # By Weyl's inequality, K_x has at most twice as many eigenvalues above a limit as K, and two of the means.
            spectrum = torch.linalg.eigvalsh(self._covariances - MEAN_STD**2)
            kept = min(pixels, 2 * int((spectrum > MIN_ENERGY).sum()) + 2)
        vectors = torch.empty(count, pixels, kept, dtype=torch.float64)
        energies = torch.empty(count, kept, dtype=torch.float64)
        for index, mask in enumerate(self._masks(split, count, start)):
            values, columns = torch.linalg.eigh(self._covariance(mask))
            vectors[index], energies[index] = columns.flip(1)[:, :kept], values.flip(0)[:kept].clamp(min=0)
        return TrueBasis(vectors, energies)

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

    def _draw_by_blocks(
        self, draw: Callable[[torch.Generator, int], Tensor], split: Split, count: int, start: int
    ) -> Tensor:
        """Draw again a part of the images, such as masks, that uses the first random numbers of each block."""
        return draw_in_blocks(
            lambda block: draw(self.generator_of(split, block), self.block_size), count, start, self.block_size
        )

    def _masks(self, split: Split, count: int, start: int) -> Tensor:
        """Return the masks of images of a split, shape (count, d), float64, if the optimum is bracketed."""
        if not self.has_true_basis:
            raise OptimumError(
                f"c-alpha[construction={self.construction},size={self.size}]: no bound is computed; accepted: "
                f"construction=exact and a size of at most {math.isqrt(MAX_PIXELS)}"
            )
        if count == 0:
            return torch.empty(0, self.size**2, dtype=torch.float64)
        return self._draw_by_blocks(self.masks, split, count, start).flatten(1).double()

    def _covariance(self, mask: Tensor) -> Tensor:
        """Return K_x, shape (d, d), of a mask, shape (d,)."""
        covariance: Tensor = torch.outer(mask, mask).add_(torch.outer(1 - mask, 1 - mask))
        return covariance.mul_(self._covariances)

    def _factor(self, mask: Tensor, sigma: float) -> Tensor:
        """Return the Cholesky factor of K_x + sigma^2."""
        covariance = self._covariance(mask)
        covariance.diagonal().add_(sigma**2)
        factor: Tensor = torch.linalg.cholesky(covariance)
        return factor

    @property
    def _covariances(self) -> Tensor:
        return _background_covariance(self.size, self.background_alpha, self.render_size)


def _background_amplitude(size: int, alpha: float) -> Tensor:
    """Return amplitudes, in ``rfft2`` layout of the doubled domain, that filter white noise to a background."""
    domain = (2 * size, 2 * size)
    return FIELD_STD * unit_variance(power_law(domain, alpha + 1, constant=0), domain)


# All datasets of a process share the matrix.
@functools.lru_cache(maxsize=2)
def _background_covariance(size: int, alpha: float | Literal["flat"], render_size: int | None) -> Tensor:
    """Return the covariance K + v of the pixels of a background, shape (d, d), float64."""
    with torch.inference_mode(False):
        if alpha == "flat":
            return torch.full((size**2, size**2), MEAN_STD**2, dtype=torch.float64)
        field = None if render_size is None else averaged_field(render_size, alpha, FIELD_STD)
        amplitude = _background_amplitude(size, alpha) if field is None else field.amplitude(size)
        by_lag: Tensor = torch.fft.irfft2(amplitude.square().to(torch.complex128), s=(2 * size, 2 * size))[:size, :size]
        lags = (torch.arange(size)[:, None] - torch.arange(size)).abs()
        return by_lag[lags[:, None, :, None], lags[None, :, None, :]].reshape(size**2, size**2) + MEAN_STD**2


def published_masks(noise: Tensor, alpha: float) -> Tensor:
    """Return masks of the lower region, blurred 2x2, shape (N, size, size), from noise (N, size) in (-1, 1)."""
    size = noise.shape[1]
    contours = filter_noise(noise, _published_amplitude((size,), alpha))
    tops = torch.round(size * contours) + size // 2
    # Each pixel is averaged with its neighbours above and to the left, mirrored at the border; in bytes, for speed.
    rows = torch.cat([torch.ones(1), torch.arange(size)])
    below = (rows[:, None] >= torch.cat([tops[:, 1:2], tops], dim=1)[:, None]).view(torch.uint8)
    pairs = below[:, 1:] + below[:, :-1]
    return (pairs[:, :, 1:] + pairs[:, :, :-1]) * 0.25


def published_images(masks: Tensor, noise: Tensor, alpha: float, limits: Tensor) -> Tensor:
    """Return N images, shape (N, size, size), on the device of the arguments."""
    bottom, top, coin = limits
    # A coin decides which background has the range [bottom, 1]; the other has [0, top].
    bright = torch.stack([coin < 0.5, coin >= 0.5])
    heights, depths = torch.where(bright, 1 - bottom, top), torch.where(bright, bottom, 0)
    amplitude = _published_amplitude(tuple(masks.shape[1:]), alpha)
    first, second = map(_rescaled, noise.chunk(2), (amplitude, amplitude), heights, depths)
    return first.mul_(masks).add_(second.mul_(1 - masks))


def _rescaled(noise: Tensor, amplitude: Tensor, height: Tensor, depth: Tensor) -> Tensor:
    """Return noise filtered by the amplitude, and rescaled to the range [depth, depth + height]."""
    fields = filter_noise(noise, amplitude)
    low, high = fields.amin((1, 2), keepdim=True), fields.amax((1, 2), keepdim=True)
    return fields.sub_(low).div_(high - low).mul_(height).add_(depth)


@functools.lru_cache(maxsize=8)
def _published_amplitude(domain: tuple[int, ...], alpha: float) -> Tensor:
    with torch.inference_mode(False):
        return power_law(domain, alpha, constant=1).float()


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
