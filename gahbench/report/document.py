"""A board as a document: its answer, and sections of sentences and tables, which text and pages render."""

from __future__ import annotations

import bisect
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass, replace
from typing import Any

import pandas as pd

from gahbench._util.readable import level_name, pluralize
from gahbench.board.estimates import DECISIVE, SOURCE, Estimates
from gahbench.board.optimality import STANDARD_ERRORS
from gahbench.board.ranks import PRACTICAL_KINDS
from gahbench.board.results import Results
from gahbench.board.statistics import MIN_SOURCES, Interval
from gahbench.board.tables import base_entrants, independent_images, sources_of
from gahbench.contracts.row_labels import base_label, split_label
from gahbench.planning.units import CHECKS_VERSION
from gahbench.report import cells
from gahbench.report.columns import BY_NAME, SUMMARY, Cell, Column, Table, board_columns, table_of_board, table_of_rows

#: Gains over a baseline in dB, by absolute value, at which the colour of a cell becomes one step stronger. The steps
#: are the same on all boards; those of gains over the noisy images are larger by a factor.
STEPS = (0.5, 1.0, 2.0, 3.0, 4.0, 6.0, 8.0)
_NOISY_SCALE = 3.0


@dataclass(frozen=True)
class Section:
    """The board of a dataset: its label, sentences, its table, which has the name as its title, and notes."""

    dataset: str
    sentences: Sequence[str]
    table: Table
    notes: Sequence[tuple[str, str]] = ()


@dataclass(frozen=True)
class Document:
    """A board: its answer in one sentence, warnings, and sections.

    ``summary`` has the gains over all datasets and on each; it is ``None`` for a board of one dataset. ``names`` lists
    the specs of names, and ``legend`` the meaning of each heading.
    """

    answer: str
    warnings: Sequence[str]
    summary: Table | None
    datasets: Sequence[Section]
    names: Table
    legend: dict[str, str]


def build_document(results: Results, entrants: Collection[str] | None = None) -> Document:
    """Return the board of results as a document, with the rows of all entrants, or of those with the given labels."""
    wide, names, sections = results.leaderboard(full=True), results.names, []
    chosen = wide if entrants is None else wide[wide["entrant"].isin(entrants)]
    columns = [column for column in board_columns(results, wide) if column.views]
    # Without a PSNR, the summary has all columns.
    in_summary = [replace(column, views=(SUMMARY, *column.views)) for column in columns]
    for board in results.board.datasets:
        rows, shown = chosen[chosen["dataset"] == board.dataset], columns if board.is_known("psnr") else in_summary
        table = table_of_board(names.dataset(board.dataset), shown, rows, names).with_values()
        sections.append(Section(board.dataset, list(_sentences(results, board)), table, list(_notes(results, board))))
    summary = _summary(results, wide)
    labels = [(names.entrant(label), label) for label in base_entrants(results)]
    labels += [(section.table.title, section.dataset) for section in sections]
    specs = table_of_rows("Names", ("name", "spec"), [pair for pair in labels if pair[0] != pair[1]], 2)
    tables = [*([summary] if summary else []), *(section.table for section in sections)]
    legend = _legend(results, [column for table in tables for column in table.columns])
    return Document(finding(results), list(_warnings(results)), summary, sections, specs, legend)


def finding(results: Results) -> str:
    """Return which entrant is first, over all datasets if they have common ranks, with its gain over the baseline."""
    boards, gain = results.board.datasets, BY_NAME["gain_over_baseline"]
    rows: Any = results.over_datasets().itertuples(index=False)
    gains: dict[Any, Interval] = {row: gain.interval(row._asdict()) for row in rows}
    clauses = [_clause(results, gains, f"over {sum(board.is_known('psnr') for board in boards)} datasets")]
    for board in boards if not clauses[0] else ():
        gains = {entry: board.estimate(entry.entrant, "gain_over_baseline") for entry in board.entries}
        clauses.append(_clause(results, gains, f"on {results.names.dataset(board.dataset, in_sentence=True)}"))
    size = f"{pluralize(len(base_entrants(results)), 'entrant')} on {pluralize(len(boards), 'dataset')}"
    # The answer names at most three datasets.
    return f"{'; '.join([clause for clause in clauses if clause][:3]) or f'{size}, without ranks'}."


