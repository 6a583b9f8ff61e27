"""A board as a document: its answer, and sections of sentences and tables, which text and pages render."""

from __future__ import annotations

import bisect
import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import pandas as pd

from gahbench._util.readable import level_name, pluralize
from gahbench.board.facts import dataset_notes, independent_images, sources_of, too_few
from gahbench.board.optimality import STANDARD_ERRORS
from gahbench.board.ranks import PRACTICAL_KINDS
from gahbench.board.statistics import MIN_SOURCES, Interval
from gahbench.board.tables import rows_of
from gahbench.contracts.row_labels import base_label
from gahbench.evaluation.rates import input_psnr
from gahbench.planning.units import CHECKS_VERSION
from gahbench.report import cells
from gahbench.report.columns import COLUMNS, SUMMARY, Cell, Column, Table, board_columns, table_of_board
from gahbench.report.finding import finding

if TYPE_CHECKING:
    from gahbench.board.display_names import DisplayNames
    from gahbench.board.estimates import Estimates
    from gahbench.board.results import Results


#: The columns of means over datasets, beside the gains on each dataset.
_SUMMARY_COLUMNS = ("rank", "entrant", "gain_over_baseline", "seconds_per_megapixel")
#: Gains over a baseline in dB, by absolute value, at which the colour of a cell becomes one step stronger. The steps
#: are the same on all boards; those of gains over the noisy images are larger by a factor.
STEPS = (0.5, 1.0, 2.0, 3.0, 4.0, 6.0, 8.0)
_NOISY_SCALE = 3.0
#: The kinds of entrants that bound what is possible.
_OPTIMA = ("optimal", "bound")


@dataclass(frozen=True)
class Section:
    """The board of a dataset: its label, sentences, its table, which has the name as its title, and notes."""

    dataset: str
    sentences: Sequence[str]
    table: Table
    notes: Sequence[tuple[str, str]] = ()


@dataclass(frozen=True)
class Document:
    """A board: its title, its answer in one sentence, warnings, and sections.

    ``summary`` has the gains over all datasets and on each; it is ``None`` for a board of one dataset. ``names`` lists
    the specs of names, and ``legend`` the meaning of each heading.
    """

    title: str
    answer: str
    warnings: Sequence[str]
    summary: Table | None
    datasets: Sequence[Section]
    names: Table
    legend: dict[str, str]


def build_document(results: Results, entrants: Collection[str] | None = None) -> Document:
    """Return the board of results as a document, with the rows of all entrants, or of those with the given labels."""
    wide = results.leaderboard(full=True)
    columns = board_columns(results, list(map(str, wide.columns)))
    sections = []
    for board in results.board.datasets:
        rows = wide[wide["dataset"] == board.dataset]
        rows = rows if entrants is None else rows[rows["entrant"].isin(entrants)]
        notes = [(results.names.entrant(entrant), note) for entrant, note in _notes(results, board)]
        shown = columns if board.is_known("psnr") else [_in_summary(column) for column in columns]
        table = table_of_board(results.names.dataset(board.dataset), shown, rows, results.names)
        sections.append(Section(board.dataset, list(_sentences(results, board)), table, notes))
    summary = _summary(results, wide)
    labels = [(results.names.entrant(label), label) for label in dict.fromkeys(map(base_label, results.entrants))]
    labels += [(section.table.title, section.dataset) for section in sections]
    specs = [(Cell(name), Cell(label)) for name, label in labels if name != label]
    names = Table("Names", [Column("name", form=str), Column("spec", form=str)], specs)
    shown = [
        column for table in (summary, *(section.table for section in sections)) if table for column in table.columns
    ]
    return Document(
        results.suite, finding(results), list(_warnings(results)), summary, sections, names, _legend(results, shown)
    )


def _in_summary(column: Column) -> Column:
    """Return a column that the summary shows too, which boards without a PSNR need."""
    return replace(column, views=tuple(dict.fromkeys((SUMMARY, *column.views))))


