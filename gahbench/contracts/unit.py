"""A unit of work, with the key of everything that decides its outcome."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping, Set
from dataclasses import dataclass, field, fields
from typing import Any, Literal

from gahbench.contracts.datasets import Split


@dataclass(frozen=True)
class Unit:
    """One piece of work: a fit (train a network) or a score (measure a denoiser with one metric on one split).

    Parameters
    ----------
    kind
        ``fit`` or ``score``.
    key
        Hash of everything that decides the outcome.
    dataset, entrant
        Labels.
    entrant_kind
        ``architecture`` or ``reference``.
    seed
        Training seed; ``None`` for a reference.
    split, metric
        The split that a score unit measures, or the half that a fit learns from.
    requires
        Key of the fit that a score unit needs.
    column
        Hash of everything that decides a score except the entrant: only scores of one column may be compared.
    work
        Approximate number of planned multiply-adds; infinite for a budget of seconds.
    payload
        The data with which a worker runs the unit: plain JSON.
    partner
        Key of the fit on the other half, which a score unit may need too.
    document
        Everything that decides the outcome, as plain JSON, whose hash is the key. ``None`` if it was not recorded.
    """

    kind: Literal["fit", "score"]
    key: str
    dataset: str
    entrant: str
    entrant_kind: Literal["architecture", "reference"]
    seed: int | None
    split: Split | None
    metric: str | None
    requires: str | None
    column: str | None
    work: float
    payload: dict[str, Any] = field(hash=False)
    partner: str | None = None
    document: dict[str, Any] | None = field(default=None, hash=False, compare=False)

    @property
    def needs(self) -> tuple[str, ...]:
        """Keys of the fits that must be done before."""
        return tuple(key for key in (self.requires, self.partner) if key is not None)

    def is_blocked(self, failed: Set[str]) -> bool:
        """Whether a fit that must be done before is among failed units, given by their folder names."""
        return any(f"fit-{key}" in failed for key in self.needs)

    @property
    def label(self) -> str:
        """The unit in a line of progress."""
        seed = "" if self.seed is None else f" (seed {self.seed})"
        half = f" from {self.split}" if self.split else ""
        measured = f" {self.metric} on {self.split}" if self.kind == "score" else half
        return f"{self.kind} {self.entrant} on {self.dataset}{seed}{measured}"

    @property
    def folder(self) -> str:
        """Name of the unit's folder in the store."""
        return f"{self.kind}-{self.key}"

    @functools.cached_property
    def origins(self) -> frozenset[str]:
        """The files and packages outside gahbench that hold the unit's plugins."""
        return frozenset(origin for described in self._described.values() for origin in described.get("origins", ()))

    @functools.cached_property
    def isolation_key(self) -> str:
        """The entrant, dataset and metric that come from outside gahbench, as text; empty if none does.

        One process may run units with the same key; other units must be out of reach of these plugins.
        """
        own = {name: one for name, one in self._described.items() if one.get("origins")}
        return json.dumps(own, sort_keys=True, default=str) if own else ""

    @property
    def _described(self) -> dict[str, Any]:
        described = {name: self.payload.get(name) for name in ("dataset", "entrant", "metric")}
        return {name: one for name, one in described.items() if isinstance(one, dict)}

    def record(self) -> dict[str, Any]:
        """Return the unit, without its planned work, as plain JSON, which :meth:`of_record` reads."""
        return {name: getattr(self, name) for name in _names()}

    @classmethod
    def of_record(cls, record: Mapping[str, Any], work: float = 0.0) -> Unit:
        """Return the unit of a record; further fields are ignored."""
        return cls(work=work, **{name: record[name] for name in _names() if name in record})


@functools.cache
def _names() -> tuple[str, ...]:
    """Return the names of the fields of a recorded unit."""
    return tuple(field.name for field in fields(Unit) if field.name != "work")
