"""Stationary random fields on part of a periodic grid, and their covariance."""

from __future__ import annotations

import functools
import math

import torch
from torch import Tensor


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
            found, parts = torch.linalg.eigh(self._block(row, column))
            rows, columns = _reflected(self.size, row), _reflected(self.size, column)
            # No block holds more than ``count`` of the largest.
            quadrants = parts[:, -count:].T.reshape(-1, rows.shape[1], columns.shape[1])
            images = rows @ quadrants @ columns.T
            for whole in [images] if row == column else [images, images.mT]:
                values.append(found)
                leading.append(found[-count:])
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
        found = self._at(rows[0], columns[0]) + column * self._at(rows[0], columns[1])
        found += row * self._at(rows[1], columns[0]) + row * column * self._at(rows[1], columns[1])
        weights = (upright[:, None] * level).flatten()
        return weights[:, None] * found * weights

    def _at(self, rows: Tensor, columns: Tensor) -> Tensor:
        """Return covariances at distances of shapes (r, r) and (c, c), as a matrix between r * c places."""
        found = self.covariances[rows[:, None, :, None], columns[None, :, None, :]]
        places = len(rows) * len(columns)
        return found.reshape(places, places)


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
