"""The best denoiser given the contour: two stationary Gaussian regions and the mask between them."""

from __future__ import annotations

import functools
import math

import torch
from torch import Tensor

from gahbench import OptimumError


class StationaryField:
    """A stationary Gaussian field on a square cut out of a periodic grid of twice its side.

    Its covariance matrix K, between d = size^2 pixels, is never formed but by :meth:`matrix`: products are taken in
    the Fourier domain of the periodic grid, and its eigenvectors are found among images that are even or odd under
    the two reflections of the square, which K leaves alone: four problems of d / 4 unknowns, two of them each other's
    transpose where the amplitude is symmetric in rows and columns.
    """

    def __init__(self, amplitude: Tensor) -> None:
        self.power = amplitude.double().square()
        self.size = len(amplitude) // 2

    @property
    def pixels(self) -> int:
        """Number d of pixels."""
        return self.size**2

    @functools.cached_property
    def covariances(self) -> Tensor:
        """Covariance at every distance in rows and columns, shape (size, size), float64."""
        full: Tensor = torch.fft.irfft2(self.power.to(torch.complex128), s=(2 * self.size, 2 * self.size))
        return full[: self.size, : self.size].clone()

    @property
    def variance(self) -> float:
        """Variance of a pixel."""
        return float(self.covariances[0, 0])

    def matrix(self) -> Tensor:
        """Return K, shape (d, d)."""
        places = torch.arange(self.size)
        lags = (places[:, None] - places).abs()
        return self._at(lags, lags)

    def matvec(self, images: Tensor) -> Tensor:
        """Return K x for images x, shape (..., d), float64."""
        spectrum = self._spectrum(images) * self.power
        # Columns are left out before the last transform, rows after it.
        rows = torch.fft.ifft(spectrum, dim=-2)[..., : self.size, :]
        products: Tensor = torch.fft.irfft(rows, n=2 * self.size, dim=-1)[..., : self.size].reshape(images.shape)
        return products

    def energy(self, images: Tensor) -> Tensor:
        """Return x' K x, shape (...), for images x, shape (..., d), float64."""
        # All columns of the layout but the first and last stand for two frequencies.
        weights = 2 * self.power
        weights[:, [0, -1]] /= 2
        spectrum = torch.view_as_real(self._spectrum(images)).square().sum(-1)
        return (spectrum * weights).sum((-2, -1)) / (2 * self.size) ** 2

    def decomposition(self, count: int) -> tuple[Tensor, Tensor]:
        """Return all eigenvalues of K, largest first, shape (d,), and the first ``count`` eigenvectors, (d, count)."""
        values, leading, vectors = [], [], []
        for row, column in ((1, 1), (1, -1), (-1, -1)):
            of_block, parts = torch.linalg.eigh(self._block(row, column))
            rows, columns = _reflected(self.size, row), _reflected(self.size, column)
            # No block holds more than ``count`` of the largest.
            quadrants = parts[:, -count:].T.reshape(-1, rows.shape[1], columns.shape[1])
            images = rows @ quadrants @ columns.T
            for whole in [images] if row == column else [images, images.mT]:
                values.append(of_block)
                leading.append(of_block[-count:])
                vectors.append(whole.reshape(-1, self.pixels))
        chosen = torch.cat(leading).sort(descending=True).indices[:count]
        # Rounding errors may leave the least ones negative.
        everything = torch.cat(values).clamp(min=0).sort(descending=True).values
        return everything, torch.cat(vectors)[chosen].T.contiguous()

    def _spectrum(self, images: Tensor) -> Tensor:
        squares = images.reshape(*images.shape[:-1], self.size, self.size)
        rows = torch.fft.rfft(squares, n=2 * self.size, dim=-1)
        spectrum: Tensor = torch.fft.fft(rows, n=2 * self.size, dim=-2)
        return spectrum

    def _block(self, row: int, column: int) -> Tensor:
        """Return K between images of one parity in each direction, in the basis of :func:`_reflected`."""
        (rows, upright), (columns, level) = _lags(self.size, row), _lags(self.size, column)
        covariance = self._at(rows[0], columns[0]) + column * self._at(rows[0], columns[1])
        covariance += row * self._at(rows[1], columns[0]) + row * column * self._at(rows[1], columns[1])
        weights = (upright[:, None] * level).flatten()
        return weights[:, None] * covariance * weights

    def _at(self, rows: Tensor, columns: Tensor) -> Tensor:
        """Return covariances at distances of shapes (r, r) and (c, c), as a matrix between r * c places."""
        entries = self.covariances[rows[:, None, :, None], columns[None, :, None, :]]
        places = len(rows) * len(columns)
        return entries.reshape(places, places)


