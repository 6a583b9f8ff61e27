"""From the store to the tidy table."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gahbench._util.errors import ResultsError
from gahbench.board.notes import ADOPTED, NOT_RUN
from gahbench.board.schemas import SCHEMAS
from gahbench.contracts.unit import Unit
from gahbench.registry.problems import Problem
from gahbench.runs.environment import write_environment
from gahbench.runs.secret_noise import late_mark
from gahbench.store.folder import Folder
from gahbench.store.plan_file import RecordedPlan, recorded_plan
from gahbench.store.store import Store

if TYPE_CHECKING:
    from gahbench.board.results import Results

#: Raised when boards are written differently from the same units.
BOARD_VERSION = 4


def collect(folder: Path, problems: Sequence[Problem] = ()) -> RecordedPlan:
    """Write the tables, board and figures of a results folder from its finished and failed units.

    Where nothing is new, the files stay as they are.

    Parameters
    ----------
    problems
        Plugins that could not be loaded, for the record of the environment.

    Returns
    -------
    RecordedPlan
        The plan of the folder.

    Raises
    ------
    ResultsError
        If it is no results folder, or a finished unit cannot be read.
    """
    from gahbench.board.results import saved_digest
    from gahbench.report.publish import publish

    recorded_plan(folder)
    if saved_digest(folder) is not None and not (folder / "units").is_dir():
        raise ResultsError(f"{folder}: a published board without its units; 'gahbench leaderboard' prints it")
    with Folder(folder).lock():
        plan, store = recorded_plan(folder), Store(folder)
        states = states_of(plan, store)
        digest = _digest(plan, states, store.put_aside())
        if saved_digest(folder) != digest:
            publish(read_results(plan, store, states), folder, digest)
            write_environment(folder, problems)
        store.sweep()
    return plan


def states_of(plan: RecordedPlan, store: Store) -> dict[str, str]:
    """Return the states of the units that a board shows, by folder name: ``done``, or why it failed, or nothing."""
    whole, failed = store.whole(plan.shown), store.failed()
    names = dict.fromkeys(unit.folder for unit in plan.shown)
    return {name: "done" if name in whole else store.failure_of(name) if name in failed else "" for name in names}


def read_results(plan: RecordedPlan, store: Store, states: Mapping[str, str]) -> Results:
    """Read finished and failed units into :class:`gahbench.board.results.Results`.

    Raises
    ------
    ResultsError
        If a finished unit cannot be read.
    """
    import pandas as pd

    from gahbench.board.results import Results

    rows = _Rows(plan.suite, list(plan.facts["entrants"]))
    # Fits first: units that failed for lack of a fit are not listed again.
    for unit in sorted(plan.shown, key=lambda unit: unit.kind != "fit"):
        state = states[unit.folder]
        if state != "done":
            rows.add_unfinished(unit, state or None)
            continue
        done = store.done(unit) or {}
        if done.get("adopted"):
            rows.notes[unit.dataset, unit.entrant, ADOPTED] = None
        if unit.kind == "fit":
            rows.add_fit(unit, done)
        else:
            rows.add_scores(unit, done, store.read_scores(unit))
            if mark := late_mark(plan, unit, done):
                rows.marks[unit.dataset, unit.entrant, mark] = None
    return Results(
        suite=plan.suite,
        scores=pd.DataFrame(rows.scores, columns=list(SCHEMAS["scores"])),
        fits=pd.DataFrame(rows.fits, columns=list(SCHEMAS["fits"])),
        failures=pd.DataFrame(rows.failures, columns=list(SCHEMAS["failures"])),
        datasets=pd.DataFrame(plan.facts["datasets"], columns=list(SCHEMAS["datasets"])),
        entrants=rows.entrants,
        baseline=plan.facts["baseline"],
        notes=pd.DataFrame(list(rows.notes), columns=list(SCHEMAS["notes"])),
        metrics=pd.DataFrame(plan.facts["metrics"], columns=list(SCHEMAS["metrics"])),
        marks=pd.DataFrame(list(rows.marks), columns=list(SCHEMAS["marks"])),
    )


def _digest(plan: RecordedPlan, states: Mapping[str, str], replaced: list[str]) -> str:
    """Return a digest of all that a board depends on: which units are done or were done anew, why others failed."""
    facts = [BOARD_VERSION, plan.suite, dict(plan.facts), sorted(states.items()), *([replaced] if replaced else [])]
    facts += [dict(plan.secret_noise)] if plan.secret_noise else []
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


#: The scores whose notes count: a note may depend on the noise levels that an entrant was given, here all of them.
_NOTED = ("psnr", "test")
_FIT_FACTS = ("parameters", "train_seconds", "steps", "device", "precision", "compiled", "budget")


@dataclass
class _Rows:
    """Rows of the tables of results, as units are read."""

    suite: str
    entrants: list[str]
    scores: list[tuple[Any, ...]] = field(default_factory=list)
    fits: list[dict[str, Any]] = field(default_factory=list)
    failures: list[dict[str, Any]] = field(default_factory=list)
    #: Each once, in their order.
    notes: dict[tuple[str, str, str], None] = field(default_factory=dict)
    marks: dict[tuple[str, str, str], None] = field(default_factory=dict)
    _failed_fits: set[str] = field(default_factory=set)

    def add_fit(self, unit: Unit, done: dict[str, Any]) -> None:
        """Add a trained network; of partners one, since all that boards show of them is the same."""
        names = self._named(unit)
        if unit.split != "B":
            self.fits.append({**names, **{name: done[name] for name in _FIT_FACTS}})

    def add_scores(
        self, unit: Unit, done: dict[str, Any], values: Iterable[tuple[float | None, int | None, float, str]]
    ) -> None:
        """Add the values (noise level, image, value, part) of a metric, and the notes of its entrant."""
        names = self._named(unit)
        if (unit.metric, unit.split) == _NOTED:
            self.notes |= {(unit.dataset, unit.entrant, note): None for note in done.get("notes", ())}
            self.marks |= {(unit.dataset, unit.entrant, mark): None for mark in done.get("marks", ())}
            if done.get("parameters") is not None:
                # It was trained elsewhere.
                self.fits.append({**names, "parameters": done["parameters"], "compiled": False})
        head = (self.suite, unit.dataset, unit.entrant, done["kind"], unit.seed, unit.split)
        for sigma, image, value, part in values:
            self.scores.append((*head, sigma, f"{unit.metric}.{part}" if part else unit.metric, image, value))

    def add_unfinished(self, unit: Unit, error: str | None) -> None:
        """Add a unit that failed or has not run; not one that waits for a fit that failed."""
        names = self._named(unit)
        if unit.kind == "fit" and error is not None:
            self._failed_fits.add(unit.key)
        if error is not None or not self._failed_fits.intersection(unit.needs):
            self.failures.append({**names, "stage": unit.kind, "metric": unit.metric, "error": error or NOT_RUN})

    def _named(self, unit: Unit) -> dict[str, Any]:
        """Return the columns that identify a unit in the tables; entrants of the suite come first."""
        if unit.entrant not in self.entrants:
            self.entrants.append(unit.entrant)
        return {"dataset": unit.dataset, "entrant": unit.entrant, "seed": unit.seed}