def _summary(results: Results, wide: pd.DataFrame) -> Table | None:
    """Return the ranks and gains over all datasets, the cost, and the gains and ranks on each dataset."""
    boards = [board for board in results.board.datasets if board.is_known("psnr")]
    baseline = results.baseline if any(board.is_known("gain_over_baseline") for board in boards) else None
    checks = {board.dataset: results.optimum_checks.get(board.dataset) for board in boards}
    hidden = {baseline, *(check.optimum for check in checks.values() if check)}
    over: dict[str, Any] = {str(row["entrant"]): row for row in results.over_datasets().to_dict("records")}
    seconds = wide.groupby("entrant")["seconds_per_megapixel"].mean()
    entries = {(entry.dataset, entry.entrant): entry for entry in results.board.entries}
    kinds = {entry.entrant: entry.kind for entry in reversed(results.board.entries)}
    rows: list[tuple[tuple[bool, int, float], dict[str, Any]]] = []
    for label in results.entrants:
        gains = {board.dataset: gain_of(board, label, baseline) for board in boards}
        known = [gain.value for gain in gains.values() if gain.is_known]
        if label in hidden or not known or kinds[label] in _OPTIMA:
            continue
        on_datasets = {}
        for dataset, gain in gains.items():
            entry = entries.get((dataset, label))
            rank = cells.rank(entry.rank, entry.rank_high, bool(entry.flags)) if entry else ""
            on_datasets[f"on {dataset}"] = _gain_cell(gain, rank, _NOISY_SCALE if baseline is None else 1.0)
        mean = over.get(label, {"rank": None, "rank_high": None})
        gain = Interval(*(mean.get(f"gain_over_baseline{end}", math.nan) for end in ("", "_low", "_high")))
        facts = {"entrant": label, "seconds_per_megapixel": seconds[label], "gain_over_baseline": _gain_cell(gain)}
        # Means over fewer datasets cannot be compared, so these entrants follow.
        order = kinds[label] not in PRACTICAL_KINDS, -len(known), -math.fsum(known) / len(known)
        rows.append((order, mean | on_datasets | facts))
    if len(boards) < 2 or not rows:
        return None
    records = [record for _, record in sorted(rows, key=lambda row: row[0])]
    optima = {
        f"on {board.dataset}": _gain_cell(Interval(gain.value), "bound" * (kinds[check.optimum] == "bound"))
        for board in boards
        if (check := checks[board.dataset]) and (gain := gain_of(board, check.optimum, baseline)).is_known
    }
    if optima:
        records.append({"rank": None, "rank_high": None, "entrant": "best possible", **optima})
    shown = [replace(column, views=(SUMMARY,)) for column in COLUMNS if column.name in _SUMMARY_COLUMNS]
    # The cost is last, so that narrow terminals leave it out first. Gains and ranks line up from the left.
    shown[-1:-1] = [Column(results.names.dataset(board.dataset), f"on {board.dataset}", form=str) for board in boards]
    title = f"Gain over {'the noisy images' if baseline is None else results.names.entrant(baseline)} in dB, and rank"
    return table_of_board(title, shown, pd.DataFrame(records), results.names)


def gain_of(board: Estimates, entrant: str, baseline: str | None) -> Interval:
    """Return the gain of an entrant over the baseline, or over the noisy images, whose PSNR is constant."""
    if baseline is not None:
        return board.estimate(entrant, "gain_over_baseline")
    psnr = board.estimate(entrant, "psnr")
    noisy = float(input_psnr(board.sigmas).mean()) if board.sigmas else math.nan
    return Interval(psnr.value - noisy, psnr.low - noisy, psnr.high - noisy)


def colour_step(gain: Interval, scale: float = 1.0) -> int:
    """Return the signed step of the colour of a gain, from −8 to 8; 0 if its interval is unknown or contains 0."""
    if not gain.excludes_zero:
        return 0
    steps = 1 + bisect.bisect_right(STEPS, abs(gain.value) / scale)
    return steps if gain.value > 0 else -steps


def _gain_cell(gain: Interval, rank: str = "", scale: float = 1.0) -> Cell:
    if not gain.is_known:
        return Cell(cells.DASH)
    text = f"{cells.number(gain.value, 1, sign=True):>5} {rank.strip(cells.DASH)}"
    return Cell(text.rstrip(), f"{gain.value:g}", step=colour_step(gain, scale))


def _legend(results: Results, shown: Sequence[Column]) -> dict[str, str]:
    """Return the meaning of each heading, and of ± and the seeds."""
    seeds = {entry.seeds for entry in results.board.entries if entry.seeds}
    weights = (
        " Each network was trained once: intervals hold for these weights, and do not cover the spread over training "
        "runs, so networks are not ranked among themselves."
    )
    meanings = {
        column.head: f"{column.meaning}{f' In {column.unit}.' if column.unit else ''}"
        for column in shown
        if column.meaning
    }
    if results.baseline is not None and "gain" in meanings:
        meanings["gain"] = f"{meanings['gain']} The baseline is {results.names.entrant(results.baseline)}."
    return meanings | {
        "±": "Half of a 95 % interval over images and training seeds, or [low, high] if the interval is skewed. An "
        f"interval needs at least {MIN_SOURCES} independent images.{weights if seeds == {1} else ''}"
    }


