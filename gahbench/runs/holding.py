"""Units held while they are moved or deleted, so that no worker begins one of them meanwhile."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator

from gahbench._util.errors import ResultsError
from gahbench.contracts.unit import Unit
from gahbench.store.claims import Claims
from gahbench.store.store import Store

#: A claim may be given up, or become stale, while it is looked at.
_TRIES = 3


@contextlib.contextmanager
def hold(units: Iterable[Unit], store: Store) -> Iterator[None]:
    """Claim units of a results folder, and release them at the end."""
    claims = Claims(store.claims)
    try:
        for unit in {unit.folder: unit for unit in units}.values():
            _claim(unit, claims, store)
        yield
    finally:
        claims.close()


def _claim(unit: Unit, claims: Claims, store: Store) -> None:
    where = "by another process"
    for _ in range(_TRIES):
        if claims.take(unit.folder) is not None:
            return
        seen = claims.seen(unit.folder)
        if seen is None:
            continue
        where = f"on {seen.record.get('host')}, process {seen.record.get('pid')}"
        if not seen.is_stale:
            break
        claims.clear(seen)
    raise ResultsError(f"{store.folder}: '{unit.label}' is being done {where}; wait for it, or end it")
