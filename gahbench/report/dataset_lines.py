"""Lines on a dataset of a board: its images, its optimum, and the checks of its rows."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from gahbench._util.readable import level_name
from gahbench.board.board import DatasetBoard
from gahbench.board.facts import dataset_notes, independent_images, sources_of, too_few
from gahbench.board.optimality import PRACTICAL_KINDS, STANDARD_ERRORS
from gahbench.board.statistics import MIN_SOURCES
from gahbench.planning.units import CHECKS_VERSION

if TYPE_CHECKING:
    from gahbench.board.results import Results


def dataset_lines(dataset: str, results: Results) -> list[str]:
    """Return lines on a dataset: what was done to its images, their sources, its optimal slope and its optimum."""
    notes = [f"{note[:1].upper()}{note[1:]}." for note in dataset_notes(results, dataset)]
    board = results.board.of(dataset)
    lines = (sources_line(dataset, results), slope_line(board), optimum_line(dataset, results))
    return [line for line in (*notes, *lines, memory_line(dataset, results)) if line]


def slope_line(board: DatasetBoard) -> str:
    """Return how the slopes of a table relate to the optimal one; empty where there are none, or it is not known."""
    optimal = board.entries[0].optimal_slope if board.entries else math.nan
    if math.isnan(optimal) or not board.is_known("slope"):
        return ""
    measured = [entry.entrant for entry in board.entries if entry.kind == "optimal"]
    window = f"this window, σ = {level_name(board.sigmas[0])} to {level_name(board.sigmas[-1])}"
    known = f"over {window}, compare with `{measured[0]}`" if measured else f"none is known for {window}"
    return f"The optimal slope {optimal:.2f} is a limit for σ → 0; {known}."


def optimum_line(dataset: str, results: Results) -> str:
    """Return a line on a dataset's optimum and whether any denoiser is better; empty if the optimum is unknown."""
    check = results.optimum_checks.get(dataset)
    if check is None:
        return ""
    known = "the optimum, exact" if check.kind == "exact" else "a bound that no denoiser's expected error is below"
    compared = f"{check.entrants} entrants in {check.comparisons} comparisons"
    missed = f" Not checked, for want of scores or images: {check.missed} comparisons." if check.missed else ""
    if not check.comparisons:
        return f"`{check.optimum}` is {known}.{missed}"
    if not check.beyond:
        verdict = f"none of {compared} is beyond it by {STANDARD_ERRORS:g} standard errors."
    else:
        names = ", ".join(dict.fromkeys(found.entrant for found in check.beyond))
        verdict = (
            f"of {compared}, these are beyond it by {STANDARD_ERRORS:g} standard errors, which cannot be: {names}."
        )
    if check.accused:
        names = ", ".join(dict.fromkeys(found.entrant for found in check.accused))
        verdict += f" The errors of {names} show that the optimum itself is not the best denoiser."
    return f"`{check.optimum}` is {known}. Checked: {verdict}{missed}"


def sources_line(dataset: str, results: Results) -> str:
    """Return a line on the number of independent images, where there are few or several are of one source."""
    count, sources = independent_images(results, dataset), sources_of(results, dataset)
    if 0 < count < MIN_SOURCES:
        return f"No intervals and no ranks: {too_few(count, sources is not None)}."
    if sources is None or not count:
        return ""
    return f"Intervals are over {count} sources, such as photographs, whose images are resampled together."


def memory_line(dataset: str, results: Results) -> str:
    """Return that rows which know the test images cannot be named, where no images were left over for the test."""
    checks = results.checks[(results.checks["dataset"] == dataset) & (results.checks["version"] >= CHECKS_VERSION)]
    kinds = {entry.entrant: entry.kind for entry in results.board.of(dataset).entries}
    practical = checks[checks["entrant"].map(kinds).isin(PRACTICAL_KINDS)]
    if practical.empty or practical["images"].any():
        return ""
    return (
        "Rows that know the test images cannot be told from others: too few images are scored, or none are left for a "
        "test."
    )
