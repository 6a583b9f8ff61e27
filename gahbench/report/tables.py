"""The board as text: Markdown for files, rich for terminals, both from the same grids of cells."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gahbench.board.leaderboard import level_name, noise_levels, other_columns
from gahbench.board.optimality import STANDARD_ERRORS
from gahbench.evaluation.rates import input_psnr
from gahbench.report import cells

if TYPE_CHECKING:
    import pandas as pd
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


def markdown(board: pd.DataFrame, results: Results) -> str:
    """Return the board as Markdown that also reads well as plain text.

    Parameters
    ----------
    board
        Of :meth:`Results.leaderboard`.
    """
    blocks = [f"# {results.suite}", caption(board, results)]
    for dataset, rows in board.groupby("dataset", sort=False):
        blocks.append(f"## {dataset}")
        if checked := optimum_line(str(dataset), results):
            blocks.append(checked)
        for grid in grids(rows, results):
            blocks += [f"**{grid.title}**", _aligned(grid)]
        if notes := [f"- `{entrant}`: {note}" for entrant, note in notes_below(rows)]:
            blocks.append("\n".join(notes))
    return "\n\n".join(blocks) + "\n"


def print_board(results: Results, console: Console) -> None:
    """Print the board: in colour on a terminal, wrapping long names; as :func:`markdown` elsewhere."""
    board = results.leaderboard()
    if not console.is_terminal:
        # print would wrap at a width that a file does not have.
        console.out(markdown(board, results), end="", highlight=False)
        return
    from rich.text import Text

    for dataset, rows in board.groupby("dataset", sort=False):
        console.print(Text(f"\n{dataset}", style="bold"))
        if checked := optimum_line(str(dataset), results):
            console.print(Text(checked, style="dim"))
        for grid in grids(rows, results):
            console.print(Text(f"\n{grid.title}", style="italic"))
            console.print(_rich(grid, set(rows.loc[rows["rank"].isna(), "entrant"]), console.width))
        noted = notes_below(rows)
        if noted:
            console.print()
        for entrant, note in noted:
            console.print(Text.assemble((str(entrant), "bold"), f": {note}"))
    console.print(Text("\n" + caption(board, results), style="dim"))


def caption(board: pd.DataFrame, results: Results) -> str:
    """Return how to read the tables, wrapped."""
    lines = [
        "PSNR in dB on the test images, images in [0, 1]; σ is the standard deviation of the noise, so",
        "that noisy images have −20·log10 σ dB. Values are means over images and training seeds, and over",
        "noise levels unless one is named; ± is half the width of the 95 % bootstrap interval over images",
        "(and seeds, if several). Ranked by mean PSNR. Entrants that the paired interval does not tell apart",
        "from the best of their group share its rank (=). Oracles see the clean image and optimal denoisers",
        f"know the distribution: no rank ({cells.DASH}).",
    ]
    if board["deficit"].notna().any():
        lines.append(
            "Deficit: decibels between the mean squared error and the optimal one (± its interval); where only a bound "
            "is known, the least and the most that it can be: from the best denoiser of the board, and from the bound. "
            "KL: likewise the bound on the Kullback-Leibler divergence of the density that a denoiser models, "
            "integrated over the noise levels of the suite, in nats per pixel and channel."
        )
    if results.baseline is not None:
        lines.append(f"Gain: paired difference in PSNR from {results.baseline}.")
    if board["slope"].notna().any():
        lines.append("Slope: output dB per input dB, fitted over all σ; the optimal one holds as σ tends to 0.")
    return textwrap.fill(" ".join(lines), 100, break_on_hyphens=False, break_long_words=False)


def grids(rows: pd.DataFrame, results: Results) -> Iterator[Grid]:
    """Yield the tables of one dataset: the summary, PSNR by noise level, and the other metrics."""
    records = rows.to_dict("records")
    yield _summary(rows, records, results)
    sigmas = noise_levels(rows)
    scored = [row for row in records if not all(cells.missing(row[f"psnr@{level_name(s)}"]) for s in sigmas)]
    if len(sigmas) > 1:
        body = [[str(row["entrant"])] + [_psnr(row, sigma) for sigma in sigmas] for row in scored]
        # Under the values, not under their intervals.
        indent = " " * 6 if any("±" in cell for line in body for cell in line) else ""
        body.append(["(noisy)"] + [cells.number(input_psnr(sigma)) + indent for sigma in sigmas])
        yield from _split("PSNR by noise level", ["entrant"] + [f"σ {level_name(s)}" for s in sigmas], body)
    yield from _deficits(records, sigmas)
    yield from _other_metrics(rows, records)


def optimum_line(dataset: str, results: Results) -> str:
    """Return what is known of a dataset's optimum and whether all denoisers keep to it; empty where nothing is."""
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
    return f"`{check.optimum}` is {known}. Checked: {verdict}{missed}"


def notes_below(rows: pd.DataFrame) -> list[tuple[str, str]]:
    """Return the entrants that have a note, with it, shortened."""
    noted = rows[rows["note"] != ""]
    return [
        (entrant, textwrap.shorten(note, _NOTE, placeholder=" …"))
        for entrant, note in zip(noted["entrant"], noted["note"], strict=True)
    ]


