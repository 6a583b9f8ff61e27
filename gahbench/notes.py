"""What a reader of one row of the board must know: failures, missing seeds, what the row depends on."""

from __future__ import annotations

from numbers import Integral
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gahbench.results import Results
    from gahbench.scorecube import ScoreCube

TIME_BUDGET = "time budget: rows depend on the machine"


def notes_of(results: Results, dataset: str, entrant: str, cube: ScoreCube) -> str:
    """Return the note on an entrant of a dataset: parts joined by ``; ``, empty if there is nothing to say.

    Parameters
    ----------
    cube
        The PSNR of the dataset.
    """
    fits = results.fits[(results.fits["dataset"] == dataset) & (results.fits["entrant"] == entrant)]
    failures = results.failures
    failures = failures[(failures["dataset"] == dataset) & (failures["entrant"] == entrant)]
    tried = {int(seed) for table in (fits, failures) for seed in table["seed"].dropna()}
    counted = cube.seeds.get(entrant, [])
    tried |= set(cube.scored.get(entrant, []))

    parts = []
    if counted and len(counted) < len(tried):
        parts.append(f"{len(counted)} of {len(tried)} seeds")
    parts += [f"PSNR: {problem}" for problem in cube.problems.get(entrant, [])]
    failed: dict[str, list[int]] = {}
    columns = (failures[name] for name in ("stage", "metric", "error", "seed"))
    for stage, metric, error, seed in zip(*columns, strict=True):
        what = " ".join(word for word in (stage, metric) if word)
        seeds = failed.setdefault(f"{what} failed: {error}", [])
        if isinstance(seed, Integral):
            seeds.append(int(seed))
    for text, seeds in failed.items():
        some = seeds and len(seeds) < len(tried)
        which = (
            f"seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, sorted(set(seeds))))}: " if some else ""
        )
        parts.append(which + text)
    if not failed and entrant not in cube.entrants:
        parts.append("not scored")
    if (fits["budget"] == "seconds").any():
        parts.append(TIME_BUDGET)
    return "; ".join(parts)
