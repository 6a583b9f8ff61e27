"""The board as text: Markdown for files, rich for terminals, both from the same grids of cells."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gahbench._util.readable import level_name
from gahbench.board.board import Board, DatasetBoard, Entry
from gahbench.board.facts import dataset_notes, sources_of
from gahbench.board.metric_names import parse_metric_name
from gahbench.board.optimality import STANDARD_ERRORS
from gahbench.board.over_datasets import over_datasets
from gahbench.board.rate_courses import METRIC
from gahbench.evaluation.rates import input_psnr
from gahbench.report import cells
from gahbench.report.rate_lines import LEGEND, rate_lines

if TYPE_CHECKING:
    from rich.console import Console

    from gahbench.board.results import Results

_WIDTH = 120
_LABEL = 30  # of which so much is for the entrant; a terminal wraps longer ones
_NOTE = 200  # characters of a note; the CSV has all of it


@dataclass(frozen=True)
class Grid:
    """A table of text: its title, its column headings, its rows, and how many columns are text."""

    title: str
    head: list[str]
    rows: list[list[str]]
    texts: int


def markdown(results: Results) -> str:
    """Return the board as Markdown that also reads well as plain text."""
    blocks = [f"# {results.suite}", caption(results.board, results.baseline)]
    if overall := overall_grid(results.board):
        blocks += ["## All datasets", f"**{overall.title}**", aligned(overall)]
    for board in results.board.datasets:
        blocks.append(f"## {board.dataset}")
        blocks += dataset_lines(board.dataset, results)
        if rates := list(rate_lines(board, results)):
            blocks.append("\n".join(f"- {line}" for line in rates))
        for grid in grids(board):
            blocks += [f"**{grid.title}**", aligned(grid)]
        if notes := [f"- `{entrant}`: {note}" for entrant, note in notes_below(board)]:
            blocks.append("\n".join(notes))
    if results.works:
        works = [f"- {work}: {', '.join(f'`{name}`' for name in names)}" for work, names in results.works.items()]
        blocks += ["## What its plugins follow", "\n".join(works)]
    return "\n\n".join(blocks) + "\n"


def print_board(results: Results, console: Console) -> None:
    """Print the board: in colour on a terminal, wrapping long names; as :func:`markdown` elsewhere."""
    if not console.is_terminal:
        # print would wrap at a width that a file does not have.
        console.out(markdown(results), end="", highlight=False)
        return
    from rich.text import Text

    if overall := overall_grid(results.board):
        console.print(Text("\nAll datasets", style="bold"))
        console.print(Text(f"\n{overall.title}", style="italic"))
        console.print(_rich(overall, {row[1] for row in overall.rows if row[0] == cells.DASH}, console.width))
    for board in results.board.datasets:
        console.print(Text(f"\n{board.dataset}", style="bold"))
        for line in (*dataset_lines(board.dataset, results), *rate_lines(board, results)):
            console.print(Text(line, style="dim"))
        for grid in grids(board):
            console.print(Text(f"\n{grid.title}", style="italic"))
            unranked = {entry.entrant for entry in board.entries if entry.rank is None}
            console.print(_rich(grid, unranked, console.width))
        noted = notes_below(board)
        if noted:
            console.print()
        for entrant, note in noted:
            console.print(Text.assemble((entrant, "bold"), f": {note}"))
    console.print(Text("\n" + caption(results.board, results.baseline), style="dim"))


def caption(board: Board, baseline: str | None) -> str:
    """Return how to read the tables, wrapped."""
    lines = [
        "PSNR in dB on the test images, images in [0, 1]; σ is the standard deviation of the noise, so",
        "that noisy images have −20·log10 σ dB. Values are means over images and training seeds, and over",
        "noise levels unless one is named; ± is half the width of the 95 % interval over images and seeds.",
        _on_seeds(board),
        "Ranked by mean PSNR: 1 + the number of entrants that are better, in paired differences, all pairs",
        "compared at once at 95 %; 2–4 is the interval of a rank. Oracles see the clean image and optimal",
        f"denoisers use the distribution: no rank ({cells.DASH}).",
    ]
    if board.is_known("deficit"):
        lines.append(
            "Deficit: decibels between the mean squared error and the optimal one (± its interval); where only a bound "
            "is known, its lower and upper limit: from the best denoiser of the board, and from the bound. "
            "KL: likewise the bound on the Kullback-Leibler divergence of the density that a denoiser models, "
            "integrated over the noise levels of the suite, in nats per pixel and channel; against a bound it is an "
            "upper bound too, a looser one, and its lower limit bounds nothing."
        )
    if baseline is not None:
        lines.append(f"Gain: paired difference in PSNR from {baseline}.")
    if board.is_known("slope"):
        lines.append("Slope: output dB per input dB, fitted over all σ; the optimal one holds as σ tends to 0.")
    if board.is_known(METRIC):
        lines.append(LEGEND)
    if any(entry.marks for entry in board.entries):
        lines.append(
            "Entrants with an exclamation mark at their rank are marked: their scores are in doubt, as said below."
        )
    return textwrap.fill(" ".join(lines), 100, break_on_hyphens=False, break_long_words=False)


def _on_seeds(board: Board) -> str:
    """Return what the intervals cover, by the number of training seeds."""
    seeds = {entry.seeds for entry in board.entries if entry.seeds}
    if not seeds and any(entry.seeds is not None for entry in board.entries):
        return "No network of this suite is scored yet."
    if not seeds:
        return "Nothing was trained by this suite."
    if seeds == {1}:
        return "Each network was trained once: intervals are of these weights, and say nothing about another training."
    return "How far trainings differ is that of all entrants, or an entrant's own where its trainings differ more."


def grids(board: DatasetBoard) -> Iterator[Grid]:
    """Yield the tables of one dataset: the summary, PSNR by noise level, and the other metrics."""
    yield _summary(board)
    sigmas = board.sigmas
    if len(sigmas) > 1:
        body = [
            [entry.entrant, *(_with_half_width(board, entry, "psnr", sigma=sigma) for sigma in sigmas)]
            for entry in board.entries
            if any(board.estimate(entry.entrant, "psnr", sigma=sigma).is_known for sigma in sigmas)
        ]
        # Under the values, not under their intervals.
        indent = " " * 6 if any("±" in cell for line in body for cell in line) else ""
        body.append(["(noisy)"] + [cells.number(float(input_psnr(sigma))) + indent for sigma in sigmas])
        yield from _split("PSNR by noise level", ["entrant"] + [f"σ {level_name(s)}" for s in sigmas], body)
    yield from _deficits(board)
    yield from _other_metrics(board)


def overall_grid(board: Board) -> Grid | None:
    """Return the table of means over datasets; ``None`` where there are too few of them."""
    rows = over_datasets(board)
    if not rows:
        return None
    columns: list[tuple[str, list[str]]] = [
        ("rank", [cells.rank(row.rank, row.rank_high) for row in rows]),
        ("entrant", [row.entrant for row in rows]),
        ("kind", [row.kind for row in rows]),
        ("PSNR", [cells.with_half_width(row.psnr) for row in rows]),
        ("gain", [cells.with_half_width(row.gain, sign=True) for row in rows]),
    ]
    kept = [(name, body) for name, body in columns if set(body) != {cells.DASH}]
    scored = sum(one.is_known("psnr") for one in board.datasets)
    title = f"Means over {scored} datasets, of what was scored on all; ± is over datasets"
    return Grid(title, [name for name, _ in kept], [list(row) for row in zip(*(b for _, b in kept), strict=True)], 3)


def dataset_lines(dataset: str, results: Results) -> list[str]:
    """Return lines on a dataset: what was done to its images, their sources, and its optimum, as far as known."""
    notes = [f"{note[:1].upper()}{note[1:]}." for note in dataset_notes(results, dataset)]
    return [line for line in (*notes, sources_line(dataset, results), optimum_line(dataset, results)) if line]


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
    """Return a line on images that are from the same sources; empty where each has its own."""
    sources = sources_of(results, dataset)
    if sources is None:
        return ""
    return f"Intervals are over {len(set(sources))} sources, such as photographs, whose images are resampled together."


def notes_below(board: DatasetBoard) -> list[tuple[str, str]]:
    """Return the entrants that have a note, with it, shortened."""
    return [
        (entry.entrant, textwrap.shorten(entry.note, _NOTE, placeholder=" …")) for entry in board.entries if entry.note
    ]


def _summary(board: DatasetBoard) -> Grid:
    """Rank, mean PSNR, gain, slope and cost; columns without values are left out."""
    entries = board.entries
    columns: list[tuple[str, list[str]]] = [
        ("rank", [cells.rank(entry.rank, entry.rank_high, bool(entry.marks)) for entry in entries]),
        ("entrant", [entry.entrant for entry in entries]),
        ("kind", [entry.kind or cells.DASH for entry in entries]),
        ("PSNR", [_with_half_width(board, entry, "psnr") for entry in entries]),
        ("gain", [_with_half_width(board, entry, "gain_over_baseline", sign=True) for entry in entries]),
        ("slope", [cells.number(board.estimate(entry.entrant, "slope").value) for entry in entries]),
        ("params", [cells.count(entry.parameters) for entry in entries]),
        ("training", [cells.duration(entry.train_seconds) for entry in entries]),
        ("seeds", [cells.DASH if entry.seeds is None else str(entry.seeds) for entry in entries]),
    ]
    always = ("rank", "entrant", "kind", "PSNR")
    kept = [(name, body) for name, body in columns if name in always or set(body) != {cells.DASH}]
    body = [list(row) for row in zip(*(b for _, b in kept), strict=True)]
    return Grid(summary_title(board), [name for name, _ in kept], body, 3)


def summary_title(board: DatasetBoard) -> str:
    """Return over which noise levels the means of a dataset are, and its optimal slope where it is known."""
    sigmas = board.sigmas
    title = f"Mean over σ = {', '.join(map(level_name, sigmas))}" if sigmas else "Nothing scored"
    if len(sigmas) == 1:
        title = f"At σ = {level_name(sigmas[0])}; the noisy images have {float(input_psnr(sigmas[0])):.2f} dB"
    if not math.isnan(optimal := board.entries[0].optimal_slope):
        title += f"; optimal slope {optimal:.2f}"
    return title


def _deficits(board: DatasetBoard) -> Iterator[Grid]:
    """Yield the distances from the optimum of all that were compared with it, in the order of the board."""
    compared = [entry.entrant for entry in board.entries if board.estimate(entry.entrant, "deficit").is_known]
    if not compared:
        return

    def bracket(entrant: str, quantity: str, sigma: float | None = None, digits: int = 2) -> str:
        low, high = (board.estimate(entrant, quantity, part, sigma) for part in ("min", ""))
        return cells.between(low, high, digits)

    columns = {"entrant": compared}
    if len(board.sigmas) > 1:
        columns["KL (nats)"] = [bracket(entrant, "kl", digits=3) for entrant in compared]
        columns["mean"] = [bracket(entrant, "deficit") for entrant in compared]
    for sigma in board.sigmas:
        columns[f"σ {level_name(sigma)}"] = [bracket(entrant, "deficit", sigma) for entrant in compared]
    body = [list(row) for row in zip(*columns.values(), strict=True)]
    yield from _split("Deficit from the optimum in dB, and the KL bound", list(columns), body)


def _with_half_width(
    board: DatasetBoard,
    entry: Entry,
    metric: str,
    part: str = "",
    sigma: float | None = None,
    sign: bool = False,
    digits: int = 2,
) -> str:
    return cells.with_half_width(board.estimate(entry.entrant, metric, part, sigma), sign, digits)


def _other_metrics(board: DatasetBoard) -> Iterator[Grid]:
    """Yield the means over noise levels of every metric but the PSNR.

    A metric with parameters or parts has tables of its own: one for each part, with the parameters above the columns,
    or one for all parts, where there is but one choice of parameters.
    """
    families: dict[str, dict[str, dict[str, str]]] = {}
    for metric, part in board.overall_metrics:
        named = parse_metric_name(metric)
        families.setdefault(named.name, {}).setdefault(part, {})[named.parameters] = metric
    plain = {family for family, parts in families.items() if set(parts) == {""} and len(parts[""]) == 1}
    names = sorted(metric for family in plain for metric in families[family][""].values())
    yield from _means(
        board, "Other metrics, means over noise levels, images and seeds", {name: (name, "") for name in names}
    )
    for family, parts in families.items():
        variants = {variant for part in parts.values() for variant in part}
        if family in plain:
            continue
        if len(variants) == 1:
            (variant,) = variants
            one = {part or family: (of[variant], part) for part, of in parts.items()}
            over = "over collapsed noise levels" if family == METRIC else "means over noise levels"
            yield from _means(board, f"{family}{f'[{variant}]' if variant else ''}, {over}", one)
            continue
        for part, of in parts.items():
            columns = {variant or family: (metric, part) for variant, metric in of.items()}
            yield from _means(board, f"{family}{f', {part}' if part else ''}: means over noise levels", columns)


def _means(board: DatasetBoard, title: str, columns: dict[str, tuple[str, str]]) -> Iterator[Grid]:
    """Yield a table of means over noise levels: metrics and parts, by their headings."""
    body = [
        [entry.entrant, *(_with_half_width(board, entry, *of, digits=3) for of in columns.values())]
        for entry in board.entries
        if any(board.estimate(entry.entrant, *of).is_known for of in columns.values())
    ]
    # Under the values, where others have intervals.
    for place in range(1, len(columns) + 1):
        if any("±" in line[place] for line in body):
            for line in body:
                line[place] += "" if "±" in line[place] else " " * 7
    if columns:
        yield from _split(title, ["entrant", *columns], body)


def _split(title: str, head: list[str], body: list[list[str]]) -> Iterator[Grid]:
    """Yield a wide table as several that fit the page, each with the entrants in front."""
    widths = [max(map(len, column)) + 3 for column in zip(head, *body, strict=True)]
    widths[0] = min(widths[0], _LABEL)
    start = 1
    while start < len(head):
        end, width = start + 1, widths[0] + widths[start] + 1
        while end < len(head) and width + widths[end] <= _WIDTH:
            width += widths[end]
            end += 1
        yield Grid(
            title if start == 1 else f"{title}, continued",
            [head[0], *head[start:end]],
            [[row[0], *row[start:end]] for row in body],
            1,
        )
        start = end


def aligned(grid: Grid) -> str:
    """Return a Markdown table whose columns line up in plain text."""
    table = [[cell.replace("|", "\\|") for cell in row] for row in [grid.head, *grid.rows]]
    widths = [max(3, *map(len, column)) for column in zip(*table, strict=True)]
    left = [index < grid.texts for index in range(len(widths))]

    def line(row: list[str]) -> str:
        padded = [
            cell.ljust(width) if flush else cell.rjust(width)
            for cell, width, flush in zip(row, widths, left, strict=True)
        ]
        return f"| {' | '.join(padded)} |"

    rule = ["-" * (width - (not flush)) + ":" * (not flush) for width, flush in zip(widths, left, strict=True)]
    return "\n".join([line(table[0]), line(rule), *map(line, table[1:])])


def _rich(grid: Grid, unranked: set[str], width: int) -> Any:
    """Return a table for a terminal of a given width: long entrants wrap, numbers do not."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1), collapse_padding=True, pad_edge=False, show_edge=False)
    for index, name in enumerate(grid.head):
        table.add_column(Text(name), justify="left" if index < grid.texts else "right", no_wrap=True)
    at = grid.head.index("entrant")
    widths = [max(map(len, column)) for column in zip(grid.head, *grid.rows, strict=True)]
    room = max(16, width - sum(widths) + widths[at] - 2 * len(widths))
    for row in grid.rows:
        style = "dim" if row[at] in unranked or row[at] == "(noisy)" else ""
        table.add_row(*(Text(cells.folded(cell, room) if i == at else cell) for i, cell in enumerate(row)), style=style)
    return table