def _lags(side: int, parity: int) -> tuple[tuple[Tensor, Tensor], Tensor]:
    """Return the distances of places to each other and to each other's mirror images, and the weights of places."""
    count = (side + 1) // 2 if parity > 0 else side // 2
    places = torch.arange(count)
    weights = torch.ones(count, dtype=torch.float64)
    if side % 2 and parity > 0:
        # The middle is its own mirror image.
        weights[-1] = math.sqrt(0.5)
    return ((places[:, None] - places).abs(), (places[:, None] + places + 1 - side).abs()), weights


def _reflected(side: int, parity: int) -> Tensor:
    """Return the orthonormal even or odd functions of two mirrored places, as columns, shape (side, places)."""
    _, weights = _lags(side, parity)
    halves = torch.eye(side, dtype=torch.float64)[:, : len(weights)]
    return (halves + parity * halves.flip(0)) * weights * math.sqrt(0.5)


#: Maximum of pixels for which all eigenvalues are found at any noise level, and for which they are found at all.
SMALL = 1600
LARGE = 4096
#: Most eigenvalues of the field that are resolved, by bounds and by the preconditioner of the filter.
MAX_RANK = 2047
PRECONDITIONER = 256
#: Eigenvalues of the field below this times the largest are rounding errors.
ROUNDING = 1e-13
#: Eigenvalues of the field above this times sigma^2 are resolved, if they are not too many.
RESOLVED = 0.1
#: Root mean square error of the filter in units of sigma, and how many steps it may take to get there.
ACCURACY = 1e-5
STEPS = 1000
#: Energies below this may be left out of a basis: a denoiser at sigma = 1/255 more than halves them.
FAINTEST = (1 / 255) ** 2
#: Most pixels for which no vector of a basis is left out.
ALL = 1024
#: Vectors that are transformed together, which bounds memory.
TOGETHER = 128