def _clause(results: Results, gains: Mapping[Any, Interval], where: str) -> str:
    """Return which of the ranked entrants may be first; empty if there are none."""
    ranked = [row for row in gains if not pd.isna(row.rank)]
    leaders = [row for row in ranked if row.rank == 1]
    if not leaders:
        return ""
    label, gain, seeds = results.names.entrant(leaders[0].entrant), "", {row.entrant for row in leaders}
    if gains[leaders[0]].is_known:
        over = "" if results.baseline is None else f" over {results.names.entrant(results.baseline)}"
        gain = f" {cells.format_interval(gains[leaders[0]], sign=True)} dB{over}"
    if any(entry.seeds == 1 and entry.entrant in seeds for entry in results.board.entries):
        where += ", after a single training"
    if len(leaders) == 1 and leaders[0].rank_high == 1:
        return f"{label} is first of {len(ranked)} denoisers {where}{gain and f', with a gain of{gain}'}"
    first = f"{len(leaders)} of {pluralize(len(ranked), 'denoiser')} may be first {where}"
    return f"{first}; {label} has the largest mean PSNR{gain and f', a gain of{gain}'}"


def suite_facts(results: Results) -> list[str]:
    """Return the size of a suite in words: entrants, datasets, test images, noise levels and training runs."""
    boards, entries = results.board.datasets, results.board.entries
    # The rows of an entrant for several numbers of training images count once.
    kinds = {base_label(entry.entrant): entry.kind for entry in entries if entry.kind}
    practical = sum(kind in PRACTICAL_KINDS for kind in kinds.values())
    others = len(base_entrants(results)) - practical
    numbers = {split_label(entry.entrant)[1] for entry in entries} - {None}
    scored = [rows for (_, *key), rows in results.rows.items() if key == ["test", "psnr"]]
    images = {rows["image"].dropna().nunique() for rows in scored} - {0}
    levels = {sigma for board in boards for sigma in board.sigmas}
    seeds = {entry.seeds for entry in entries if entry.kind == "trained" and entry.seeds}
    facts = [
        "" if results.version is None else f"version {results.version.version}",
        pluralize(practical, "denoiser") + (f" and {pluralize(others, 'reference')}" if others else ""),
        pluralize(len(boards), "dataset"),
        f"{pluralize(len(numbers), 'number')} of training images" if numbers else "",
        f"{_range(images)} test image{'' if images == {1} else 's'}" if images else "",
        f"σ = {_range(levels, ' and ' if len(levels) == 2 else ' to ')}" if levels else "",
        "trained once each" if seeds == {1} else f"{_range(seeds)} training runs each" if seeds else "",
    ]
    return list(filter(None, facts))


def _range(values: Collection[float], to: str = "–") -> str:
    return to.join(dict.fromkeys(map(level_name, (min(values), max(values)))))


