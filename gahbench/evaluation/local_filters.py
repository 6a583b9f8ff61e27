"""The filters that a denoiser is, locally: its Jacobians at the images of an evaluation, for all metrics that ask."""

from __future__ import annotations

import copy
import functools
import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from gahbench._util.latest import Latest
from gahbench.evaluation.alignment import MIN_IMAGES, Adaptation, StrengthRemoval, adaptation, remove_strength
from gahbench.jacobian import DenseMaps, Estimate, Jacobian, LinearMaps, Sketch
from gahbench.jacobian.eigen import full
from gahbench.networks.precision import Choice, Precision

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Protocol

    from gahbench._util.shapes import Shape
    from gahbench.networks.precision import Choices

    class _Evaluation(Protocol):
        """The part of an evaluation that its local filters need."""

        clean: Tensor
        sigmas: Sequence[float]
        jacobian_precision: str
        choices: Choices

        @property
        def shape(self) -> Shape: ...
        def jacobian(self, sigma: float, draw: int = 0) -> LinearMaps | None: ...


#: Bytes that are kept for the next metric: of matrices and eigenvectors, and as much of residuals.
MEMORY = 1 << 30
#: Share of what filters do beyond their strength, up to which errors of matrices are allowed.
MAX_OF_CHANGE = 0.05
#: Products of one image that are timed in each precision.
COLUMNS = 128


