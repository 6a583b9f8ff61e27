"""A unit of work: what it is, and the key of all that decides its outcome."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from gahbench.contracts import Split


@dataclass(frozen=True)
class Unit:
    """One piece of work: a fit (train a network) or a score (measure a denoiser with one metric on one split).

    Parameters
    ----------
    kind
        ``fit`` or ``score``.
    key
        Hash of all that decides the outcome.
    dataset, entrant
        Labels.
    entrant_kind
        ``architecture`` or ``reference``.
    seed
        Training seed; ``None`` for a reference.
    split, metric
        What a score unit measures; of a fit, the half that it learns from.
    requires
        Key of the fit that a score unit needs.
    column
        Hash of all that decides a score but the entrant: only scores of one column may be compared.
    work
        Planned multiply-adds, about; infinite for a budget of seconds.
    payload
        What a worker needs to do it: plain JSON.
    partner
        Key of the fit on the other half, which a score unit needs too.
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

    @property
    def needs(self) -> tuple[str, ...]:
        """Keys of the fits that must be done before."""
        return tuple(key for key in (self.requires, self.partner) if key is not None)

    @property
    def label(self) -> str:
        """The unit in a line of progress."""
        seed = "" if self.seed in (None, 0) else f" (seed {self.seed})"
        half = f" from {self.split}" if self.split else ""
        measured = f" {self.metric} on {self.split}" if self.kind == "score" else half
        return f"{self.kind} {self.entrant} on {self.dataset}{seed}{measured}"

    @property
    def folder(self) -> str:
        """Name of the unit's folder in the store."""
        return f"{self.kind}-{self.key}"
