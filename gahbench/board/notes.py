"""Notes on the rows of a board: failures, missing seeds, what the row depends on, the entrant's own remarks."""

from __future__ import annotations

from numbers import Integral
from typing import TYPE_CHECKING

from gahbench._util.readable import level_name

if TYPE_CHECKING:
    import pandas as pd

    from gahbench.board.optimality import OptimumCheck
    from gahbench.board.results import Results
    from gahbench.board.scorecube import ScoreCube

#: The error of a unit that did not fail, but has not run.
NOT_RUN = "not run yet"
#: Of rows whose units were accepted from earlier code.
ADOPTED = "measured with earlier code, adopted"
#: Of rows that were trained otherwise than the suite says for all; followed by the fields, and the suite's in brackets.
OWN_TRAINING = "trained otherwise: "
#: Of entrants that cannot take the images of a dataset; followed by why.
REFUSED = "cannot take these images: "
TIME_BUDGET = "time budget: rows depend on the machine"


def notes_of(results: Results, dataset: str, entrant: str, cube: ScoreCube) -> str:
    """Return the note on an entrant of a dataset: parts joined by ``; ``, empty if there is nothing to say."""
    fits = results.fits[(results.fits["dataset"] == dataset) & (results.fits["entrant"] == entrant)]
    failures = results.failures
    failures = failures[(failures["dataset"] == dataset) & (failures["entrant"] == entrant)]
    tried = {int(seed) for table in (fits, failures) for seed in table["seed"].dropna()}
    counted = cube.seeds.get(entrant, [])
    tried |= set(cube.scored.get(entrant, []))

    parts = []
    if counted and len(counted) < len(tried):
        parts.append(f"{len(counted)} of {len(tried)} seeds")
    if entrant in cube.problems:
        parts.append(f"PSNR: {cube.problems[entrant]}")
    parts += _failures(failures, len(tried))
    notes = results.notes
    own = notes.loc[(notes["dataset"] == dataset) & (notes["entrant"] == entrant), "note"].tolist()
    if failures.empty and entrant not in cube.entrants and not any(note.startswith(REFUSED) for note in own):
        parts.append("not scored")
    if (fits["budget"] == "seconds").any():
        parts.append(TIME_BUDGET)
    parts += own
    return "; ".join(parts)


def marks_of(results: Results, dataset: str, entrant: str, check: OptimumCheck | None) -> tuple[str, ...]:
    """Return why the scores of an entrant on a dataset are flagged."""
    marks = results.marks
    found = marks.loc[(marks["dataset"] == dataset) & (marks["entrant"] == entrant), "mark"].tolist()
    places = [one for one in check.beyond if one.entrant == entrant] if check else []
    if check is not None and places:
        levels = ", ".join(f"{level_name(one.sigma)} ({one.standard_errors:.1f})" for one in places)
        found.append(f"beats {check.optimum}, which cannot be, at σ = {levels} (by so many standard errors)")
    return tuple(found)


def _failures(failures: pd.DataFrame, tried: int) -> list[str]:
    """Return a part for every different error of a stage, naming its metrics, and its seeds if not all failed."""
    metrics: dict[tuple[str, str], list[str]] = {}
    seeds: dict[tuple[str, str], set[int]] = {}
    columns = (failures[name] for name in ("stage", "metric", "error", "seed"))
    for stage, metric, error, seed in zip(*columns, strict=True):
        named = metrics.setdefault((stage, error), [])
        if metric and metric not in named:
            named.append(metric)
        if isinstance(seed, Integral):
            seeds.setdefault((stage, error), set()).add(int(seed))
    parts = []
    for (stage, error), named in metrics.items():
        those = sorted(seeds.get((stage, error), ()))
        if stage == "score" and error == NOT_RUN and those and seeds.get(("fit", NOT_RUN), set()) >= set(those):
            continue  # its scores fail as well: one note is enough
        which = f"seed{'s' if len(those) > 1 else ''} {', '.join(map(str, those))}: "
        what = " ".join([stage, *([", ".join(named)] if named else [])])
        verb = "" if error == NOT_RUN else "failed: "
        parts.append(f"{which if 0 < len(those) < tried else ''}{what} {verb}{error}")
    return parts
