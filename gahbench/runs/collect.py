"""From the store to the tidy table."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gahbench.board.notes import ADOPTED, NOT_RUN
from gahbench.contracts.unit import Unit
from gahbench.planning.plan import Plan
from gahbench.planning.rows import rows
from gahbench.store.store import Store

if TYPE_CHECKING:
    from gahbench.board.results import Results

#: Raised when boards are written differently from the same units.
BOARD_VERSION = 1


def state_digest(plan: Plan, units: Iterable[Unit], store: Store) -> str:
    """Return a digest of all that a board depends on: which units are done, and why others failed."""
    state = [(unit.folder, "done" if store.is_done(unit) else store.failure(unit)) for unit in units]
    facts = [
        BOARD_VERSION,
        plan.suite.name,
        plan.suite.baseline,
        [str(fact) for fact in plan.datasets],
        sorted(state, key=str),
    ]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def count_done(plan: Plan, folder: Path) -> int:
    """Return how many units of a plan are done in a results folder."""
    store = Store(folder)
    return sum(map(store.is_done, plan.units))


def collect(plan: Plan, units: Iterable[Unit], store: Store) -> Results:
    """Read finished and failed units into :class:`gahbench.board.results.Results`.

    Raises
    ------
    ResultsError
        If a finished unit cannot be read.
    """
    import pandas as pd

    from gahbench.board.results import Results

    scores: list[tuple[Any, ...]] = []
    fits: list[dict[str, Any]] = []
    failures: list[dict[str, Any]] = []
    notes: dict[tuple[str, str, str], None] = {}
    failed_fits: set[str] = set()
    entrants = [row.label for row in rows(plan.suite)]
    for unit in sorted(units, key=lambda unit: unit.kind != "fit"):
        if unit.entrant not in entrants:
            entrants.append(unit.entrant)
        who = {"dataset": unit.dataset, "entrant": unit.entrant, "seed": unit.seed}
        if store.is_done(unit):
            done = store.done(unit) or {}
            if unit.kind == "fit":
                if done.get("adopted"):
                    notes[unit.dataset, unit.entrant, ADOPTED] = None
                if unit.split != "B":
                    # Partners are alike in all that the board tells.
                    fits.append({**who, **{name: done[name] for name in _FIT_FACTS}})
                continue
            if done.get("adopted"):
                notes[unit.dataset, unit.entrant, ADOPTED] = None
            suite, kind = plan.suite.name, done["kind"]
            if (unit.metric, unit.split) == _TELLS:
                notes |= {(unit.dataset, unit.entrant, note): None for note in done.get("notes", ())}
                if done.get("parameters") is not None:
                    # It was trained elsewhere.
                    fits.append({**who, "parameters": done["parameters"], "compiled": False})
            scores += [
                (suite, unit.dataset, unit.entrant, kind, unit.seed, unit.split, sigma, metric, image, value)
                for sigma, image, value, part in store.read_scores(unit)
                for metric in [f"{unit.metric}.{part}" if part else unit.metric]
            ]
            continue
        error = store.failure(unit)
        if unit.kind == "fit" and error is not None:
            failed_fits.add(unit.key)
        if error is None and failed_fits.intersection(unit.needs):
            continue
        failures.append({**who, "stage": unit.kind, "metric": unit.metric, "error": error or NOT_RUN})
    columns = ["suite", "dataset", "entrant", "kind", "seed", "split", "sigma", "metric", "image", "value"]
    types = {"sigma": "float64", "value": "float64", "seed": "Int64", "image": "Int64"}
    channels = [dict(zip(("channels", "height", "width"), fact.shape, strict=True)) for fact in plan.datasets]
    return Results(
        suite=plan.suite.name,
        scores=pd.DataFrame(scores, columns=columns).astype(types),
        fits=pd.DataFrame(fits, columns=["dataset", "entrant", "seed", *_FIT_FACTS]).astype({"seed": "Int64"}),
        failures=pd.DataFrame(failures, columns=["dataset", "entrant", "seed", "stage", "metric", "error"]).astype(
            {"seed": "Int64"}
        ),
        datasets=pd.DataFrame(
            [
                {
                    "dataset": fact.label,
                    "optimum": fact.optimum,
                    "slope": fact.slope,
                    **size,
                    "fingerprint": fact.fingerprint,
                }
                for fact, size in zip(plan.datasets, channels, strict=True)
            ]
        ).astype({"slope": "float64"}),
        entrants=entrants,
        baseline=plan.suite.baseline,
        notes=pd.DataFrame(list(notes), columns=["dataset", "entrant", "note"]),
    )


#: The scores whose notes count: what an entrant says may depend on the noise levels it met, and here it meets all.
_TELLS = ("psnr", "test")
_FIT_FACTS = ("parameters", "train_seconds", "steps", "device", "precision", "compiled", "budget")
