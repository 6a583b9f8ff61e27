"""Bases and their filters, kept from one unit to the next: entrants of a dataset are compared with the same ones."""

from __future__ import annotations

import weakref
from collections import OrderedDict
from typing import cast

from torch import Tensor

from gahbench import Basis, Dataset, TrainingData
from gahbench.evaluation import Evaluation
from gahbench.jacobian import Sketch
from gahbench.registry.registry import Registry, default_registry

#: Bases that are kept of a dataset, each of which may hold what it was adapted to last.
BASES = 12
#: Bytes of filters, in float32, that are kept of a dataset.
MEMORY = 3 << 27


class _Kept:
    """What is kept of one dataset: bases by description, and filters by all that decides them."""

    def __init__(self, dataset: Dataset, registry: Registry) -> None:
        self.dataset = weakref.ref(dataset)
        self.registry = registry
        self.bases: OrderedDict[str, Basis | None] = OrderedDict()
        self.filters: OrderedDict[tuple[object, ...], Sketch] = OrderedDict()


#: Of one dataset only: units come dataset by dataset.
_kept: _Kept | None = None


def _of(dataset: Dataset) -> _Kept:
    global _kept
    # Another registry may have other plugins under the same names.
    if _kept is None or _kept.dataset() is not dataset or _kept.registry is not default_registry():
        _kept = _Kept(dataset, default_registry())
    return _kept


def basis_on(described: str, dataset: Dataset | None) -> Basis | None:
    """Return a basis, fitted to a dataset; ``None`` where it does not exist there.

    Parameters
    ----------
    described
        Its name and parameters.
    dataset
        Where it is fitted; if there is none, it is not.
    """
    if dataset is None:
        return cast(Basis, default_registry().create("basis", described))
    bases = _of(dataset).bases
    if described not in bases:
        basis = cast(Basis, default_registry().create("basis", described))
        known = basis.supports(dataset)
        if known:
            basis.fit(TrainingData(dataset))
        bases[described] = basis if known else None
        while len(bases) > BASES:
            bases.popitem(last=False)
    bases.move_to_end(described)
    return bases[described]


def filters_on(described: str, evaluation: Evaluation, sigma: float, traces: Tensor, like: Sketch) -> Sketch | None:
    """Return the filters of :meth:`gahbench.Basis.filters` on an evaluation's images; ``None`` where there are none.

    Parameters
    ----------
    described
        Name and parameters of the basis.
    traces
        Shape (N,).
    like
        They are sketched as this is.
    """
    dataset = evaluation.dataset
    basis = basis_on(described, dataset)
    if basis is None:
        return None
    probes = None if like.exact else like.rows.shape[1]

    def found() -> Sketch:
        return basis.filters(evaluation.truth, sigma, traces).sketch(probes)

    # A basis with filters of its own may choose them by the traces.
    if dataset is None or type(basis).filters is not Basis.filters:
        return found()
    filters = _of(dataset).filters
    key = (described, evaluation.split, evaluation.clean.numpy().tobytes(), sigma, probes)
    if key not in filters:
        exact = found()
        filters[key] = Sketch(exact.rows.float(), exact.exact)
        while len(filters) > 1 and sum(map(_bytes, filters.values())) > MEMORY:
            filters.popitem(last=False)
    filters.move_to_end(key)
    return filters[key]


def _bytes(sketch: Sketch) -> int:
    return sketch.rows.numel() * sketch.rows.element_size()