def _summary(results: Results, wide: pd.DataFrame) -> Table | None:
    """Return the ranks and gains over all datasets, the gains and ranks on each dataset, and the cost."""
    names, means = results.names, results.over_datasets().set_index("entrant", drop=False)
    baseline = results.baseline if wide["gain_over_baseline"].notna().any() else None
    gain = "gain_over_noisy" if baseline is None else "gain_over_baseline"
    datasets = list(wide.loc[wide["psnr"].notna(), "dataset"].unique())
    columns = [BY_NAME["rank"], BY_NAME["entrant"], BY_NAME["gain_over_baseline"]]
    columns += [Column(names.dataset(dataset), f"on {dataset}", form=str) for dataset in datasets]
    # The cost is last, so that narrow terminals leave it out first.
    columns.append(replace(BY_NAME["seconds_per_megapixel"], views=(SUMMARY,)))
    optima = {(dataset, check.optimum) for dataset, check in results.optimum_checks.items()}
    best, rows = dict[str, Cell](), []
    for label, own in wide[wide[gain].notna()].groupby("entrant", sort=False):
        kind, on_datasets = own["kind"].iloc[0], dict[str, Cell]()
        for row in own.to_dict("records"):
            if (row["dataset"], label) in optima:
                best[row["dataset"]] = _gain_cell(Interval(row[gain]), "bound" if kind == "bound" else "")
            # The PSNR of the noisy images is constant, so the gain over them has the interval of the PSNR.
            estimate = astuple(BY_NAME["psnr" if baseline is None else gain].interval(row))
            value = Interval(*(end - estimate[0] + row[gain] for end in estimate))
            scale, rank = _NOISY_SCALE if baseline is None else 1.0, BY_NAME["rank"].cell(row, names).text
            on_datasets[row["dataset"]] = _gain_cell(value, rank, scale)
        if label != baseline and kind not in ("optimal", "bound"):
            mean = dict(means.loc[label]) if label in means.index else dict.fromkeys(means, math.nan)
            mean |= {"entrant": label, "note": ""}
            shown = [columns[0].cell(mean, names), columns[1].cell(mean, names), _gain_cell(columns[2].interval(mean))]
            shown += [on_datasets.get(dataset, Cell(cells.DASH)) for dataset in datasets]
            shown.append(columns[-1].cell({columns[-1].name: own[columns[-1].name].mean()}, names))
            # Means over fewer datasets cannot be compared, so these entrants follow.
            rows.append((kind not in PRACTICAL_KINDS, -len(own), -own[gain].mean(), shown))
    if len(datasets) < 2 or not rows:
        return None
    ordered = [row for *_, row in sorted(rows, key=lambda row: row[:-1])]
    if best:
        cell = Cell(cells.DASH)
        ordered.append([cell, Cell("best possible"), cell, *(best.get(dataset, cell) for dataset in datasets), cell])
    title = f"Gain over {'the noisy images' if baseline is None else names.entrant(baseline)} in dB, and rank"
    return Table(title, columns, ordered).with_values()


def colour_step(gain: Interval, scale: float = 1.0) -> int:
    """Return the signed step of the colour of a gain, from −8 to 8; 0 if its interval is unknown or contains 0."""
    steps = 1 + bisect.bisect_right(STEPS, abs(gain.value) / scale)
    return (steps if gain.value > 0 else -steps) if gain.excludes_zero else 0


def _gain_cell(gain: Interval, rank: str = "", scale: float = 1.0) -> Cell:
    # Gains and ranks line up from the left.
    text = f"{cells.number(gain.value, 1, sign=True):>5} {rank.strip(cells.DASH)}".rstrip()
    return Cell(text, f"{gain.value:g}", colour_step(gain, scale)) if gain.is_known else Cell(cells.DASH)


def _legend(results: Results, shown: Sequence[Column]) -> dict[str, str]:
    """Return the meaning of each heading, and of ± and the seeds."""
    meanings = {column.head: column.meaning for column in shown if column.meaning}
    if results.baseline is not None and "gain" in meanings:
        meanings["gain"] += f" The baseline is {results.names.entrant(results.baseline)}."
    meanings["±"] = (
        "Half of a 95 % interval over images and training seeds, or [low, high] if the interval is skewed. An interval "
        f"needs at least {MIN_SOURCES} independent images."
    )
    if {entry.seeds for entry in results.board.entries if entry.seeds} == {1}:
        meanings["±"] += (
            " Each network was trained once: intervals hold for these weights, and do not cover the spread over "
            "training runs, so networks are not ranked among themselves."
        )
    return meanings


