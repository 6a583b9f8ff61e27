"""The local filters of a denoiser: its Jacobians at the images of an evaluation, shared by all metrics."""

from __future__ import annotations

import copy
import functools
import math
from collections.abc import Callable
from typing import TYPE_CHECKING

from torch import Tensor

from gahbench._util.resources import LRUCache
from gahbench.evaluation.alignment import MIN_IMAGES, Adaptation, StrengthRemoval, adaptation, remove_strength
from gahbench.jacobian import DenseMaps, Estimate, Jacobian, LinearMaps, Sketch
from gahbench.jacobian.eigen import full
from gahbench.networks.precision import Precision, choose

if TYPE_CHECKING:
    from gahbench.evaluation.evaluation import Evaluation

#: Maximum size in bytes of each of three caches: Jacobians, matrices and eigenvectors, and residuals.
MEMORY = 1 << 30
#: Largest accepted error of matrices, as a share of the change of filters beyond strength and mean.
MAX_SHARE_OF_CHANGE = 0.05
#: Number of products, for one image, that are timed in each precision.
COLUMNS = 128


class LocalFilters:
    """Jacobians J of a denoiser at noisy images, with traces and eigenpairs, at each noise level and draw of noise.

    For small images (:data:`gahbench.jacobian.LARGEST_EXACT`), J is computed once as a matrix, and all results are
    exact. For larger images, there are products and sketches on random vectors. Methods return ``None`` for a denoiser
    without a Jacobian.

    Matrices of ReLU networks may be computed in bfloat16 (:class:`gahbench.jacobian.Jacobian`), if the evaluation
    requests it, or if it leaves the choice and bfloat16 was measured to be faster on this device
    (:mod:`gahbench.networks.precision`). They must differ from matrices in float32 by at most 1 %, and by at most 5 %
    of the change of the filters beyond strength and mean. Otherwise, matrices are computed in float32. The choice does
    not depend on the order of metrics.

    Parameters
    ----------
    evaluation
        The denoiser on its images.

    Examples
    --------
    >>> import gahbench
    >>> from gahbench.evaluation import Evaluation
    >>> images = gahbench.create("dataset", "discs", size=8).images("test", 2)
    >>> evaluation = Evaluation(gahbench.create("reference", "low-pass", share=0.25), images, [0.1])
    >>> evaluation.local_filters.trace(0.1).value.round()
    tensor([16., 16.], dtype=torch.float64)
    """

    def __init__(self, evaluation: Evaluation) -> None:
        # Keep a copy: in a reference cycle, matrices would outlive the evaluation until garbage collection.
        self._evaluation = copy.copy(evaluation)
        # Maps that compute products take little memory.
        self._maps: LRUCache[LinearMaps | None] = LRUCache(
            MEMORY, lambda maps: _bytes((maps.like,)) if isinstance(maps, DenseMaps) else 0
        )
        self._tensors: LRUCache[tuple[Tensor, ...]] = LRUCache(MEMORY, _bytes)
        self._adaptations: LRUCache[Adaptation] = LRUCache(MEMORY, lambda adaptation: _bytes((adaptation.sketch.rows,)))
        self._traces: dict[float, Estimate] = {}
        #: The precision of products; ``None`` before matrices of a network are computed.
        self.precision: Precision | None = None

    def maps(self, sigma: float, draw: int = 0) -> LinearMaps | None:
        """Return the Jacobians at the images under a draw of noise."""
        return self._maps.get((sigma, draw), lambda: self._evaluation.jacobian(sigma, draw))

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
        return self._compute_once("matrices", sigma, draw, lambda: (self._compute_matrices(maps),))[0]

    def eigenpairs(self, sigma: float) -> tuple[Tensor, Tensor] | None:
        """Return eigenvalues (N, d), descending, and eigenvectors (N, d, d), as rows, of the symmetric part of J."""
        matrices = self.matrices(sigma)
        if matrices is None:
            return None
        values, vectors = self._compute_once("eigenpairs", sigma, 0, lambda: full(matrices))
        return values, vectors

    def sketch(self, sigma: float, draw: int = 0) -> Sketch | None:
        """Return the symmetric part of J at every image: whole for small images, otherwise on random vectors."""
        maps = self.maps(sigma, draw)
        if maps is None:
            return None
        if not maps.is_small:
            return Sketch(self._compute_once("sketch", sigma, draw, lambda: (maps.sketch().rows,))[0], exact=False)
        matrices = self.matrices(sigma, draw)
        assert matrices is not None
        return Sketch((matrices + matrices.mT) / 2, exact=True)

    def trace(self, sigma: float) -> Estimate | None:
        """Return the trace of J at every image."""
        maps = self.maps(sigma)
        if maps is not None and maps.is_small:
            matrices = self.matrices(sigma)
            assert matrices is not None
            return DenseMaps(matrices, maps.shape).trace()
        if maps is not None and sigma not in self._traces:
            self._traces[sigma] = maps.trace()
        return self._traces.get(sigma)

    def adaptation(self, sigma: float, remove: StrengthRemoval, draw: int = 0, directional: bool = False) -> Adaptation:
        """Return the adaptation of the filters beyond strength and mean, or its directional part.

        The latest adaptations are cached, since metrics of several bases use the same adaptation.

        Raises
        ------
        ValueError
            If there is no Jacobian, or ``directional`` is set and the images are too large for matrices.
        """

        def compute() -> Adaptation:
            if directional:
                return self.adaptation(sigma, remove, draw).directional(self._evaluation.shape)
            if (sketch := self.sketch(sigma, draw)) is None:
                raise ValueError("the denoiser has no Jacobian")
            return adaptation(sketch, remove)

        key = (sigma, draw, directional, remove.matrix.numpy().tobytes(), remove.indices.numpy().tobytes())
        return self._adaptations.get(key, compute)

    def _compute_matrices(self, maps: LinearMaps) -> Tensor:
        if not isinstance(maps, Jacobian) or self._precision(maps) == "float32":
            return maps.matrices()
        matrices, errors = maps.matrices_in_bfloat16()
        norms = matrices.double().flatten(1).norm(dim=1).cpu()
        is_accurate = float((errors * norms).norm()) <= MAX_SHARE_OF_CHANGE * _change(matrices)
        return matrices if is_accurate else maps.matrices()

    def _precision(self, maps: Jacobian) -> Precision:
        evaluation = self._evaluation
        if self.precision is None and evaluation.jacobian_precision == "auto":
            passes = len(evaluation.clean) * len(evaluation.sigmas) * maps.size / min(maps.size, COLUMNS)
            compute = functools.partial(maps.columns, count=COLUMNS)
            self.precision = choose(compute, passes, maps.like.device).precision
        elif self.precision is None:
            self.precision = "bfloat16" if evaluation.jacobian_precision == "bfloat16" else "float32"
        return self.precision

    def _compute_once(
        self, name: str, sigma: float, draw: int, compute: Callable[[], tuple[Tensor, ...]]
    ) -> tuple[Tensor, ...]:
        def compute_checked() -> tuple[Tensor, ...]:
            tensors = compute()
            if not all(bool(tensor.isfinite().all()) for tensor in tensors):
                raise ValueError(f"the Jacobian has values that are not finite, at sigma={sigma:g}")
            return tensors

        return self._tensors.get((name, sigma, draw), compute_checked)


def _change(matrices: Tensor) -> float:
    """Return the norm of the change of filters beyond strength and mean; infinite for one image."""
    symmetric = ((matrices + matrices.mT) / 2).cpu()
    if len(matrices) < MIN_IMAGES:
        return float((symmetric - symmetric.mean(0)).double().norm()) if len(matrices) > 1 else math.inf
    remove = remove_strength(symmetric.diagonal(dim1=1, dim2=2).sum(1))
    return float(adaptation(Sketch(symmetric, exact=True), remove).sketch.rows.double().norm())


def _bytes(tensors: tuple[Tensor, ...]) -> int:
    return sum(tensor.untyped_storage().nbytes() for tensor in tensors)
