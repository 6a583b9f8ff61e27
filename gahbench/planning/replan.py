"""Units of earlier runs as they would be planned now, and the differences."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from gahbench.contracts.datasets import Dataset
from gahbench.contracts.metrics import Metric
from gahbench.contracts.row_labels import base_label
from gahbench.contracts.unit import Unit
from gahbench.planning.units import CODE, PlannedDataset, Request, configured_as, fit_unit, score_unit
from gahbench.registry.plugin import Kind
from gahbench.registry.registry import Registry
from gahbench.sampling.settings import Sampling
from gahbench.training.recipe import Training


class Replanner:
    """Plans units anew from their payloads."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._datasets: dict[str, PlannedDataset] = {}

    def replanned(self, unit: Unit, keys: Mapping[str, str] | None = None) -> Unit:
        """Return a unit as it would be planned now: with the same parameters, and the keys of today's code."""
        payload, known = unit.payload, keys or {}
        at = self._dataset(payload["dataset"])
        kind: Kind = "architecture" if unit.kind == "fit" or unit.requires is not None else "reference"
        entrant = configured_as(self._registry, kind, payload["entrant"])
        label = entrant.label + unit.entrant.removeprefix(base_label(unit.entrant))
        if unit.kind == "fit":
            training = Training.model_validate(payload["training"])
            return fit_unit(at, entrant, label, training, payload["seed"], unit.split, 0.0)
        metric = configured_as(self._registry, "metric", payload["metric"])
        measure: Metric = metric.build()
        assert unit.split is not None
        request = Request(
            unit.split,
            payload["split"],
            payload["images"],
            list(payload["sigmas"]),
            payload["noise_seed"],
            Sampling.model_validate(payload["sampling"]).model_dump(mode="json"),
            payload["jacobian_precision"],
            payload["learned_from"],
            payload["partner_learned_from"],
        )
        fit, partner = (key and known.get(key, key) for key in (unit.requires, unit.partner))
        return score_unit(at, entrant, label, metric, measure, request, unit.seed, fit, partner)

    def _dataset(self, payload: Mapping[str, Any]) -> PlannedDataset:
        text = json.dumps(payload, sort_keys=True)
        if text not in self._datasets:
            configured = configured_as(self._registry, "dataset", payload)
            dataset: Dataset = configured.build()
            self._datasets[text] = PlannedDataset(configured, dataset)
        return self._datasets[text]


def differences(old: Any, new: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yield the places at which two documents differ."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for name in sorted({*old, *new}):
            yield from differences(old.get(name), new.get(name), (*path, name))
    elif isinstance(old, list | tuple) and isinstance(new, list | tuple) and len(old) == len(new):
        for place, (one, other) in enumerate(zip(old, new, strict=True)):
            yield from differences(one, other, (*path, str(place)))
    elif old != new:
        yield path


def is_code(path: tuple[str, ...]) -> bool:
    """Return whether a place of a document holds a digest of code."""
    return path[-1:] != () and path[-1] in CODE
