"""The best denoiser given the contour, for images of two stationary Gaussian regions that are separated by a mask."""

from __future__ import annotations

import functools
import math

import torch
from torch import Tensor

from gahbench import OptimumError


class StationaryField:
    """A stationary Gaussian field on a square that is cropped from a periodic grid of twice its side.

    Only :meth:`matrix` forms the covariance matrix K between d = size^2 pixels. Products with K are computed in the
    Fourier domain of the periodic grid. K commutes with the two reflections of the square, so its eigenvectors are even
    or odd images: there are four eigenvalue problems of d / 4 unknowns. The amplitude is symmetric in rows and columns,
    so two of these problems are transposes of each other.
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
        indices = torch.arange(self.size)
        lags = (indices[:, None] - indices).abs()
        return self._covariance(lags, lags)

    def matvec(self, images: Tensor) -> Tensor:
        """Return K x for images x, shape (..., d), float64."""
        spectrum = self._spectrum(images) * self.power
        # Cropping rows before the last transform saves work.
        rows = torch.fft.ifft(spectrum, dim=-2)[..., : self.size, :]
        products: Tensor = torch.fft.irfft(rows, n=2 * self.size, dim=-1)[..., : self.size].reshape(images.shape)
        return products

    def energy(self, images: Tensor) -> Tensor:
        """Return x' K x, shape (...), for images x, shape (..., d), float64."""
        # In rfft layout, all columns except the first and last stand for two frequencies.
        weights = 2 * self.power
        weights[:, [0, -1]] /= 2
        spectrum = torch.view_as_real(self._spectrum(images)).square().sum(-1)
        return (spectrum * weights).sum((-2, -1)) / (2 * self.size) ** 2

    def decomposition(self, count: int) -> tuple[Tensor, Tensor]:
        """Return all eigenvalues of K, descending, shape (d,), and the first ``count`` eigenvectors, (d, count)."""
        values, leading, vectors = [], [], []
        for row, column in ((1, 1), (1, -1), (-1, -1)):
            block_values, block_vectors = torch.linalg.eigh(self._block(row, column))
            rows, columns = _parity_basis(self.size, row), _parity_basis(self.size, column)
            # A block contains at most ``count`` of the largest eigenvalues.
            quadrants = block_vectors[:, -count:].T.reshape(-1, rows.shape[1], columns.shape[1])
            images = rows @ quadrants @ columns.T
            for block_images in [images] if row == column else [images, images.mT]:
                values.append(block_values)
                leading.append(block_values[-count:])
                vectors.append(block_images.reshape(-1, self.pixels))
        order = torch.cat(leading).sort(descending=True).indices[:count]
        # Rounding errors can make the smallest eigenvalues negative.
        all_values = torch.cat(values).clamp(min=0).sort(descending=True).values
        return all_values, torch.cat(vectors)[order].T.contiguous()

    def _spectrum(self, images: Tensor) -> Tensor:
        squares = images.reshape(*images.shape[:-1], self.size, self.size)
        rows = torch.fft.rfft(squares, n=2 * self.size, dim=-1)
        spectrum: Tensor = torch.fft.fft(rows, n=2 * self.size, dim=-2)
        return spectrum

    def _block(self, row: int, column: int) -> Tensor:
        """Return K between images of the given parities, in the bases :func:`_parity_basis`."""
        (rows, row_weights), (columns, column_weights) = _lags(self.size, row), _lags(self.size, column)
        covariance = self._covariance(rows[0], columns[0]) + column * self._covariance(rows[0], columns[1])
        covariance += row * self._covariance(rows[1], columns[0]) + row * column * self._covariance(rows[1], columns[1])
        weights = (row_weights[:, None] * column_weights).flatten()
        return weights[:, None] * covariance * weights

    def _covariance(self, rows: Tensor, columns: Tensor) -> Tensor:
        """Return covariances at distances of shapes (r, r) and (c, c), as a matrix between r * c pixels."""
        entries = self.covariances[rows[:, None, :, None], columns[None, :, None, :]]
        pixels = len(rows) * len(columns)
        return entries.reshape(pixels, pixels)


def _lags(side: int, parity: int) -> tuple[tuple[Tensor, Tensor], Tensor]:
    """Return the distances between indices, the distances to mirrored indices, and the weights of the indices."""
    count = (side + 1) // 2 if parity > 0 else side // 2
    indices = torch.arange(count)
    weights = torch.ones(count, dtype=torch.float64)
    if side % 2 and parity > 0:
        # The middle is its own mirror image.
        weights[-1] = math.sqrt(0.5)
    return ((indices[:, None] - indices).abs(), (indices[:, None] + indices + 1 - side).abs()), weights


def _parity_basis(side: int, parity: int) -> Tensor:
    """Return an orthonormal basis of even or odd functions, as columns, shape (side, count)."""
    _, weights = _lags(side, parity)
    halves = torch.eye(side, dtype=torch.float64)[:, : len(weights)]
    return (halves + parity * halves.flip(0)) * weights * math.sqrt(0.5)