class LocalFilters:
    """Jacobians J of a denoiser at noisy images, with traces and eigenpairs, at each noise level and draw of noise.

    Where images are small (:data:`gahbench.jacobian.LARGEST_EXACT`), all of J is found once, and everything is exact;
    where they are not, there are products, and sketches on random vectors. Everything is ``None`` for a denoiser that
    has no Jacobian.

    Matrices of networks of rectifiers may be from products in bfloat16 (:class:`gahbench.jacobian.Jacobian`): where the
    evaluation leaves the choice and bfloat16 was measured to be faster here (:mod:`gahbench.networks.precision`), and
    where they differ from those of float32 by no more than 1 % and by no more than 5 % of what the filters of all
    images do beyond their strength and their mean. :attr:`error` says by how much they do. Otherwise they are those of
    float32, whichever metric asks first.

    Parameters
    ----------
    evaluation
        The denoiser on its images.
    """

    def __init__(self, evaluation: _Evaluation) -> None:
        # A copy, as matrices would outlive an evaluation that held them in a circle, until they are collected.
        self._evaluation = copy.copy(evaluation)
        self._maps: Latest[LinearMaps | None] = Latest(MEMORY, _bytes_of_maps)
        self._kept: Latest[tuple[Tensor, ...]] = Latest(MEMORY, _bytes)
        self._traces: dict[float, Estimate] = {}
        self._adaptations: Latest[Adaptation] = Latest(MEMORY, lambda one: _bytes((one.sketch.rows,)))
        #: The largest error of matrices so far, relative to their norm; 0 for those of float32.
        self.error = 0.0
        #: How the precision was chosen; ``None`` before matrices of a network were found.
        self.choice: Choice | None = None

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
        return None if maps is None else self._matrices(maps, sigma, draw)

    def _matrices(self, maps: LinearMaps, sigma: float, draw: int = 0) -> Tensor:
        return self._once("matrices", sigma, draw, lambda: (self._computed(maps),))[0]

    def eigenpairs(self, sigma: float) -> tuple[Tensor, Tensor] | None:
        """Return eigenvalues (N, d), sorted down, and eigenvectors (N, d, d), as rows, of the symmetric part of J."""
        maps = self.maps(sigma)
        if maps is None:
            return None
        values, vectors = self._once("eigenpairs", sigma, 0, lambda: full(self._matrices(maps, sigma)))
        return values, vectors

    def sketch(self, sigma: float, draw: int = 0) -> Sketch | None:
        """Return the symmetric part of J at every image: whole for small images, otherwise on random vectors."""
        maps = self.maps(sigma, draw)
        if maps is None:
            return None
        if maps.is_small:
            matrices = self._matrices(maps, sigma, draw)
            return Sketch((matrices + matrices.mT) / 2, exact=True)
        return Sketch(self._once("sketch", sigma, draw, lambda: (maps.sketch().rows,))[0], exact=False)

    def trace(self, sigma: float) -> Estimate | None:
        """Return the trace of J at every image."""
        maps = self.maps(sigma)
        if maps is None:
            return None
        if maps.is_small:
            return DenseMaps(self._matrices(maps, sigma), maps.shape).trace()
        if sigma not in self._traces:
            self._traces[sigma] = maps.trace()
        return self._traces[sigma]

    def adaptation(self, sigma: float, remove: StrengthRemoval, draw: int = 0, directional: bool = False) -> Adaptation:
        """Return what the filters do beyond their strength and their mean, or the directional part of it.

        The latest are kept, as metrics of several bases ask for the same.

        Raises
        ------
        ValueError
            If there is no Jacobian, or the directional part is asked for of images too large for matrices.
        """

        def found() -> Adaptation:
            if directional:
                return self.adaptation(sigma, remove, draw).directional(self._evaluation.shape)
            sketch = self.sketch(sigma, draw)
            if sketch is None:
                raise ValueError("the denoiser has no Jacobian")
            return adaptation(sketch, remove)

        key = (sigma, draw, directional, remove.matrix.numpy().tobytes(), remove.places.numpy().tobytes())
        return self._adaptations.get(key, found)

    def _computed(self, maps: LinearMaps) -> Tensor:
        if not isinstance(maps, Jacobian) or self._precision(maps) == "float32":
            return maps.matrices()
        fast = maps.in_precision("bfloat16")
        matrices, errors = fast.matrices(), fast.errors().cpu()
        norms = matrices.double().flatten(1).norm(dim=1).cpu()
        if float((errors * norms).norm()) > MAX_OF_CHANGE * _change(matrices):
            return maps.matrices()
        self.error = max(self.error, float(errors.max()))
        return matrices

    def _precision(self, maps: Jacobian) -> Precision:
        if self.choice is None:
            asked, of = self._evaluation.jacobian_precision, self._evaluation
            if asked == "auto":
                passes = len(of.clean) * len(of.sigmas) * maps.size / min(maps.size, COLUMNS)
                shape, device = (COLUMNS, *of.shape), maps.like.device
                run = functools.partial(maps.columns, count=COLUMNS)
                self.choice = of.choices.make("jacobian", maps.network, shape, device, passes, run)
            else:
                self.choice = Choice("bfloat16" if asked == "bfloat16" else "float32")
        return self.choice.precision

    def _once(self, name: str, sigma: float, draw: int, find: Callable[[], tuple[Tensor, ...]]) -> tuple[Tensor, ...]:
        def checked() -> tuple[Tensor, ...]:
            found = find()
            if not torch.stack([tensor.isfinite().all() for tensor in found]).all():
                raise ValueError(f"the Jacobian has values that are not finite, at sigma={sigma:g}")
            return found

        return self._kept.get((name, sigma, draw), checked)


def _change(matrices: Tensor) -> float:
    """Return the norm of what filters do beyond their strength and their mean; infinite for one image."""
    if len(matrices) < 2:
        return math.inf
    symmetric = ((matrices + matrices.mT) / 2).cpu()
    traces = symmetric.diagonal(dim1=1, dim2=2).sum(1)
    if len(matrices) < MIN_IMAGES:
        return float((symmetric - symmetric.mean(0)).double().norm())
    return float(adaptation(Sketch(symmetric, exact=True), remove_strength(traces)).sketch.rows.double().norm())


def _bytes(tensors: tuple[Tensor, ...]) -> int:
    return sum(tensor.untyped_storage().nbytes() for tensor in tensors)


def _bytes_of_maps(maps: LinearMaps | None) -> int:
    """Return the bytes of maps that are given as matrices; those that are products take little."""
    return _bytes((maps.like,)) if isinstance(maps, DenseMaps) else 0
