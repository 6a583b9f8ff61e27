"""Secret noise: the seed of the noise of scores is drawn when all fits have ended, so that none can know it.

A run has two parts then. The first plans and does the fits alone. When each is finished or has failed, a seed is drawn
and recorded in the folder's plan, with the networks and references that there are; the second part plans the scores
under that noise. All later runs of the folder keep the seed, and what is added later is marked on the board: the noise
was known by then.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from gahbench._util.errors import ResultsError
from gahbench.contracts.unit import Unit
from gahbench.planning.plan import Plan
from gahbench.planning.suite import Suite
from gahbench.planning.units import described
from gahbench.store.folder import Folder
from gahbench.store.plan_file import RecordedPlan, read_plan, require_plan, write_plan
from gahbench.store.store import Store


def secret_noise_of(folder: Path, is_wanted: bool) -> Mapping[str, Any] | None:
    """Return the record of the secret noise of a results folder; ``None`` if it has the noise of the suite."""
    plan = read_plan(folder)
    if plan is not None and plan.secret_noise is not None:
        return plan.secret_noise
    if is_wanted and plan is not None:
        raise ResultsError(
            f"{folder}: was planned with noise that is known; for secret noise give another folder with --out, and "
            f"'--reuse {folder}' to take the networks that are trained there"
        )
    return {"seed": None} if is_wanted else None


def with_secret_noise(suite: Suite, noise: Mapping[str, Any] | None) -> Suite:
    """Return a suite that scores under the secret noise, if there is any and it is drawn."""
    if noise is None or noise["seed"] is None:
        return suite
    return replace(suite, scoring=suite.scoring.model_copy(update={"noise_seed": noise["seed"]}))


def without_scores(plan: Plan) -> Plan:
    """Return the first part of a run with secret noise: the fits alone, and which references there are."""
    references = (entrant for entrant in plan.suite.entrants if entrant.kind == "reference")
    known = sorted(described(entrant)["identity"] for entrant in references)
    return replace(plan, units=plan.fits, secret_noise={"seed": None, "references": known})


def draw_secret_noise(folder: Path) -> bool:
    """Draw the seed of the noise of a results folder, and record it, if all fits have ended."""
    with Folder(folder).lock():
        plan, store = require_plan(folder), Store(folder)
        noise = plan.secret_noise
        if noise is None or noise["seed"] is not None:
            return noise is not None
        finished, failed = store.ended()
        fits = [one.unit for one in plan.units if one.unit.kind == "fit"]
        if any(unit.folder not in finished | failed for unit in fits):
            return False
        drawn = {
            "seed": secrets.randbits(62),
            "drawn": time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime()),
            "fits": {unit.key: store.weights_checksum(unit.key) for unit in fits if unit.folder in finished},
        }
        write_plan(folder, replace(plan, secret_noise={**noise, **drawn}))
    return True


def late_mark(plan: RecordedPlan, unit: Unit, done: Mapping[str, Any]) -> str | None:
    """Return the mark of an entrant that was added after the secret noise was known; ``None`` for others."""
    noise = plan.secret_noise
    if noise is None or noise["seed"] is None:
        return None
    if unit.requires is None:
        verb, is_late = "added", unit.payload["entrant"]["identity"] not in noise["references"]
    else:
        verb = "trained"
        is_late = done.get("networks", {}).get(unit.requires) != noise["fits"].get(unit.requires)
    return f"was {verb} after the noise was drawn and known ({noise['drawn']})" if is_late else None