#: Maximum number of pixels for which all eigenvalues are computed at every noise level.
EXACT_PIXELS = 1600
#: Maximum number of pixels for which all eigenvalues are computed at low noise levels.
MAX_EXACT_PIXELS = 4096
#: Maximum number of eigenvalues of the field that the bounds resolve.
MAX_RANK = 2047
#: Maximum number of eigenvalues of the field that the preconditioner of the filter resolves.
PRECONDITIONER_RANK = 256
#: Eigenvalues of the field below this times the largest eigenvalue are rounding errors.
ROUNDING = 1e-13
#: Eigenvalues of the field above this times sigma^2 are resolved, up to the maximum number.
RESOLVED = 0.1
#: Root mean square error of the filter in units of sigma, and maximum number of steps to reach it.
ACCURACY = 1e-5
STEPS = 1000
#: Smaller energies may be left out of a basis: the denoiser at sigma = 1/255 multiplies them by less than 1/2.
MIN_ENERGY = (1 / 255) ** 2
#: Maximum number of pixels for which a basis is complete.
COMPLETE_PIXELS = 1024
#: Number of vectors that are transformed at a time, which limits the memory.
BATCH = 128


class LeadingPart:
    """The leading part A = F F' of the covariance of images with masks m.

    With M = diag(m), A = M K_r M + (1 - M) K_r (1 - M) + v (m m' + (1 - m) (1 - m)').
    K_r = W W' is the covariance of a background restricted to r eigenvectors, and F = [M W, (1 - M) W, v^(1/2) m,
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
        """Return F' x, shape (N, 2 r + 2), for images x and masks, each of shape (N, d) or (1, d)."""
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
        # Few pixels are in both regions, and the eigenvectors are orthonormal, so a single large product suffices.
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

    Given m, an image has a Gaussian distribution with covariance

        K_x = M K M + (1 - M) K (1 - M) + v (m m' + (1 - m) (1 - m)'),

    where M = diag(m), K is the covariance of the field of a background, and v is the variance of its constant.
    Therefore the Wiener filter K_x (K_x + sigma^2)^-1 is the best denoiser given m. Its error sigma^2 tr[K_x (K_x +
    sigma^2)^-1] is a lower bound on the expected squared error of all denoisers that do not know m. The filter shrinks
    in the basis of eigenvectors of K_x. All tensors are float64, and masks have values in [0, 1].
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
        """Return whether to compute the error from all :meth:`eigenvalues` rather than by :meth:`error_bounds`."""
        pixels = self.field.pixels
        if pixels <= EXACT_PIXELS:
            return True
        return pixels <= MAX_EXACT_PIXELS and 4 * (self._count(RESOLVED * sigma**2) + 1) > pixels

    def eigenvalues(self, mask: Tensor) -> Tensor:
        """Return all eigenvalues of K_x, shape (d,), for a mask, shape (d,)."""
        values: Tensor = torch.linalg.eigvalsh(self.matrix(mask))
        return values.clamp(min=0)

    def error_bounds(self, mask: Tensor, sigma: float) -> tuple[float, float]:
        """Return a lower and an upper bound on the squared error sigma^2 tr[K_x (K_x + sigma^2)^-1].

        The largest r eigenvalues lambda of K are resolved; the remainder K_h has norm lambda_{r + 1}. Then K_x = A + B
        with A of rank 2 r + 2 and B = M K_h M + (1 - M) K_h (1 - M). Let f(t) = sigma^2 t / (t + sigma^2), G = (A +
        sigma^2)^-1 and X = G^(1/2) B G^(1/2) >= 0, so the error is tr f(A + B) = sigma^2 d - sigma^4 tr[G^(1/2)
        (1 + X)^-1 G^(1/2)]. As 1 / (1 + x) >= 1 - x, the error is at most

            tr f(A) + T,     T = sigma^4 tr(G^2 B).

        As 1 / (1 + x) <= 1 - ((1 + 2 t) x - x^2) / (1 + t)^2 for every t >= 0 (the difference is x (x - t)^2 / ((1 + x)
        (1 + t)^2)), it is at least tr f(A) + ((1 + 2 t) T - S) / (1 + t)^2 for any S >= sigma^4 tr(G B G B G). With
        the best t, which is S / T, the error is at least

            tr f(A) + T / (1 + S / T).

        Two values of S are available, and the smaller is used: T lambda_{r + 1} / sigma^2, as G <= sigma^-2, and the
        sum of squares of the unresolved eigenvalues over sigma^2, since no entry of B exceeds the corresponding entry
        of K_h.

        The r resolved eigenvalues are the eigenvalues above 0.1 sigma^2, at most d / 4 and at most 2047 of them. If r
        is below these limits, the two bounds are within 1 % of each other and the lower bound within 0.2 % of the
        error.
        """
        leading = self._leading(self._rank(RESOLVED * sigma**2))
        energies, rotation = torch.linalg.eigh(leading.gram(mask))
        # The omitted part of A reduces the lower bound, and is added to the upper bound.
        is_kept = energies > 1e-6 * sigma**2
        omitted = float(energies[~is_kept].clamp(min=0).sum())
        energies, rotation = energies[is_kept], rotation[:, is_kept]
        squares = float((mask.square() + (1 - mask).square()).sum())
        trace = squares * (self.field.variance + self.constant) - float(energies.sum()) - omitted
        overlaps = self._overlaps(leading, mask, energies, rotation)
        linear = max(trace - float(((1 - (sigma**2 / (energies + sigma**2)).square()) * overlaps).sum()), 0.0)
        resolved = float((sigma**2 * energies / (energies + sigma**2)).sum())
        if linear == 0:
            return resolved, resolved + omitted
        unresolved = self._spectrum[0][leading.rank :]
        quadratic = min(float(unresolved[0]) * linear, float(unresolved.square().sum())) / sigma**2
        return resolved + linear / (1 + quadratic / linear), resolved + linear + omitted

    def wiener(self, masks: Tensor, images: Tensor, sigma: float) -> Tensor:
        """Return K_x (K_x + sigma^2)^-1 x for images x, shape (N, d), each with its mask, shape (N, d).

        The solver is the conjugate gradient method with the preconditioner G of :meth:`error_bounds`, so that the
        condition number is at most 1 + lambda_{r + 1} / sigma^2. The error is at most the residual of the equations.
        """
        leading = self._leading(min(self._rank(RESOLVED * sigma**2), PRECONDITIONER_RANK))
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
            product = self.matvec(masks, direction) + sigma**2 * direction
            # Avoid 0 / 0 for an image of zeros.
            tiny = torch.finfo(torch.float64).tiny
            step = energy / (direction * product).sum(-1, keepdim=True).clamp(min=tiny)
            solution, residual, last = solution + step * direction, residual - step * product, energy.clamp(min=tiny)
        raise OptimumError(f"the Wiener filter at sigma={sigma:g} did not converge in {STEPS} steps")

    def basis(self, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Return eigenvectors of K_x and their energies, in descending order, for a mask, shape (d,).

        For up to 1024 pixels the basis is complete. For more pixels it has 2 r + 2 vectors, where r is the number of
        eigenvalues of K above (1/255)^2: by Weyl's inequality, all other energies are at most (1/255)^2. For more than
        4096 pixels, r is at most 2047. If :meth:`is_resolved` is false at sigma = 1/255, the vectors are computed by a
        step of subspace iteration from the span of the matrix A of :meth:`error_bounds`, whose errors are smallest for
        large energies.
        """
        pixels = self.field.pixels
        if self.is_resolved(MIN_ENERGY**0.5):
            count = pixels if pixels <= COMPLETE_PIXELS else min(pixels, 2 * self._count(MIN_ENERGY) + 2)
            energies, vectors = torch.linalg.eigh(self.matrix(mask))
        else:
            count = 2 * self._rank(MIN_ENERGY) + 2
            leading = self._leading(self._rank(RESOLVED * MIN_ENERGY))
            columns = leading.synthesis(mask[None], torch.eye(leading.columns, dtype=torch.float64))
            span = torch.linalg.qr(self.matvec(mask[None], columns).T)[0].T.contiguous()
            energies, rotation = torch.linalg.eigh(span @ self.matvec(mask[None], span).T)
            vectors = span.T @ rotation
        return vectors.flip(1)[:, :count], energies.flip(0)[:count].clamp(min=0)

    def _overlaps(self, leading: LeadingPart, mask: Tensor, energies: Tensor, rotation: Tensor) -> Tensor:
        """Return u' B u for the unit eigenvectors u of A, shape (k,)."""
        overlaps = []
        for batch, parts in zip(torch.split(energies, BATCH), torch.split(rotation.T, BATCH), strict=True):
            vectors = leading.synthesis(mask[None], parts) / batch.sqrt()[:, None]
            total = self.constant * ((vectors @ mask).square() + (vectors @ (1 - mask)).square())
            for share in (mask, 1 - mask):
                total += self.field.energy(share * vectors)
            overlaps.append((total - batch).clamp(min=0))
        return torch.cat(overlaps)

    def _count(self, lower: float) -> int:
        """Return the number of eigenvalues of K above ``lower``."""
        return int((self._spectrum[0] > lower).sum())

    def _rank(self, lower: float) -> int:
        """Return the number of eigenvalues of K above ``lower``, at most the number of known eigenvectors."""
        return min(self._count(lower), self._spectrum[1].shape[1])

    @functools.cached_property
    def _spectrum(self) -> tuple[Tensor, Tensor]:
        values, vectors = self.field.decomposition(min(MAX_RANK, self.field.pixels // 4))
        # Eigenvectors of eigenvalues at the level of rounding errors are meaningless.
        return values, vectors[:, values[: vectors.shape[1]] > ROUNDING * values[0]].contiguous()

    @functools.cached_property
    def _background(self) -> Tensor:
        return self.field.matrix() + self.constant

    def _leading(self, rank: int) -> LeadingPart:
        values, vectors = self._spectrum
        return LeadingPart(values[:rank], vectors[:, :rank], self.constant)
