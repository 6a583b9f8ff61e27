"""Cache of fitted bases and their filters, which all entrants on a dataset share."""

from __future__ import annotations

import copy
import weakref
from collections import OrderedDict

from gahbench import Basis, Dataset, TrainingData, get_spec
from gahbench.evaluation import Evaluation
from gahbench.jacobian import FilterFamily

#: Largest number of cached bases; each may also store the images to which it was adapted last.
MAX_BASES = 12
#: Largest size of cached filters in bytes.
MAX_BYTES = 3 << 27


#: The identity of a basis: its class, and the spec that it was built from.
_Key = tuple[type[Basis], str]


class _DatasetCache:
    """Cached bases and filters of a dataset."""

    def __init__(self, dataset: Dataset) -> None:
        self.dataset = weakref.ref(dataset)
        self.bases: OrderedDict[_Key, Basis | None] = OrderedDict()
        self.filters: OrderedDict[tuple[object, ...], FilterFamily] = OrderedDict()


#: The cache contains a single dataset, since runs proceed dataset by dataset.
_cache: _DatasetCache | None = None


def _cache_of(dataset: Dataset) -> _DatasetCache:
    global _cache
    if _cache is None or _cache.dataset() is not dataset:
        _cache = _DatasetCache(dataset)
    return _cache


def _key(basis: Basis) -> _Key | None:
    """Return the identity of a basis, or ``None`` if it was constructed directly."""
    spec = get_spec(basis)
    return None if spec is None else (type(basis), spec)


def basis_on(basis: Basis, dataset: Dataset | None) -> Basis | None:
    """Return a copy of a basis fitted to a dataset, or ``None`` if it does not support the dataset."""
    if dataset is None:
        return basis
    key = _key(basis)
    if key is None:
        return _fit_copy(basis, dataset)
    bases = _cache_of(dataset).bases
    if key not in bases:
        bases[key] = _fit_copy(basis, dataset)
        while len(bases) > MAX_BASES:
            bases.popitem(last=False)
    bases.move_to_end(key)
    return bases[key]


def _fit_copy(basis: Basis, dataset: Dataset) -> Basis | None:
    if not basis.supports(dataset):
        return None
    fitted = copy.deepcopy(basis)
    fitted.fit(TrainingData(dataset))
    return fitted


def filters_on(basis: Basis, evaluation: Evaluation, sigma: float) -> FilterFamily | None:
    """Return the cached :meth:`gahbench.Basis.filters` for the images of an evaluation, or ``None``."""
    dataset = evaluation.dataset
    fitted = basis_on(basis, dataset)
    if fitted is None:
        return None
    basis_key = _key(basis)
    if dataset is None or basis_key is None:
        return fitted.filters(evaluation.truth, sigma)
    filters = _cache_of(dataset).filters
    key = (basis_key, evaluation.split, evaluation.clean.numpy().tobytes(), sigma)
    if key not in filters:
        filters[key] = fitted.filters(evaluation.truth, sigma)
        while len(filters) > 1 and sum(family.bytes for family in filters.values()) > MAX_BYTES:
            filters.popitem(last=False)
    filters.move_to_end(key)
    return filters[key]
