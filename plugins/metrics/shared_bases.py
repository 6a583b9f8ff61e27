"""Bases and their filters, kept from one unit to the next: entrants of a dataset are compared with the same ones."""

from __future__ import annotations

from collections import OrderedDict
from typing import cast

from torch import Tensor

from gahbench.contracts import Basis, Dataset
from gahbench.evaluation import Evaluation
from gahbench.examples import Examples
from gahbench.jacobian import Sketch
from gahbench.registry import default_registry

#: Bases that are kept, each of which may hold what it was adapted to last.
BASES = 16
#: Bytes of filters that are kept.
MEMORY = 3 << 28

_bases: OrderedDict[tuple[str, int], tuple[Dataset, Basis]] = OrderedDict()
_filters: OrderedDict[tuple[object, ...], tuple[Dataset, Sketch]] = OrderedDict()


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
    # The dataset is kept too, so that no other can have its number.
    key = (described, id(dataset))
    if key not in _bases:
        basis = cast(Basis, default_registry().create("basis", described))
        if not basis.is_known_on(dataset):
            return None
        basis.fit(Examples(dataset))
        _bases[key] = (dataset, basis)
        while len(_bases) > BASES:
            _bases.popitem(last=False)
    return _bases[key][1]


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

    if dataset is None or basis.filters_follow_traces:
        return found()
    key = (described, id(dataset), evaluation.split, evaluation.clean.numpy().tobytes(), sigma, probes)
    if key not in _filters:
        _filters[key] = (dataset, found())
        while len(_filters) > 1 and sum(_bytes(sketch) for _, sketch in _filters.values()) > MEMORY:
            _filters.popitem(last=False)
    return _filters[key][1]


def _bytes(sketch: Sketch) -> int:
    return sketch.rows.numel() * sketch.rows.element_size()
