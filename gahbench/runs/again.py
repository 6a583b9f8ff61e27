"""Units of an entrant that are to be done anew."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from gahbench._util.files import names_in
from gahbench.planning.plan import Plan
from gahbench.runs.holding import hold
from gahbench.runs.named_entrants import named_rows
from gahbench.store.attempts import PARTIAL
from gahbench.store.folder import Folder
from gahbench.store.store import REPLACED, Store


def put_back(plan: Plan, folder: Path, entrants: Sequence[str]) -> int:
    """Move what is done of some entrants into ``replaced/``, so that a run does it anew."""
    store = Store(folder)
    rows = named_rows(entrants, (unit.entrant for unit in plan.units), f"suite '{plan.suite.name}'")
    with Folder(folder).lock():
        own = {unit.folder: unit for unit in plan.units if unit.entrant in rows}
        fits = {unit.key for unit in own.values() if unit.kind == "fit"}
        others = (*plan.units, *store.recorded()) if fits else ()
        own |= {unit.folder: unit for unit in others if fits.intersection(unit.needs)}
        with hold(own.values(), store):
            # Scores before the networks that they measured.
            listed = sorted(names_in(store.units), reverse=True)
            attempts = (name for name in listed if PARTIAL in name and name.partition(PARTIAL)[0] in own)
            store.put_away(attempts, REPLACED)
            return store.put_away((name for name in listed if name in own), REPLACED)
