"""Text around the tables of a board: how to read them, and notes on a dataset, its optimum and its rates."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

from gahbench._util.readable import counted, level_name
from gahbench.board.board import DatasetBoard
from gahbench.board.facts import dataset_notes, independent_images, sources_of, too_few
from gahbench.board.metric_names import parse_metric_name
from gahbench.board.optimality import STANDARD_ERRORS
from gahbench.board.ranks import PRACTICAL_KINDS
from gahbench.board.rate_courses import METRIC
from gahbench.board.statistics import MIN_SOURCES
from gahbench.evaluation.rates import MAX_TERMS, MIN_LEVELS, MIN_TERMS
from gahbench.planning.units import CHECKS_VERSION
from gahbench.report.cells import DASH

if TYPE_CHECKING:
    from gahbench.board.board import Board, DatasetBoard
    from gahbench.board.results import Results

#: How to read the verdicts of :func:`rate_lines` on the optimal rate.
RATE_LEGEND = (
    "Optimal rate: D = 10·log₁₀(MSE/bound) is read over the noise levels, σ relative to the side of the images, at "
    "which images of N and 2N pixels a side have errors that differ by less than 0.1 dB. Near-optimal: over 15 dB or "
    "more of them, of bound and denoiser, its slope against input PSNR is within half of the optimal slope less ½, it "
    "deviates from its mean by 1 dB at most, and twice the training moves it by less than 0.2 dB. "
    f"{METRIC}: that slope, with the largest deviation and the span of the levels in dB."
)


def short_legend(results: Results) -> str:
    """Return how to read the tables in three lines, with the commands that explain more."""
    board = results.board
    gain = "" if results.baseline is None else f" Gain: over {results.baseline}."
    weights = ", of these weights" if _seeds(board) == {1} else ""
    flags = "!: flagged, as noted. " if any(entry.marks for entry in board.entries) else ""
    return (
        f"PSNR: mean in dB ± half its 95 % interval.{gain}\n"
        f"Ranks are 95 % simultaneous intervals from paired differences{weights}.\n"
        f"{flags}More: `gahbench leaderboard DIR --legend`; references: `gahbench cite DIR`."
    )


def checks_line(results: Results) -> str:
    """Return a line on rows that were checked by earlier rules; empty without such rows."""
    versions = results.checks["version"]
    count = int((versions < CHECKS_VERSION).sum())
    if not count:
        return ""
    return (
        f"{count} of {len(versions)} rows were checked by earlier rules (version {versions.min()}; today "
        f"{CHECKS_VERSION}): `gahbench run` checks them again."
    )


def legend(results: Results) -> list[str]:
    """Return the meaning of every column of the tables, a line for each."""
    board, baseline = results.board, results.baseline
    lines = [
        "PSNR: −10·log10 of the mean squared error of an image in [0, 1], in dB; the mean over test images, training "
        "seeds and, unless a level is named, noise levels. σ is the standard deviation of the noise, so that noisy "
        "images have −20·log10 σ dB.",
        "±: half the width of the 95 % interval over images and training seeds. Values without it have no interval: "
        f"with fewer than {MIN_SOURCES} independent images, or sources of images such as photographs, it would mean "
        "nothing.",
        f"Seeds: {_on_seeds(board)}",
        "Rank: by mean PSNR, 1 + the number of entrants that are better; 2–4 is the interval of a rank. Ranks are 95 % "
        "simultaneous intervals from paired differences. Oracles see the clean image and optimal denoisers know the "
        f"distribution, so that they have no rank ({DASH}); nor has an entrant without an interval.",
    ]
    if any(entry.marks for entry in board.entries):
        lines.append("!: the entrant is flagged; the note with the reason is below its table.")
    if baseline is not None:
        lines.append(f"Gain: the difference in PSNR from {baseline}, paired by image and noise.")
    if board.is_known("slope"):
        lines.append(
            "Slope: output dB per input dB, fitted over all σ of the table. The optimal slope, α/(α+1) for C^α images, "
            "is a limit for σ → 0, which slopes over stronger noise do not test."
        )
    if board.is_known("deficit"):
        lines += [
            "Deficit: decibels between the mean squared error and the optimal one. Where only a bound is known, two "
            "limits: from the best denoiser of the board, and from the bound.",
            "KL: a bound on the Kullback-Leibler divergence of the density that a denoiser models from the true one, "
            "in nats per pixel and channel, integrated over the noise levels of the suite. Against a bound its upper "
            "limit is a looser upper bound, and its lower limit bounds nothing.",
        ]
    return [*lines, RATE_LEGEND] if board.is_known(METRIC) else lines


def _seeds(board: Board) -> set[int]:
    """Return the numbers of seeds of the rows that are trained and scored."""
    return {entry.seeds for entry in board.entries if entry.seeds}


def _on_seeds(board: Board) -> str:
    """Return the meaning of the intervals, which depends on the number of training seeds."""
    if all(entry.seeds is None for entry in board.entries):
        return "this suite trains no network."
    seeds = _seeds(board)
    if not seeds:
        return "no trained network is scored yet."
    if seeds == {1}:
        return "each network was trained once; intervals are of these weights, and say nothing about another training."
    return (
        "how far trainings differ is estimated from all entrants; an entrant whose own trainings differ more has its "
        "own estimate."
    )


def rate_lines(board: DatasetBoard, results: Results) -> Iterator[str]:
    """Yield the lines on rates above the table of a dataset; none if no rate was measured."""
    verdicts = results.rate_verdicts.get(board.dataset, {})
    different = {(verdict.answer, verdict.reasons) for verdict in verdicts.values()}
    if len(different) == 1 and len(verdicts) > 1:
        ((answer, reasons),) = different
        yield f"Optimal rate: {answer} for all {len(verdicts)} entrants: {'; '.join(reasons)}."
    else:
        for label, verdict in verdicts.items():
            yield f"Optimal rate: `{label}` is {verdict.answer}: {'; '.join(verdict.reasons)}."
    yield from _without_window(board)


def _without_window(board: DatasetBoard) -> Iterator[str]:
    """Yield why there is no rate, for each choice of the parameters of the metric."""
    for metric, part in board.overall_metrics:
        named = parse_metric_name(metric)
        if (named.name, part) != ("rate", "levels"):
            continue
        # The number of levels is equal for all entrants.
        counts = (board.estimate(entry.entrant, metric, part) for entry in board.entries)
        levels = next(count.value for count in counts if count.is_known)
        if levels < MIN_LEVELS:
            window = "" if named.parameters else f", where an oracle keeps {MIN_TERMS} to {MAX_TERMS:g}·√d coefficients"
            yield (
                f"No {metric}: {counted(int(levels), 'noise level')} in its window{window}; {MIN_LEVELS} are needed: "
                "accepted are larger images, and levels that are closer or of stronger noise."
            )


def dataset_lines(dataset: str, results: Results) -> list[str]:
    """Return lines on a dataset: notes on its images, their sources, its optimal slope and its optimum."""
    notes = [f"{note[:1].upper()}{note[1:]}." for note in dataset_notes(results, dataset)]
    board = results.board.of(dataset)
    lines = (sources_line(dataset, results), slope_line(board), optimum_line(dataset, results))
    return [line for line in (*notes, *lines, memory_line(dataset, results)) if line]


def slope_line(board: DatasetBoard) -> str:
    """Return how the slopes of a table relate to the optimal slope; empty if either is unknown."""
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
    """Return a line on the number of independent images, if there are few, or several of one source."""
    count, sources = independent_images(results, dataset), sources_of(results, dataset)
    if 0 < count < MIN_SOURCES:
        return f"No intervals and no ranks: {too_few(count, sources is not None)}."
    if sources is None or not count:
        return ""
    return f"Intervals are over {count} sources, such as photographs, whose images are resampled together."


def memory_line(dataset: str, results: Results) -> str:
    """Return a line if rows that know the test images cannot be detected, for want of images for the test."""
    checks = results.checks[(results.checks["dataset"] == dataset) & (results.checks["version"] >= CHECKS_VERSION)]
    kinds = {entry.entrant: entry.kind for entry in results.board.of(dataset).entries}
    practical = checks[checks["entrant"].map(kinds).isin(PRACTICAL_KINDS)]
    if practical.empty or practical["images"].any():
        return ""
    return (
        "Rows that know the test images cannot be told from others: too few images are scored, or none are left for a "
        "test."
    )
