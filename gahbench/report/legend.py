"""Texts around the tables of a board: the legend, and lines on datasets, their optimum and their rates."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

from gahbench._util.readable import level_name, pluralize
from gahbench.board.facts import dataset_notes, independent_images, sources_of, too_few
from gahbench.board.metric_names import parse_metric_name
from gahbench.board.optimality import STANDARD_ERRORS
from gahbench.board.ranks import PRACTICAL_KINDS
from gahbench.board.rate_curves import METRIC
from gahbench.board.statistics import MIN_SOURCES
from gahbench.evaluation.rates import MAX_TERMS, MIN_LEVELS, MIN_TERMS
from gahbench.planning.units import CHECKS_VERSION
from gahbench.report.cells import DASH
from gahbench.report.direction_lines import DIRECTION_LEGEND, direction_lines

if TYPE_CHECKING:
    from gahbench.board.board import Board, DatasetBoard
    from gahbench.board.display_names import DisplayNames
    from gahbench.board.results import Results

#: The legend of the verdicts on the optimal rate (:func:`rate_lines`).
RATE_LEGEND = (
    "Optimal rate: D = 10·log₁₀(MSE/bound) is evaluated at noise levels, σ relative to the side of the images, where "
    "the errors on images of N and 2N pixels a side differ by less than 0.1 dB. A denoiser is near-optimal if such "
    "levels, of both bound and denoiser, span 15 dB or more, and over them the slope of D against input PSNR is within "
    "±(optimal slope − ½)/2, D deviates from its mean by at most 1 dB, and twice the training changes D by less than "
    f"0.2 dB. {METRIC}: the slope of D, with the largest deviation and the span of the levels in dB."
)


def short_legend(results: Results) -> str:
    """Return the legend of the tables in three lines, with the commands that print more."""
    board = results.board
    gain = "" if results.baseline is None else f" Gain: over {results.names.entrant(results.baseline)}."
    once = (
        ", of these weights, so networks trained once are not ranked among themselves" if _seeds(board) == {1} else ""
    )
    flags = "!: flagged, as noted. " if any(entry.flags for entry in board.entries) else ""
    return (
        f"PSNR: mean in dB, with its 95 % interval.{gain}\n"
        f"Ranks are 95 % simultaneous intervals from paired differences{once}.\n"
        f"{flags}More: `gahbench leaderboard DIR --legend`; references: `gahbench cite DIR`."
    )


def checks_line(results: Results) -> str:
    """Return a line on rows that were checked by earlier rules; empty if there are no such rows."""
    versions = results.checks["version"]
    count = int((versions < CHECKS_VERSION).sum())
    if not count:
        return ""
    return (
        f"{count} of {len(versions)} rows were checked by earlier rules (version {versions.min()}; today "
        f"{CHECKS_VERSION}): `gahbench run` checks them again."
    )


def glossary(results: Results) -> dict[str, str]:
    """Return the terms of the tables with their definitions, which begin with a capital letter."""
    terms = (line.partition(": ") for line in legend(results))
    return {term: f"{definition[:1].upper()}{definition[1:]}" for term, _, definition in terms}


def legend(results: Results) -> list[str]:
    """Return a line on the meaning of each column of the tables."""
    board, baseline = results.board, results.baseline
    lines = [
        "PSNR: −10·log10 of the mean squared error of an image in [0, 1], in dB; the mean over test images, training "
        "seeds and, unless a level is named, noise levels. σ is the standard deviation of the noise, so that noisy "
        "images have −20·log10 σ dB.",
        "±: half the width of the 95 % interval over images and training seeds, which is shown as [low, high] if its "
        "centre deviates from the value by more than a tenth of this half. Values without either have no interval: it "
        f"needs at least {MIN_SOURCES} independent images. With fewer than {MIN_SOURCES} sources of images, such as "
        "photographs, it is over images of the same sources, and does not describe other sources.",
        f"Seeds: {_seed_legend(board)}",
        "Rank: by mean PSNR, 1 + the number of entrants that are better; 2–4 is the interval of a rank. Ranks are 95 % "
        "simultaneous intervals from paired differences. Oracles, which see the clean image, optimal denoisers, which "
        f"know the distribution, and entrants without an interval have no rank ({DASH}). Where the spread over seeds "
        "is unknown, networks trained once are compared with classical entrants and networks from files only.",
    ]
    if any(entry.flags for entry in board.entries):
        lines.append("!: the entrant is flagged; the note with the reason is below its table.")
    if baseline is not None:
        name = results.names.entrant(baseline)
        lines.append(f"Gain: the difference in PSNR from {name}, paired by image and noise.")
    if any(row.new_gain.is_known for row in results.means_over_datasets.rows):
        lines.append(
            "Gain on a new dataset: the 95 % prediction interval of the gain on another dataset of this kind, from the "
            "spread of the gains over the datasets of the board."
        )
    if board.is_known("slope"):
        lines.append(
            "Slope: output dB per input dB, fitted over all σ of the table. The optimal slope, α/(α+1) for C^α images, "
            "is the limit for σ → 0, which slopes over stronger noise cannot test."
        )
    if board.is_known("deficit"):
        lines += [
            "Deficit: the distance from the optimum, which is the ratio of the mean squared error to that of the "
            "optimum, in dB. If only a bound is known, the deficit has two limits: relative to the best denoiser of "
            "the board, and relative to the bound.",
            "KL: a bound on the Kullback-Leibler divergence of the density that a denoiser models from the true one, "
            "in nats per pixel and channel, integrated over the noise levels of the suite. If only a bound is known, "
            "the upper limit is a looser bound on the divergence, and the lower limit is not a bound.",
        ]
    lines += _cost_legend(board)
    if any(parse_metric_name(value.metric).name in ("direction", "truth-direction") for value in board.values):
        lines.append(DIRECTION_LEGEND)
    return [*lines, RATE_LEGEND] if board.is_known(METRIC) else lines


def _cost_legend(board: Board) -> Iterator[str]:
    """Yield the definitions of the columns of cost that have values."""
    costs = [entry.cost for entry in board.entries]
    if any(cost.parameters is not None for cost in costs):
        yield "Parameters: the number of trained parameters of a network."
    if any(cost.multiply_adds > 0 for cost in costs):
        yield (
            "Multiply-adds per pixel: of one forward pass, in convolutions and matrix products, divided by the number "
            "of pixels of an image."
        )
    machines = dict.fromkeys(cost.machine for cost in costs if cost.machine)
    if machines:
        yield (
            f"Seconds per megapixel: the time to denoise a batch of test images on {', '.join(machines)}; the "
            "fastest of several batches counts. Oracles and optimal denoisers are not timed."
        )
    if any(cost.training_images for cost in costs):
        yield "Training images: the number of noisy images that a network saw in training, with repetitions."
    if any(cost.train_seconds > 0 for cost in costs):
        yield "Training: the mean time that the training of a network took."


def _seeds(board: Board) -> set[int]:
    """Return the distinct numbers of seeds of trained and scored rows."""
    return {entry.seeds for entry in board.entries if entry.seeds}


def _seed_legend(board: Board) -> str:
    """Return the legend of seeds, which says how intervals account for the spread between training runs."""
    if all(entry.seeds is None for entry in board.entries):
        return "this suite trains no network."
    seeds = _seeds(board)
    if not seeds:
        return "no trained network has scores yet."
    if seeds == {1}:
        return (
            "each network was trained once; intervals hold for these weights, and do not cover the spread over "
            "training runs."
        )
    return (
        "the spread over training runs is estimated from all entrants; an entrant with a larger spread has its own "
        "estimate."
    )


def rate_lines(board: DatasetBoard, results: Results) -> Iterator[str]:
    """Yield the lines on rates above the table of a dataset; nothing if no rate was measured."""
    verdicts = results.rate_verdicts.get(board.dataset, {})
    distinct_verdicts = {(verdict.answer, verdict.reasons) for verdict in verdicts.values()}
    if len(distinct_verdicts) == 1 and len(verdicts) > 1:
        ((answer, reasons),) = distinct_verdicts
        yield f"Optimal rate: {answer} for all {len(verdicts)} entrants: {'; '.join(reasons)}."
    else:
        for label, verdict in verdicts.items():
            name = results.names.entrant_in_text(label)
            yield f"Optimal rate: {name} is {verdict.answer}: {'; '.join(verdict.reasons)}."
    yield from _missing_rate_lines(board)


def _missing_rate_lines(board: DatasetBoard) -> Iterator[str]:
    """Yield a line for each variant of the metric ``rate`` that has too few noise levels."""
    for metric, part in board.overall_metrics:
        named = parse_metric_name(metric)
        if (named.name, part) != ("rate", "levels"):
            continue
        # All entrants have the same number of levels.
        counts = (board.estimate(entry.entrant, metric, part) for entry in board.entries)
        levels = next(count.value for count in counts if count.is_known)
        if levels < MIN_LEVELS:
            window = "" if named.parameters else f", where an oracle keeps {MIN_TERMS} to {MAX_TERMS:g}·√d coefficients"
            yield (
                f"No {metric}: {pluralize(int(levels), 'noise level')} in its window{window}; {MIN_LEVELS} are needed. "
                "Use larger images, or noise levels that are closer together or stronger."
            )


def dataset_lines(dataset: str, results: Results) -> list[str]:
    """Return lines on a dataset: notes, sources of its images, optimal slope, optimum, and undetectable entrants."""
    notes = [f"{note[:1].upper()}{note[1:]}." for note in dataset_notes(results, dataset)]
    board = results.board.for_dataset(dataset)
    lines = (sources_line(dataset, results), slope_line(board, results.names), optimum_line(dataset, results))
    return [
        line for line in (*notes, *lines, memory_line(dataset, results), *direction_lines(board, results.names)) if line
    ]


def slope_line(board: DatasetBoard, names: DisplayNames) -> str:
    """Return a line on the optimal slope; empty if it is unknown or the table has no slopes."""
    optimal = board.entries[0].optimal_slope if board.entries else math.nan
    if math.isnan(optimal) or not board.is_known("slope"):
        return ""
    measured = [names.entrant_in_text(entry.entrant) for entry in board.entries if entry.kind == "optimal"]
    window = f"this window, σ = {level_name(board.sigmas[0])} to {level_name(board.sigmas[-1])}"
    if measured:
        return f"The optimal slope {optimal:.2f} is the limit for σ → 0; over {window}, compare with {measured[0]}."
    return f"The optimal slope {optimal:.2f} is the limit for σ → 0; the optimal slope over {window}, is unknown."


def optimum_line(dataset: str, results: Results) -> str:
    """Return a line on the optimum of a dataset, and on denoisers that beat it; empty if the optimum is unknown."""
    check = results.optimum_checks.get(dataset)
    if check is None:
        return ""
    name = results.names.entrant
    optimum = results.names.entrant_in_text(check.optimum)
    known = "the exact optimum" if check.kind == "exact" else "a lower bound on the expected error of every denoiser"
    compared = f"{pluralize(check.entrants, 'entrant')} in {pluralize(check.comparisons, 'comparison')}"
    missed = f" Not checked, because scores or images are missing: {check.missed} comparisons." if check.missed else ""
    if not check.comparisons:
        return f"{optimum} is {known}.{missed}"
    if not check.violations:
        is_better = f"{compared} is not better" if check.entrants == 1 else f"none of {compared} is better"
        verdict = f"{is_better} by {STANDARD_ERRORS:g} standard errors."
    else:
        names = ", ".join(dict.fromkeys(name(finding.entrant) for finding in check.violations))
        verdict = (
            f"of {compared}, these are better by {STANDARD_ERRORS:g} standard errors, which is impossible: {names}."
        )
    if check.refutations:
        names = ", ".join(dict.fromkeys(name(finding.entrant) for finding in check.refutations))
        verdict += f" The errors of {names} show that the optimum itself is not the best denoiser."
    return f"{optimum} is {known}. Checked: {verdict}{missed}"


def sources_line(dataset: str, results: Results) -> str:
    """Return a line if there are too few independent images for intervals, or if images share sources."""
    count, sources = independent_images(results, dataset), sources_of(results, dataset)
    board = results.board.for_dataset(dataset)
    if board.source_parts:
        return (
            f"Intervals and ranks describe these {count} sources of images, such as photographs, and no others: they "
            "are over the images of these sources. PSNR by source shows how much sources differ."
        )
    if 0 < count < MIN_SOURCES:
        return f"No intervals and no ranks: {too_few(count, sources is not None)}."
    if sources is None or not count:
        return ""
    return f"Intervals are over {count} sources, such as photographs, whose images are resampled together."


def memory_line(dataset: str, results: Results) -> str:
    """Return a line if there are too few images to detect entrants that know the test images."""
    checks = results.checks[(results.checks["dataset"] == dataset) & (results.checks["version"] >= CHECKS_VERSION)]
    kinds = {entry.entrant: entry.kind for entry in results.board.for_dataset(dataset).entries}
    practical = checks[checks["entrant"].map(kinds).isin(PRACTICAL_KINDS)]
    if practical.empty or practical["images"].any():
        return ""
    return (
        "Entrants that know the test images cannot be detected: too few images are scored, or no images are left for "
        "the test."
    )
