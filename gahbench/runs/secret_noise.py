"""Secret noise: the seed of the noise of scores is drawn after all fits have ended, so that no network can know it.

Such a run has two parts. The first part plans and does only the fits. Once every fit has finished or failed, a seed is
drawn and recorded in the plan of the folder, together with the existing networks and references. The second part plans
the scores under that noise. Later runs of the folder keep the seed, and the board flags entrants that were added later,
when the noise was already known.
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
from gahbench.planning.units import describe_plugin
from gahbench.store.folder import Folder
from gahbench.store.plan_file import RecordedPlan, read_plan, require_plan, write_plan
from gahbench.store.store import Store


def load_secret_noise(folder: Path, is_wanted: bool) -> Mapping[str, Any] | None:
    """Return the record of the secret noise of a results folder; ``None`` if the folder uses the noise of the suite."""
    plan = read_plan(folder)
    if plan is not None and plan.secret_noise is not None:
        return plan.secret_noise
    if is_wanted and plan is not None:
        raise ResultsError(
            f"{folder}: was planned with known noise; for secret noise, give another folder with --out, and "
            f"'--reuse {folder}' to take the networks trained there"
        )
    return {"seed": None} if is_wanted else None


def with_secret_noise(suite: Suite, noise: Mapping[str, Any] | None) -> Suite:
    """Return the suite with the seed of the secret noise, if the seed was drawn; otherwise the suite itself."""
    if noise is None or noise["seed"] is None:
        return suite
    return replace(suite, scoring=suite.scoring.model_copy(update={"noise_seed": noise["seed"]}))


def without_scores(plan: Plan) -> Plan:
    """Return the plan of the first part of a run with secret noise: only the fits, and a record of the references."""
    references = (entrant for entrant in plan.suite.entrants if entrant.kind == "reference")
    identities = sorted(describe_plugin(entrant)["identity"] for entrant in references)
    return replace(plan, units=plan.fits, secret_noise={"seed": None, "references": identities})


def draw_secret_noise(folder: Path) -> bool:
    """Draw and record the secret seed of a results folder if all fits have ended; return whether it is drawn."""
    with Folder(folder).lock():
        plan, store = require_plan(folder), Store(folder)
        noise = plan.secret_noise
        if noise is None or noise["seed"] is not None:
            return noise is not None
        finished, failed = store.ended()
        fits = [planned.unit for planned in plan.units if planned.unit.kind == "fit"]
        if any(unit.folder not in finished | failed for unit in fits):
            return False
        drawn = {
            "seed": secrets.randbits(62),
            "drawn": time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime()),
            "fits": {unit.key: store.weights_checksum(unit.key) for unit in fits if unit.folder in finished},
        }
        write_plan(folder, replace(plan, secret_noise={**noise, **drawn}))
    return True


def flag_late_entrant(plan: RecordedPlan, unit: Unit, done: Mapping[str, Any]) -> str | None:
    """Return the flag of an entrant that was added after the secret noise was drawn; ``None`` for other entrants."""
    noise = plan.secret_noise
    if noise is None or noise["seed"] is None:
        return None
    if unit.requires is None:
        verb, is_late = "added", unit.payload["entrant"]["identity"] not in noise["references"]
    else:
        verb = "trained"
        is_late = done.get("networks", {}).get(unit.requires) != noise["fits"].get(unit.requires)
    return f"was {verb} after the noise was drawn and known ({noise['drawn']})" if is_late else None
