"""Plan recorded units with the current code, and find differences between documents."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from gahbench.contracts.datasets import Dataset
from gahbench.contracts.metrics import Metric
from gahbench.contracts.row_labels import base_label
from gahbench.contracts.unit import Unit
from gahbench.planning.units import CODE, PlannedDataset, Request, configure_recorded, fit_unit, score_unit
from gahbench.registry.plugin import Kind
from gahbench.registry.registry import Registry
from gahbench.sampling.settings import Sampling
from gahbench.training.recipe import Training


class Replanner:
    """Plans recorded units again, from their payloads."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._datasets: dict[str, PlannedDataset] = {}

    def replan(self, unit: Unit, keys: Mapping[str, str] | None = None) -> Unit:
        """Plan a unit again with the same parameters and the current code, which may change its key."""
        payload, keys = unit.payload, keys or {}
        planned = self._dataset(payload["dataset"])
        kind: Kind = "architecture" if unit.kind == "fit" or unit.requires is not None else "reference"
        entrant = configure_recorded(self._registry, kind, payload["entrant"])
        label = entrant.label + unit.entrant.removeprefix(base_label(unit.entrant))
        if unit.kind == "fit":
            training = Training.model_validate(payload["training"])
            return fit_unit(planned, entrant, label, training, payload["seed"], unit.split, 0.0)
        metric = configure_recorded(self._registry, "metric", payload["metric"])
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
            payload.get("captured", False),
        )
        fit, partner = (key and keys.get(key, key) for key in (unit.requires, unit.partner))
        return score_unit(planned, entrant, label, metric, measure, request, unit.seed, fit, partner)

    def _dataset(self, payload: Mapping[str, Any]) -> PlannedDataset:
        text = json.dumps(payload, sort_keys=True)
        if text not in self._datasets:
            configured = configure_recorded(self._registry, "dataset", payload)
            dataset: Dataset = configured.build()
            self._datasets[text] = PlannedDataset(configured, dataset)
        return self._datasets[text]


def differences(old: Any, new: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yield the paths at which two documents differ."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for name in sorted({*old, *new}):
            yield from differences(old.get(name), new.get(name), (*path, name))
    elif isinstance(old, list | tuple) and isinstance(new, list | tuple) and len(old) == len(new):
        for index, (old_item, new_item) in enumerate(zip(old, new, strict=True)):
            yield from differences(old_item, new_item, (*path, str(index)))
    elif old != new:
        yield path


def is_code(path: tuple[str, ...]) -> bool:
    """Return whether a path of a document leads to a digest of code."""
    return path[-1:] != () and path[-1] in CODE