class Leading:
    """The matrix A = M K_r M + (1 - M) K_r (1 - M) + v (m m' + (1 - m) (1 - m)') = F F' of masks m, M = diag(m).

    K_r = W W' is the covariance of a background from r eigenvectors, and F = [M W, (1 - M) W, v^(1/2) m,
    v^(1/2) (1 - m)] has 2 r + 2 columns. F is never formed.
    """

    def __init__(self, values: Tensor, vectors: Tensor, constant: float) -> None:
        self.scaled = vectors * values.sqrt()
        self.values = values
        self.root = constant**0.5

    @property
    def rank(self) -> int:
        """Number r of eigenvectors."""
        return len(self.values)

    @property
    def columns(self) -> int:
        """Number of columns of F."""
        return 2 * self.rank + 2

    def analysis(self, masks: Tensor, images: Tensor) -> Tensor:
        """Return F' x, shape (N, 2 r + 2), for images x and masks, shape (N, d) each or (1, d) for one of them."""
        inside = masks * images
        outside = images - inside
        sums = self.root * torch.stack([inside.sum(-1), outside.sum(-1)], dim=-1)
        return torch.cat([inside @ self.scaled, outside @ self.scaled, sums], dim=-1)

    def synthesis(self, masks: Tensor, parts: Tensor) -> Tensor:
        """Return F c, shape (N, d), for coefficients c, shape (N, 2 r + 2), and masks, shape (N, d) or (1, d)."""
        first, second, sums = torch.split(parts, [self.rank, self.rank, 2], dim=-1)
        inside = first @ self.scaled.T + self.root * sums[:, :1]
        outside = second @ self.scaled.T + self.root * sums[:, 1:]
        images: Tensor = outside + masks * (inside - outside)
        return images

    def gram(self, mask: Tensor) -> Tensor:
        """Return F' F, shape (2 r + 2, 2 r + 2), for a mask, shape (d,)."""
        rank = self.rank
        both = mask * (1 - mask)
        # Few pixels are of both regions, and the eigenvectors are orthonormal: one large product makes three blocks.
        mixed = both.nonzero()[:, 0]
        first = (self.scaled * mask.square()[:, None]).T @ self.scaled
        across = (self.scaled[mixed] * both[mixed, None]).T @ self.scaled[mixed]
        second = torch.diag(self.values) - first - 2 * across
        products = torch.empty(self.columns, self.columns, dtype=torch.float64)
        products[:rank, :rank], products[rank:-2, rank:-2] = first, second
        products[:rank, rank:-2], products[rank:-2, :rank] = across, across
        shares = torch.stack([mask.square(), both, (1 - mask).square()])
        sums = self.root * shares @ self.scaled
        products[:rank, -2:] = sums[:2].T
        products[rank:-2, -2:] = sums[1:].T
        products[-2:, :-2] = products[:-2, -2:].T
        products[-2:, -2:] = self.root**2 * shares.sum(1)[torch.tensor([[0, 1], [1, 2]])]
        return products