def _warnings(results: Results) -> Iterator[str]:
    """Yield what a reader of the ranks must know: flags, rows without a score, and rows that earlier rules checked."""
    name, entries = results.names.entrant, results.board.entries
    found = [finding.entrant for check in results.optimum_checks.values() for finding in check.violations]
    if found:
        yield f"Better than the optimum, which is impossible: {', '.join(map(name, dict.fromkeys(found)))}."
    if count := sum(bool(entry.flags) for entry in entries):
        yield f"{pluralize(count, 'row')} flagged (!)."
    frame = results.board.frame
    scored = set(zip(frame["dataset"], frame["entrant"], strict=True))
    if missing := [entry for entry in entries if (entry.dataset, entry.entrant) not in scored]:
        yield f"{pluralize(len(missing), 'row')} without scores."
    versions = results.checks["version"]
    if count := int((versions < CHECKS_VERSION).sum()):
        yield (
            f"{count} of {len(versions)} rows were checked by earlier rules (version {versions.min()}; today "
            f"{CHECKS_VERSION}): `gahbench run` checks them again."
        )


def _notes(results: Results, board: Estimates) -> Iterator[tuple[str, str]]:
    """Yield the notes on entrants that are flagged, lack scores or seeds, or failed; the CSV has all notes."""
    for entry in board.entries:
        has_failed = not rows_of(results.failures, board.dataset, entry.entrant).empty
        if entry.note and (entry.flags or has_failed or not board.estimate(entry.entrant, "psnr").is_known):
            yield entry.entrant, entry.note


def _sentences(results: Results, board: Estimates) -> Iterator[str]:
    """Yield sentences on a dataset: noise levels, notes, sources of images, optimal slope, optimum, and checks."""
    if board.sigmas:
        mean = "Mean over" if len(board.sigmas) > 1 else "At"
        yield f"{mean} σ = {', '.join(map(level_name, board.sigmas))}."
    else:
        yield "No PSNR."
    yield from (f"{note[:1].upper()}{note[1:]}." for note in dataset_notes(results, board.dataset))
    texts = (_sources(results, board), _slope(board, results.names), _optimum_check(results, board.dataset))
    yield from filter(None, (*texts, _memory(results, board)))


def _slope(board: Estimates, names: DisplayNames) -> str:
    optimal = board.entries[0].optimal_slope if board.entries else math.nan
    if math.isnan(optimal) or not board.is_known("slope"):
        return ""
    measured = [names.entrant(entry.entrant) for entry in board.entries if entry.kind == "optimal"]
    return (
        f"The optimal slope {optimal:.2f} is the limit for σ → 0; over these levels it is "
        f"{f'that of {measured[0]}' if measured else 'unknown'}."
    )


def _optimum_check(results: Results, dataset: str) -> str:
    """Return a sentence on the optimum of a dataset, and on denoisers that beat it; empty if it is unknown."""
    check = results.optimum_checks.get(dataset)
    if check is None:
        return ""
    name = results.names.entrant
    known = "the exact optimum" if check.kind == "exact" else "a lower bound on the expected error of every denoiser"
    missed = f" Not checked, because scores or images are missing: {check.missed} comparisons." if check.missed else ""
    verdict = ""
    if check.comparisons:
        compared = f"{pluralize(check.entrants, 'entrant')} in {pluralize(check.comparisons, 'comparison')}"
        names = ", ".join(dict.fromkeys(name(finding.entrant) for finding in check.violations))
        none = f"{compared} is not better" if check.entrants == 1 else f"none of {compared} is better"
        by = f"by {STANDARD_ERRORS:g} standard errors"
        bad = f"of {compared}, these are better {by}, which is impossible: {names}."
        verdict = f" Checked: {bad if check.violations else f'{none} {by}.'}"
    if check.refutations:
        names = ", ".join(dict.fromkeys(name(finding.entrant) for finding in check.refutations))
        verdict += f" The errors of {names} show that the optimum itself is not the best denoiser."
    return f"{name(check.optimum)} is {known}.{verdict}{missed}"


def _sources(results: Results, board: Estimates) -> str:
    """Return a sentence if there are too few independent images for intervals, or if images share sources."""
    count, sources = independent_images(results, board.dataset), sources_of(results, board.dataset)
    if board.source_parts:
        return (
            f"Intervals and ranks describe these {count} sources of images, such as photographs, and no others: they "
            "are over the images of these sources."
        )
    if 0 < count < MIN_SOURCES:
        return f"No intervals and no ranks: {too_few(count, sources is not None)}."
    if sources is None or not count:
        return ""
    return f"Intervals are over {count} sources, such as photographs, whose images are resampled together."


def _memory(results: Results, board: Estimates) -> str:
    """Return a sentence if there are too few images to detect entrants that know the test images."""
    checks = results.checks[
        (results.checks["dataset"] == board.dataset) & (results.checks["version"] >= CHECKS_VERSION)
    ]
    kinds = {entry.entrant: entry.kind for entry in board.entries}
    practical = checks[checks["entrant"].map(kinds).isin(PRACTICAL_KINDS)]
    if practical.empty or practical["images"].any():
        return ""
    return (
        "Entrants that know the test images cannot be detected: too few images are scored, or no images are left for "
        "the test."
    )
