"""Bases and their filters, kept from one unit to the next: entrants of a dataset are compared with the same ones."""

from __future__ import annotations

import copy
import weakref
from collections import OrderedDict

from gahbench import Basis, Dataset, TrainingData, spec_of
from gahbench.evaluation import Evaluation
from gahbench.jacobian import FilterFamily

#: Cached bases of a dataset, each of which may hold the images that it was adapted to last.
BASES = 12
#: Bytes of filters that are kept of a dataset.
MEMORY = 3 << 27


#: The identity of a basis: its class, and the spec that it was built from.
_Key = tuple[type[Basis], str]


class _Kept:
    """Cached bases and filters of one dataset, by all that decides them."""

    def __init__(self, dataset: Dataset) -> None:
        self.dataset = weakref.ref(dataset)
        self.bases: OrderedDict[_Key, Basis | None] = OrderedDict()
        self.filters: OrderedDict[tuple[object, ...], FilterFamily] = OrderedDict()


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
    """Return a basis, fitted to a dataset; ``None`` where it does not exist there."""
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


def filters_on(basis: Basis, evaluation: Evaluation, sigma: float) -> FilterFamily | None:
    """Return the filters of :meth:`gahbench.Basis.filters` on an evaluation's images; ``None`` where there are none."""
    dataset = evaluation.dataset
    fitted = basis_on(basis, dataset)
    if fitted is None:
        return None
    decided_by = _key(basis)
    if dataset is None or decided_by is None:
        return fitted.filters(evaluation.truth, sigma)
    filters = _of(dataset).filters
    key = (decided_by, evaluation.split, evaluation.clean.numpy().tobytes(), sigma)
    if key not in filters:
        filters[key] = fitted.filters(evaluation.truth, sigma)
        while len(filters) > 1 and sum(family.bytes for family in filters.values()) > MEMORY:
            filters.popitem(last=False)
    filters.move_to_end(key)
    return filters[key]
