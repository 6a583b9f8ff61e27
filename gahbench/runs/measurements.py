"""Datasets and measurements that are kept for the next unit: those of one entrant come together."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from gahbench._util.errors import ResultsError
from gahbench._util.keys import key_of
from gahbench._util.shapes import Shape
from gahbench.contracts.datasets import Dataset
from gahbench.contracts.references import Reference
from gahbench.contracts.unit import Unit
from gahbench.evaluation.measurement import Measurement, Subject
from gahbench.networks.precision import Choices
from gahbench.planning.units import configured_as
from gahbench.registry.plugin import Kind, watch
from gahbench.registry.registry import Registry
from gahbench.runs.protocol import CodeChangedError
from gahbench.store.finished import DamagedError, Finished, open_finished
from gahbench.store.store import Store
from gahbench.training.file_names import WEIGHTS


def build(registry: Registry, kind: Kind, described: Mapping[str, Any], shape: Shape | None = None) -> Any:
    """Build the plugin of a payload, an architecture for images of a shape (C, H, W), and check that it is the same."""
    # A built-in plugin may run code that its parameters name.
    with watch(f"{kind} '{described['name']}'", is_outside=bool(described.get("origins"))):
        configured = configured_as(registry, kind, described)
        if key_of(configured.identity) != described["identity"]:
            raise CodeChangedError(f"{configured.where}: its code has changed since this run was planned; run again")
        return configured.build(shape)


#: Datasets that are kept.
DATASETS = 4
_REQUEST = ("split", "images", "sigmas", "noise_seed", "sampling", "jacobian_precision")


class Measurements:
    """Builds the measurements of score units from their payloads and the networks in the store."""

    def __init__(self, registry: Registry, store: Store, device: torch.device, choices: Choices) -> None:
        self._registry, self._store, self._device, self._choices = registry, store, device, choices
        self._last: tuple[Any, Measurement] | None = None
        self._dataset = functools.lru_cache(maxsize=DATASETS)(
            lambda described: build(registry, "dataset", json.loads(described))
        )

    def dataset(self, described: Mapping[str, Any]) -> Dataset:
        """Return the dataset of a payload, kept for the next unit."""
        dataset: Dataset = self._dataset(json.dumps(described, sort_keys=True))
        return dataset

    def of(self, unit: Unit, networks: Mapping[str, str | None]) -> Measurement:
        """Return the measurement of a score unit; all metrics of an entrant share it."""
        payload = unit.payload
        dataset = self.dataset(payload["dataset"])
        network = networks.get(unit.requires or "")
        same = (unit.requires, network, {name: value for name, value in payload.items() if name != "metric"})
        if self._last is None or self._last[0] != same:
            measurement = Measurement(
                dataset,
                self._subject(unit, dataset, unit.requires, payload["learned_from"]),
                {name: payload[name] for name in _REQUEST if name in payload},
                self._device,
                self._choices,
            )
            self._last = (same, measurement)
        measurement = self._last[1]
        if unit.partner is not None or payload["partner_learned_from"] is not None:
            # The key of a partner is known to the units of metrics that need one.
            measurement.partner = functools.partial(
                self._subject, unit, dataset, unit.partner, payload["partner_learned_from"]
            )
        return measurement

    def _subject(
        self, unit: Unit, dataset: Dataset, fit: str | None, learned_from: Mapping[str, Any] | None
    ) -> Subject:
        entrant = unit.payload["entrant"]
        if fit is None:

            def reference() -> Reference:
                built: Reference = build(self._registry, "reference", entrant)
                return built

            return Subject(reference, learned_from)
        finished = open_finished(self._store.fit_folder(fit))

        def network(file: str) -> Callable[[], nn.Module]:
            return lambda: self._network(entrant, dataset, finished, file)

        return Subject(
            network(WEIGHTS), learned_from, [(step, network(file)) for step, file in finished.snapshots.items()]
        )

    def _network(self, entrant: Mapping[str, Any], dataset: Dataset, fit: Finished, file: str) -> nn.Module:
        from safetensors.torch import load

        try:
            # The bytes that are hashed are those that are loaded.
            weights = load(fit.read(file))
        except DamagedError as error:
            raise ResultsError(f"{error}; run again: its network is fitted anew") from error
        network: nn.Module = build(self._registry, "architecture", entrant, dataset.shape)
        network.load_state_dict(weights)
        return network