def _warnings(results: Results) -> Iterator[str]:
    """Yield what a reader of the ranks must know: flags, rows without a score, and rows that earlier rules checked."""
    entries, versions, frame = results.board.entries, results.checks["version"], results.board.frame
    if violators := [finding.entrant for check in results.optimum_checks.values() for finding in check.violations]:
        names = ", ".join(map(results.names.entrant, dict.fromkeys(violators)))
        yield f"Better than the optimum, which is impossible: {names}."
    if count := sum(bool(entry.flags) for entry in entries):
        yield f"{pluralize(count, 'row')} flagged (!)."
    scored = set(zip(frame["dataset"], frame["entrant"], strict=True))
    if count := sum((entry.dataset, entry.entrant) not in scored for entry in entries):
        yield f"{pluralize(count, 'row')} without scores."
    if count := int((versions < CHECKS_VERSION).sum()):
        yield (
            f"{count} of {len(versions)} rows were checked by earlier rules (version {versions.min()}; today "
            f"{CHECKS_VERSION}): `gahbench run` checks them again."
        )


def _notes(results: Results, board: Estimates) -> Iterator[tuple[str, str]]:
    """Yield the notes on entrants that are flagged, lack scores or seeds, or failed; the CSV has all notes."""
    failed = set(results.failures.loc[results.failures["dataset"] == board.dataset, "entrant"])
    for entry in board.entries:
        is_incomplete = entry.entrant in failed or not board.estimate(entry.entrant, "psnr").is_known
        if entry.note and (entry.flags or is_incomplete or DECISIVE in entry.note):
            yield results.names.entrant(entry.entrant), entry.note


def _sentences(results: Results, board: Estimates) -> Iterator[str]:
    """Yield sentences on a dataset: noise levels, notes, sources of images, optimal slope, optimum, and checks."""
    levels = ", ".join(map(level_name, board.sigmas))
    yield f"{'Mean over' if len(board.sigmas) > 1 else 'At'} σ = {levels}." if levels else "No PSNR."
    for note in results.facts[board.dataset].notes.splitlines():
        yield f"{note[:1].upper()}{note[1:]}."
    count, sources = independent_images(results, board.dataset), sources_of(results, board.dataset)
    if board.is_known("psnr", f"{SOURCE}1"):
        yield (
            f"Intervals and ranks describe these {count} sources of images, such as photographs, and no others: they "
            "are over the images of these sources."
        )
    elif 0 < count < MIN_SOURCES:
        images = pluralize(count, "image") if sources is None else f"{pluralize(count, 'independent source')} of images"
        yield f"No intervals and no ranks: {images}, and {MIN_SOURCES} are needed."
    elif sources is not None and count:
        yield f"Intervals are over {count} sources, such as photographs, whose images are resampled together."
    optimal = board.entries[0].optimal_slope
    if not math.isnan(optimal) and board.is_known("slope"):
        exact = [entry.entrant for entry in board.entries if entry.kind == "optimal"]
        measured = f"that of {results.names.entrant(exact[0])}" if exact else "unknown"
        yield f"The optimal slope {optimal:.2f} is the limit for σ → 0; over these levels it is {measured}."
    if check := results.optimum_checks.get(board.dataset):
        kind = "the exact optimum" if check.kind == "exact" else "a lower bound on the expected error of every denoiser"
        yield f"{results.names.entrant(check.optimum)} is {kind}."
        if check.comparisons and not check.violations:
            compared = f"{pluralize(check.entrants, 'entrant')} in {pluralize(check.comparisons, 'comparison')}"
            none = f"{compared} is not" if check.entrants == 1 else f"none of {compared} is"
            yield f"Checked: {none} better by {STANDARD_ERRORS:g} standard errors."
        if check.missed:
            yield f"Not checked, because scores or images are missing: {check.missed} comparisons."
        if check.refutations:
            refuting = ", ".join(dict.fromkeys(results.names.entrant(finding.entrant) for finding in check.refutations))
            yield f"The errors of {refuting} show that the optimum itself is not the best denoiser."
    kinds, checks = {entry.entrant: entry.kind for entry in board.entries}, results.checks
    checks = checks[(checks["dataset"] == board.dataset) & (checks["version"] >= CHECKS_VERSION)]
    practical = checks.loc[checks["entrant"].map(kinds).isin(PRACTICAL_KINDS), "images"]
    if len(practical) and not practical.any():
        yield (
            "Entrants that know the test images cannot be detected: too few images are scored, or no images are left "
            "for the test."
        )
