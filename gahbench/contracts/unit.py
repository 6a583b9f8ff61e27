"""Units of work, whose keys are hashes of everything that decides the outcome."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass, field
from typing import Any, Literal

from gahbench._util.records import Count, FileName
from gahbench.contracts.datasets import Split


@dataclass(frozen=True)
class Unit:
    """A unit of work: a fit (train a network) or a score (measure a denoiser with one metric on one split).

    Parameters
    ----------
    kind
        ``fit`` or ``score``.
    key
        Hash of everything that decides the outcome.
    dataset
        Label of the dataset.
    entrant
        Label of the entrant.
    entrant_kind
        ``architecture`` or ``reference``.
    seed
        Training seed; ``None`` for a reference.
    split
        The split that a score unit measures, or the half that a fit learns from; ``None`` for a fit on ``train``.
    metric
        Label of the metric of a score unit; ``None`` for a fit.
    requires
        Key of the fit that a score unit needs.
    work
        Planned number of multiply-adds, approximately.
    payload
        The data with which a worker runs the unit, as plain JSON.
    partner
        Key of the fit on the other half, if a score unit needs it too.
    document
        Everything that decides the outcome, as plain JSON, whose hash is the key. ``None`` if it was not recorded.
    """

    kind: Literal["fit", "score"]
    key: FileName
    dataset: str
    entrant: str
    entrant_kind: Literal["architecture", "reference"]
    seed: Count | None
    split: Split | None
    metric: str | None
    requires: FileName | None
    work: float
    payload: dict[str, Any] = field(hash=False)
    partner: FileName | None = None
    document: dict[str, Any] | None = field(default=None, hash=False, compare=False)

    @property
    def needs(self) -> tuple[str, ...]:
        """Keys of the fits that must be finished before this unit."""
        return tuple(key for key in (self.requires, self.partner) if key is not None)

    def is_blocked(self, failed: Set[str]) -> bool:
        """Return whether a fit that this unit needs is among failed units, given by their folder names."""
        return any(f"fit-{key}" in failed for key in self.needs)

    @property
    def row(self) -> str:
        """The name of the unit's row: the units of the same dataset, entrant and seed."""
        seed = "" if self.seed is None else f" (seed {self.seed})"
        return f"{self.entrant} on {self.dataset}{seed}"

    @property
    def label(self) -> str:
        """A description of the unit for progress lines."""
        half = f" from {self.split}" if self.split else ""
        measured = f" {self.metric} on {self.split}" if self.kind == "score" else half
        return f"{self.kind} {self.row}{measured}"

    @property
    def folder(self) -> str:
        """Name of the unit's folder in the store."""
        return f"{self.kind}-{self.key}"

    @property
    def origins(self) -> frozenset[str]:
        """The external files and packages that define the unit's plugins."""
        plugins = (self.payload.get(name) or {} for name in ("dataset", "entrant", "metric"))
        return frozenset(origin for plugin in plugins for origin in plugin.get("origins", ()))

    def record(self) -> dict[str, Any]:
        """Return the unit, without its planned work, as plain JSON."""
        return {name: value for name, value in vars(self).items() if name != "work"}