def _summary(rows: pd.DataFrame, records: Sequence[dict[Any, Any]], results: Results) -> Grid:
    """Rank, mean PSNR, gain, slope and cost; a column of which nothing is known is left out."""
    shared = rows["tie_group"].value_counts()
    columns: list[tuple[str, list[str]]] = [
        ("rank", [cells.rank(row["rank"], shared.get(row["tie_group"], 0) > 1) for row in records]),
        ("entrant", [str(row["entrant"]) for row in records]),
        ("kind", [str(row["kind"]) or cells.DASH for row in records]),
        ("PSNR", [cells.with_half_width(row, "psnr") for row in records]),
        ("gain", [cells.with_half_width(row, "gain_over_baseline", sign=True) for row in records]),
        ("slope", [cells.number(row["slope"]) for row in records]),
        ("params", [cells.count(row["parameters"]) for row in records]),
        ("training", [cells.duration(row["train_seconds"]) for row in records]),
        ("seeds", [cells.DASH if cells.missing(row["seeds"]) else str(row["seeds"]) for row in records]),
    ]
    always = ("rank", "entrant", "kind", "PSNR")
    kept = [(name, body) for name, body in columns if name in always or set(body) != {cells.DASH}]
    sigmas = noise_levels(rows)
    title = f"Mean over σ = {', '.join(map(level_name, sigmas))}" if sigmas else "Nothing scored"
    if len(sigmas) == 1:
        title = f"At σ = {level_name(sigmas[0])}; the noisy images have {float(input_psnr(sigmas[0])):.2f} dB"
    if not cells.missing(optimal := rows["optimal_slope"].iloc[0]):
        title += f"; optimal slope {optimal:.2f}"
    return Grid(title, [name for name, _ in kept], [list(row) for row in zip(*(b for _, b in kept), strict=True)], 3)


def _deficits(records: Sequence[dict[Any, Any]], sigmas: Sequence[float]) -> Iterator[Grid]:
    """Yield the distances from the optimum of all that were compared with it, nearest first."""
    compared = [row for row in records if not cells.missing(row["deficit"])]
    if not compared:
        return
    names = [level_name(sigma) for sigma in sigmas]
    columns = {"entrant": [str(row["entrant"]) for row in compared]}
    if len(sigmas) > 1:
        columns["KL (nats)"] = [cells.between(row, "kl", digits=3) for row in compared]
        columns["mean"] = [cells.between(row, "deficit") for row in compared]
    columns |= {f"σ {name}": [cells.between(row, "deficit", level=f"@{name}") for row in compared] for name in names}
    body = [list(row) for row in zip(*columns.values(), strict=True)]
    yield from _split("Deficit from the optimum in dB, and the KL bound", list(columns), body)


def _psnr(row: dict[Any, Any], sigma: float) -> str:
    return cells.with_half_width(row, f"psnr@{level_name(sigma)}")


def _other_metrics(rows: pd.DataFrame, records: Sequence[dict[Any, Any]]) -> Iterator[Grid]:
    """Yield the means over noise levels of every metric but the PSNR.

    A metric with parameters or parts has tables of its own: one for each part, with the parameters above the columns,
    or one for all parts, where there is but one choice of parameters.
    """
    known = [name for name in other_columns(list(rows.columns)) if "@" not in name and rows[name].notna().any()]
    families: dict[str, dict[str, dict[str, str]]] = {}
    for name in known:
        family, variant, part = _taken_apart(name)
        families.setdefault(family, {}).setdefault(part, {})[variant] = name
    plain = {family for family, parts in families.items() if set(parts) == {""} and len(parts[""]) == 1}
    names = [name for family in plain for name in families[family][""].values()]
    yield from _means(
        "Other metrics, means over noise levels, images and seeds", {name: name for name in sorted(names)}, records
    )
    for family, parts in families.items():
        variants = {variant for part in parts.values() for variant in part}
        if family in plain:
            continue
        if len(variants) == 1:
            (variant,) = variants
            columns = {part or family: of[variant] for part, of in parts.items()}
            yield from _means(f"{family}{f'[{variant}]' if variant else ''}, means over noise levels", columns, records)
            continue
        for part, of in parts.items():
            columns = {variant or family: name for variant, name in of.items()}
            yield from _means(f"{family}{f', {part}' if part else ''}: means over noise levels", columns, records)


def _taken_apart(name: str) -> tuple[str, str, str]:
    """Return the name of a metric, its parameters and its part: ``alignment[sym4].null`` has one of each."""
    # Parameters may hold dots, parts and names of metrics do not.
    head, bracket, rest = name.partition("[")
    if not bracket:
        family, _, part = name.partition(".")
        return family, "", part
    variant, _, part = rest.rpartition("]")
    return head, variant, part.removeprefix(".")


def _means(title: str, columns: dict[str, str], records: Sequence[dict[Any, Any]]) -> Iterator[Grid]:
    """Yield a table of the means in some columns of the board, by their headings."""
    scored = [row for row in records if not all(cells.missing(row[name]) for name in columns.values())]
    body = [
        [str(row["entrant"]), *(cells.with_half_width(row, name, digits=3) for name in columns.values())]
        for row in scored
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


def _aligned(grid: Grid) -> str:
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
    """Return a table for a terminal of so many columns: long entrants wrap, numbers never do."""
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