class ConditionalGaussian:
    """Images m x_1 + (1 - m) x_2 of two independent backgrounds, given the mask m.

    Given m such an image has a Gaussian distribution with covariance

        K_x = M K M + (1 - M) K (1 - M) + v (m m' + (1 - m) (1 - m)'),

    M = diag(m), K the covariance of the field of a background, v the variance of its constant. So the Wiener
    filter K_x (K_x + sigma^2)^-1 is the best denoiser given m, its error sigma^2 tr[K_x (K_x + sigma^2)^-1] bounds
    the expected squared error of all denoisers without m, and the eigenvectors of K_x are the basis in which it
    shrinks. Everything is float64; a mask has values in [0, 1].
    """

    def __init__(self, field: StationaryField, constant: float) -> None:
        self.field = field
        self.constant = constant

    def matvec(self, masks: Tensor, images: Tensor) -> Tensor:
        """Return K_x x for images x, shape (N, d), and their masks, shape (N, d) or (1, d)."""
        products = torch.zeros_like(images)
        for share in (masks, 1 - masks):
            inside = share * images
            products += share * (self.field.matvec(inside) + self.constant * inside.sum(-1, keepdim=True))
        return products

    def matrix(self, mask: Tensor) -> Tensor:
        """Return K_x, shape (d, d), for a mask, shape (d,)."""
        covariance: Tensor = torch.outer(mask, mask) + torch.outer(1 - mask, 1 - mask)
        covariance *= self._background
        return covariance

    def is_resolved(self, sigma: float) -> bool:
        """Return whether the error is best had from all :meth:`eigenvalues` rather than from :meth:`error_bounds`."""
        pixels = self.field.pixels
        return pixels <= SMALL or (pixels <= LARGE and 4 * (self._count(RESOLVED * sigma**2) + 1) > pixels)

    def eigenvalues(self, mask: Tensor) -> Tensor:
        """Return all eigenvalues of K_x, shape (d,), for a mask, shape (d,)."""
        values: Tensor = torch.linalg.eigvalsh(self.matrix(mask))
        return values.clamp(min=0)

    def error_bounds(self, mask: Tensor, sigma: float) -> tuple[float, float]:
        """Return a lower and an upper bound on the squared error sigma^2 tr[K_x (K_x + sigma^2)^-1].

        The largest r eigenvalues lambda of K are resolved and leave K_h, of norm lambda_{r + 1}: K_x = A + B with A of
        rank 2 r + 2 and B = M K_h M + (1 - M) K_h (1 - M). Let f(t) = sigma^2 t / (t + sigma^2), G = (A +
        sigma^2)^-1 and X = G^(1/2) B G^(1/2) >= 0, so that the error is tr f(A + B) = sigma^2 d - sigma^4 tr[G^(1/2)
        (1 + X)^-1 G^(1/2)]. As 1 / (1 + x) >= 1 - x, it is at most

            tr f(A) + T,     T = sigma^4 tr(G^2 B).

        As 1 / (1 + x) <= 1 - ((1 + 2 t) x - x^2) / (1 + t)^2 for every t >= 0 (the difference is x (x - t)^2 / ((1 + x)
        (1 + t)^2)), it is at least tr f(A) + ((1 + 2 t) T - S) / (1 + t)^2 for any S >= sigma^4 tr(G B G B G). With
        the best t, which is S / T, the error is at least

            tr f(A) + T / (1 + S / T).

        Both T lambda_{r + 1} / sigma^2 and the sum of squares of the unresolved eigenvalues over sigma^2 are such an S,
        the first as G <= sigma^-2, the second as moreover no entry of B exceeds that of K_h; the smaller is taken.

        The r eigenvalues are those above 0.1 sigma^2, at most d / 4 and at most 2047. Where these limits do not bind,
        the two bounds are within 1 % of each other and the lower one within 0.2 % of the error.
        """
        leading = self._leading(self._rank(RESOLVED * sigma**2))
        energies, turns = torch.linalg.eigh(leading.gram(mask))
        # The omitted part of A makes the lower bound lower, and is added to the upper one.
        kept = energies > 1e-6 * sigma**2
        left_out = float(energies[~kept].clamp(min=0).sum())
        energies, turns = energies[kept], turns[:, kept]
        squares = float((mask.square() + (1 - mask).square()).sum())
        trace = squares * (self.field.variance + self.constant) - float(energies.sum()) - left_out
        overlaps = self._overlaps(leading, mask, energies, turns)
        linear = max(trace - float(((1 - (sigma**2 / (energies + sigma**2)).square()) * overlaps).sum()), 0.0)
        resolved = float((sigma**2 * energies / (energies + sigma**2)).sum())
        if linear == 0:
            return resolved, resolved + left_out
        rest = self._spectrum[0][leading.rank :]
        quadratic = min(float(rest[0]) * linear, float(rest.square().sum())) / sigma**2
        return resolved + linear / (1 + quadratic / linear), resolved + linear + left_out

    def wiener(self, masks: Tensor, images: Tensor, sigma: float) -> Tensor:
        """Return K_x (K_x + sigma^2)^-1 x for images x, shape (N, d), each with its mask, shape (N, d).

        It takes conjugate gradients with G of :meth:`error_bounds` as preconditioner, which makes the condition number
        at most 1 + lambda_{r + 1} / sigma^2. The error of the filter is at most the residual of the equations.
        """
        leading = self._leading(min(self._rank(RESOLVED * sigma**2), PRECONDITIONER))
        grams = torch.stack([leading.gram(mask) for mask in masks])
        roots = torch.linalg.cholesky(grams + sigma**2 * torch.eye(grams.shape[-1], dtype=torch.float64))
        solution, residual = torch.zeros_like(images), images
        direction, last = torch.zeros_like(images), torch.ones(len(images), 1, dtype=torch.float64)
        for _ in range(STEPS):
            if bool((residual.square().mean(-1) <= (ACCURACY * sigma) ** 2).all()):
                return images - sigma**2 * solution
            parts = torch.cholesky_solve(leading.analysis(masks, residual)[..., None], roots)[..., 0]
            conditioned = residual - leading.synthesis(masks, parts)
            energy = (residual * conditioned).sum(-1, keepdim=True)
            direction = conditioned + energy / last * direction
            moved = self.matvec(masks, direction) + sigma**2 * direction
            # An image of zeros is solved from the start, and must not become 0 / 0.
            tiny = torch.finfo(torch.float64).tiny
            step = energy / (direction * moved).sum(-1, keepdim=True).clamp(min=tiny)
            solution, residual, last = solution + step * direction, residual - step * moved, energy.clamp(min=tiny)
        raise OptimumError(f"the Wiener filter at sigma={sigma:g} did not converge in {STEPS} steps")

    def basis(self, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Return eigenvectors of K_x, most energy first, and their energies, for a mask, shape (d,).

        All for up to 1024 pixels; otherwise 2 r + 2, r being the number of eigenvalues of K above (1/255)^2: by
        Weyl's inequality no other energy is larger than that. For more than 4096 pixels r is at most 2047. Where
        eigenvalues for sigma = 1/255 would not be found by :meth:`eigenvalues`, these vectors are by a step of subspace
        iteration from the span of the matrix A of :meth:`error_bounds`, whose errors are smallest for large energies.
        """
        pixels = self.field.pixels
        if self.is_resolved(FAINTEST**0.5):
            count = pixels if pixels <= ALL else min(pixels, 2 * self._count(FAINTEST) + 2)
            energies, vectors = torch.linalg.eigh(self.matrix(mask))
        else:
            count = 2 * self._rank(FAINTEST) + 2
            leading = self._leading(self._rank(RESOLVED * FAINTEST))
            columns = leading.synthesis(mask[None], torch.eye(leading.columns, dtype=torch.float64))
            span = torch.linalg.qr(self.matvec(mask[None], columns).T)[0].T.contiguous()
            energies, turns = torch.linalg.eigh(span @ self.matvec(mask[None], span).T)
            vectors = span.T @ turns
        return vectors.flip(1)[:, :count], energies.flip(0)[:count].clamp(min=0)

    def _overlaps(self, leading: Leading, mask: Tensor, energies: Tensor, turns: Tensor) -> Tensor:
        """Return u' B u for the unit eigenvectors u of A, shape (k,)."""
        overlaps = []
        for some, parts in zip(torch.split(energies, TOGETHER), torch.split(turns.T, TOGETHER), strict=True):
            vectors = leading.synthesis(mask[None], parts) / some.sqrt()[:, None]
            whole = self.constant * ((vectors @ mask).square() + (vectors @ (1 - mask)).square())
            for share in (mask, 1 - mask):
                whole += self.field.energy(share * vectors)
            overlaps.append((whole - some).clamp(min=0))
        return torch.cat(overlaps)

    def _count(self, lower: float) -> int:
        """Return how many eigenvalues of K are above ``lower``."""
        return int((self._spectrum[0] > lower).sum())

    def _rank(self, lower: float) -> int:
        """Return the number of eigenvalues of K to resolve so that those above ``lower`` are, if they can be."""
        return min(self._count(lower), self._spectrum[1].shape[1])

    @functools.cached_property
    def _spectrum(self) -> tuple[Tensor, Tensor]:
        values, vectors = self.field.decomposition(min(MAX_RANK, self.field.pixels // 4))
        # Below some rounding errors eigenvectors have no meaning, and need not be held.
        return values, vectors[:, values[: vectors.shape[1]] > ROUNDING * values[0]].contiguous()

    @functools.cached_property
    def _background(self) -> Tensor:
        return self.field.matrix() + self.constant

    def _leading(self, rank: int) -> Leading:
        values, vectors = self._spectrum
        return Leading(values[:rank], vectors[:, :rank], self.constant)
