"""Bases and their filters, kept from one unit to the next: entrants of a dataset are compared with the same ones."""

from __future__ import annotations

import copy
import weakref
from collections import OrderedDict

from torch import Tensor

from gahbench import Basis, Dataset, TrainingData, spec_of
from gahbench.evaluation import Evaluation
from gahbench.jacobian import Sketch

#: Cached bases of a dataset, each of which may hold the images that it was adapted to last.
BASES = 12
#: Bytes of filters, in float32, that are kept of a dataset.
MEMORY = 3 << 27


#: The identity of a basis: its class, and the spec that it was built from.
_Key = tuple[type[Basis], str]


class _Kept:
    """Cached bases and filters of one dataset, by all that decides them."""

    def __init__(self, dataset: Dataset) -> None:
        self.dataset = weakref.ref(dataset)
        self.bases: OrderedDict[_Key, Basis | None] = OrderedDict()
        self.filters: OrderedDict[tuple[object, ...], Sketch] = OrderedDict()


#: Of one dataset only: units come dataset by dataset.
_kept: _Kept | None = None


def _of(dataset: Dataset) -> _Kept:
    global _kept
    if _kept is None or _kept.dataset() is not dataset:
        _kept = _Kept(dataset)
    return _kept


def _key(basis: Basis) -> _Key | None:
    """Return the identity of a basis; ``None`` for one that was constructed directly."""
    spec = spec_of(basis)
    return None if spec is None else (type(basis), spec)


def basis_on(basis: Basis, dataset: Dataset | None) -> Basis | None:
    """Return a basis, fitted to a dataset; ``None`` where it does not exist there.

    Parameters
    ----------
    basis
        It stays unfitted: a copy is fitted and cached.
    dataset
        Where it is fitted; if there is none, it is not.
    """
    if dataset is None:
        return basis
    key = _key(basis)
    if key is None:
        return _fitted(basis, dataset)
    bases = _of(dataset).bases
    if key not in bases:
        bases[key] = _fitted(basis, dataset)
        while len(bases) > BASES:
            bases.popitem(last=False)
    bases.move_to_end(key)
    return bases[key]


def _fitted(basis: Basis, dataset: Dataset) -> Basis | None:
    if not basis.supports(dataset):
        return None
    fitted = copy.deepcopy(basis)
    fitted.fit(TrainingData(dataset))
    return fitted


def filters_on(basis: Basis, evaluation: Evaluation, sigma: float, traces: Tensor, like: Sketch) -> Sketch | None:
    """Return the filters of :meth:`gahbench.Basis.filters` on an evaluation's images; ``None`` where there are none.

    Parameters
    ----------
    basis
        The basis, unfitted.
    traces
        Shape (N,).
    like
        They are sketched as this is.
    """
    dataset = evaluation.dataset
    fitted = basis_on(basis, dataset)
    if fitted is None:
        return None
    probes = None if like.exact else like.rows.shape[1]

    def found() -> Sketch:
        return fitted.filters(evaluation.truth, sigma, traces).sketch(probes)

    decided_by = _key(basis)
    # A basis with filters of its own may choose them by the traces.
    if dataset is None or decided_by is None or type(basis).filters is not Basis.filters:
        return found()
    filters = _of(dataset).filters
    key = (decided_by, evaluation.split, evaluation.clean.numpy().tobytes(), sigma, probes)
    if key not in filters:
        exact = found()
        filters[key] = Sketch(exact.rows.float(), exact.exact)
        while len(filters) > 1 and sum(map(_bytes, filters.values())) > MEMORY:
            filters.popitem(last=False)
    filters.move_to_end(key)
    return filters[key]


def _bytes(sketch: Sketch) -> int:
    return sketch.rows.numel() * sketch.rows.element_size()
