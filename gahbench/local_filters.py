"""The filters that a denoiser is, locally: its Jacobians at the images of an evaluation, for all metrics that ask."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from torch import Tensor

if TYPE_CHECKING:
    from gahbench.evaluation import Evaluation
    from gahbench.jacobian import Estimate, LinearMaps, Sketch

#: Bytes of matrices that are kept for the next metric; the oldest go first.
MEMORY = 1 << 30


class LocalFilters:
    """Jacobians J of a denoiser at noisy images, and what follows from them, at each noise level and draw of noise.

    Where images are small (:data:`gahbench.jacobian.LARGEST_EXACT`), all of J is found once, and everything is exact;
    where they are not, there are products, and sketches on random vectors. Everything is ``None`` for a denoiser that
    has no Jacobian.

    Parameters
    ----------
    evaluation
        The denoiser on its images.
    """

    def __init__(self, evaluation: Evaluation) -> None:
        self._evaluation = evaluation
        self._maps: dict[tuple[float, int], LinearMaps | None] = {}
        self._kept: dict[tuple[str, float, int], tuple[Tensor, ...]] = {}

    def maps(self, sigma: float, draw: int = 0) -> LinearMaps | None:
        """Return the Jacobians at the images under a draw of noise."""
        key = (sigma, draw)
        if key not in self._maps:
            self._maps[key] = self._evaluation.jacobian(sigma, draw)
        return self._maps[key]

    def matrices(self, sigma: float, draw: int = 0) -> Tensor | None:
        """Return J at every image, shape (N, d, d), for small images.

        Raises
        ------
        ValueError
            If a value is not finite.
        """
        maps = self.maps(sigma, draw)
        if maps is None:
            return None

        def found() -> tuple[Tensor, ...]:
            matrices = maps.matrices()
            if not matrices.isfinite().all():
                raise ValueError(f"the Jacobian has values that are not finite, at sigma={sigma:g}")
            return (matrices,)

        return self._once("matrices", sigma, draw, found)[0]

    def eigenpairs(self, sigma: float) -> tuple[Tensor, Tensor] | None:
        """Return eigenvalues (N, d), sorted down, and eigenvectors (N, d, d), as rows, of the symmetric part of J."""
        from gahbench.jacobian.eigen import full

        matrices = self.matrices(sigma)
        if matrices is None:
            return None
        values, vectors = self._once("eigenpairs", sigma, 0, lambda: full(matrices))
        return values, vectors

    def sketch(self, sigma: float, draw: int = 0) -> Sketch | None:
        """Return the symmetric part of J at every image: whole for small images, otherwise on random vectors."""
        from gahbench.jacobian import Sketch
        from gahbench.jacobian.probes import sketch

        maps = self.maps(sigma, draw)
        if maps is None:
            return None
        if maps.is_small:
            matrices = self.matrices(sigma, draw)
            assert matrices is not None
            return Sketch((matrices + matrices.mT) / 2, exact=True)
        (rows,) = self._once("sketch", sigma, draw, lambda: (sketch(maps).rows,))
        return Sketch(rows, exact=False)

    def trace(self, sigma: float) -> Estimate | None:
        """Return the trace of J at every image."""
        from gahbench.jacobian import DenseMaps

        maps = self.maps(sigma)
        if maps is None:
            return None
        matrices = self.matrices(sigma) if maps.is_small else None
        return maps.trace() if matrices is None else DenseMaps(matrices, maps.shape).trace()

    def _once(self, name: str, sigma: float, draw: int, find: Callable[[], tuple[Tensor, ...]]) -> tuple[Tensor, ...]:
        key = (name, sigma, draw)
        if key not in self._kept:
            self._kept[key] = find()
            while len(self._kept) > 1 and sum(map(_bytes, self._kept.values())) > MEMORY:
                self._kept.pop(next(iter(self._kept)))
        return self._kept[key]


def _bytes(tensors: tuple[Tensor, ...]) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)
