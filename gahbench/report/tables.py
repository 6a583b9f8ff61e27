"""The board as text with the same columns in every format: Markdown, terminals, CSV and LaTeX."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from gahbench._util.errors import listing
from gahbench._util.readable import level_name
from gahbench.board.board import DatasetBoard
from gahbench.board.display_names import DisplayNames
from gahbench.board.metric_names import parse_metric_name
from gahbench.board.ranks import OverDatasets
from gahbench.board.rate_curves import METRIC
from gahbench.board.transfer import METRIC as TRANSFER
from gahbench.contracts.row_labels import base_label
from gahbench.evaluation.rates import input_psnr
from gahbench.report import cells
from gahbench.report.cells import (
    Column,
    bracket_column,
    cost_columns,
    estimates_of,
    kind_column,
    overall_columns,
    plain_column,
    rank_column,
    value_column,
)
from gahbench.report.direction_lines import AGREEMENTS, BEST_KINDS, direction_names, sort_agreements
from gahbench.report.legend import checks_line, dataset_lines, legend, rate_lines, short_legend
from gahbench.report.text_summary import text_summary
from gahbench.report.transfer import transfer_columns, transfer_lines, transfer_title

if TYPE_CHECKING:
    from gahbench.board.results import Results

_PAGE_WIDTH = 120
_LABEL_WIDTH = 30  # characters for the entrant when tables are split
_MIN_LABEL_WIDTH = 16  # characters; terminals do not fold labels to a smaller width
_NOTE_LENGTH = 200  # characters; the CSV has the full note
#: Columns that a summary shows even if they have no values.
_REQUIRED_COLUMNS = ("rank", "entrant", "kind", "PSNR")

#: Headings of the table of cost.
_COST_HEADS = ("multiply-adds per pixel", "seconds per megapixel", "training images")


@dataclass(frozen=True)
class TextTable:
    """A text table: its title and its columns."""

    title: str
    columns: Sequence[Column]

    @property
    def rows(self) -> list[tuple[str, ...]]:
        """The texts of the rows."""
        return list(zip(*(column.texts for column in self.columns), strict=True))

    @property
    def entrant_index(self) -> int:
        """The index of the column of entrants."""
        return [column.head for column in self.columns].index("entrant")


def markdown(results: Results, full_legend: bool = False) -> str:
    """Return the board as Markdown that is also readable as plain text."""
    blocks = [f"# {results.suite}", _legend_text(results, full_legend)]
    if results.version is not None:
        blocks.insert(1, f"The suite is frozen: {results.version}.")
    if checks := checks_line(results):
        blocks.append(checks)
    if summary := text_summary(results):
        table = TextTable("", [summary.entrants, *summary.datasets])
        blocks += ["## Summary", f"**{summary.title}**", markdown_table(table)]
    if overall := _overall_table(results):
        blocks += ["## All datasets", f"**{overall.title}**", markdown_table(overall)]
    for board in results.board.datasets:
        blocks.append(f"## {results.names.dataset(board.dataset)}")
        blocks += dataset_lines(board.dataset, results)
        if rates := list(rate_lines(board, results)):
            blocks.append("\n".join(f"- {line}" for line in rates))
        tables = list(_dataset_tables(board, results.names))
        if transfer := results.transfers.get(board.dataset):
            blocks.append("\n".join(f"- {line}" for line in transfer_lines(transfer)))
            tables.insert(1, TextTable(transfer_title(transfer), transfer_columns(transfer, results.names)))
        for table in tables:
            blocks += [f"**{table.title}**", markdown_table(table)]
        if notes := [f"- {results.names.entrant_in_text(entrant)}: {note}" for entrant, note in notes_below(board)]:
            blocks.append("\n".join(notes))
    if specs := [f"- {name}: `{label}`" for name, label in named_labels(results)]:
        blocks += ["## Names", "\n".join(specs)]
    return "\n\n".join(blocks) + "\n"


def print_board(results: Results, console: Console, full_legend: bool = False) -> None:
    """Print the board, in colour and with wrapped names on a terminal, and as :func:`markdown` returns it elsewhere."""
    if not console.is_terminal:
        # console.print would wrap lines at the width of a terminal.
        console.out(markdown(results, full_legend), end="", highlight=False)
        return

    names = results.names
    if summary := text_summary(results):
        console.print(Text(f"\n{summary.title}", style="italic"))
        summary.print(console)
    if overall := _overall_table(results):
        console.print(Text("\nAll datasets", style="bold"))
        console.print(Text(f"\n{overall.title}", style="italic"))
        console.print(_rich_table(overall, {row[1] for row in overall.rows if row[0] == cells.DASH}, console.width))
    for board in results.board.datasets:
        console.print(Text(f"\n{names.dataset(board.dataset)}", style="bold"))
        for line in (*dataset_lines(board.dataset, results), *rate_lines(board, results)):
            console.print(Text(line, style="dim"))
        unranked = {names.entrant(entry.entrant) for entry in board.entries if entry.rank is None}
        tables = list(_dataset_tables(board, names))
        if transfer := results.transfers.get(board.dataset):
            for line in transfer_lines(transfer):
                console.print(Text(line, style="dim"))
            tables.insert(1, TextTable(transfer_title(transfer), transfer_columns(transfer, names)))
        for table in (part for full_table in tables for part in _split(full_table, console.width, 2, _MIN_LABEL_WIDTH)):
            console.print(Text(f"\n{table.title}", style="italic"))
            console.print(_rich_table(table, unranked, console.width))
        if notes := notes_below(board):
            console.print()
        for entrant, note in notes:
            console.print(Text.assemble((names.entrant(entrant), "bold"), f": {note}"))
    console.print(Text(f"\n{_legend_text(results, full_legend)}\n{checks_line(results)}".rstrip(), style="dim"))


def _legend_text(results: Results, is_full: bool) -> str:
    return "\n".join(f"- {line}" for line in legend(results)) if is_full else short_legend(results)


def named_labels(results: Results) -> list[tuple[str, str]]:
    """Return the display names of datasets and entrants that differ from their labels, each with its label."""
    datasets = [(results.names.dataset(board.dataset), board.dataset) for board in results.board.datasets]
    entrants = [(results.names.entrant(label), label) for label in dict.fromkeys(map(base_label, results.entrants))]
    return [(name, label) for name, label in (*datasets, *entrants) if name != label]


def _dataset_tables(board: DatasetBoard, names: DisplayNames) -> Iterator[TextTable]:
    """Yield the tables of a dataset, split to the width of a page: summary, PSNR by noise level, deficits, metrics."""
    yield _summary_table(board, names)
    tables = [_levels_table(board, names)] if len(board.sigmas) > 1 else []
    if board.source_parts:
        tables.append(_sources_table(board, names))
    if board.is_known("deficit"):
        tables.append(_deficits_table(board, names))
    tables += list(_cost_tables(board, names))
    tables += list(_incomplete_tables(board, names))
    tables += [
        _means_table(board, names, title, quantities)
        for title, quantities in metric_columns(board)
        # The transfer gap has a table of its own.
        if quantities and not title.startswith(TRANSFER)
    ]
    for table in tables:
        yield from _split(table, _PAGE_WIDTH - 1, 3, _LABEL_WIDTH - 3)


def _overall_table(results: Results) -> TextTable | None:
    """Return the table of means over datasets; ``None`` if there are too few datasets."""
    means = results.means_over_datasets
    if not means.rows:
        return None
    columns = overall_columns(means.rows)
    # The ranks, if any are known, stay in the first column.
    columns.insert(columns[0].head == "rank", _entrant_column(results.names, [row.entrant for row in means.rows]))
    return TextTable(overall_title(means, results.names), columns)


def _entrant_column(names: DisplayNames, labels: Iterable[str]) -> Column:
    return plain_column("entrant", map(names.entrant, labels), is_text=True)


def overall_title(means: OverDatasets, names: DisplayNames) -> str:
    """Return the title of the means over datasets, which says what their intervals describe."""
    texts = {
        "seeds": "± is over images and seeds, for these datasets",
        "weights": "± is over images, for these datasets and these weights, so networks trained once are not ranked "
        "among themselves",
        "images": "± is over images, for these datasets",
        "": "no intervals and no ranks, since one of the datasets has none",
    }
    fixed = "".join(
        f"; for {names.dataset(name)}, ± is over images of the same few sources" for name in means.fixed_sets
    )
    scope = f"{texts[means.interval_scope]}{fixed}"
    return f"Means over {means.datasets} datasets, of entrants that were scored on all; {scope}"


def notes_below(board: DatasetBoard) -> list[tuple[str, str]]:
    """Return the entrants that have a note, each with its shortened note."""
    noted = [entry for entry in board.entries if entry.note]
    return [(entry.entrant, textwrap.shorten(entry.note, _NOTE_LENGTH, placeholder=" …")) for entry in noted]


def _summary_table(board: DatasetBoard, names: DisplayNames) -> TextTable:
    """Return the table of rank, mean PSNR, gain, slope and cost, without columns that have no values."""
    labels = [entry.entrant for entry in board.entries]
    estimates = partial(estimates_of, board, labels)
    parameters, *costs = cost_columns(board.entries)
    columns = [
        rank_column(board.entries),
        _entrant_column(names, labels),
        kind_column(board.entries),
        value_column("PSNR", estimates("psnr")),
        value_column("gain", estimates("gain_over_baseline"), sign=True),
        plain_column("slope", [cells.number(slope.value) for slope in estimates("slope")]),
        replace(parameters, head="params"),
        *(column for column in costs if column.head in ("training", "seeds")),
    ]
    return TextTable(
        summary_title(board), [column for column in columns if column.head in _REQUIRED_COLUMNS or column.is_known]
    )


def _cost_tables(board: DatasetBoard, names: DisplayNames) -> Iterator[TextTable]:
    """Yield the table of the cost of denoising and of training, if it is known."""
    known = [entry for entry in board.entries if entry.cost.multiply_adds > 0 or entry.cost.seconds > 0]
    if known:
        machines = dict.fromkeys(entry.cost.machine for entry in known if entry.cost.machine)
        title = f"Cost{f'; seconds were measured on {listing(machines)}' if machines else ''}"
        columns = [column for column in cost_columns(known) if column.head in _COST_HEADS and column.is_known]
        yield TextTable(title, [_entrant_column(names, [entry.entrant for entry in known]), *columns])


def summary_title(board: DatasetBoard) -> str:
    """Return the title of a summary, with the noise levels of its means."""
    sigmas = board.sigmas
    if len(sigmas) == 1:
        return f"At σ = {level_name(sigmas[0])}; the noisy images have {float(input_psnr(sigmas[0])):.2f} dB"
    if sigmas:
        return f"Mean over σ = {', '.join(map(level_name, sigmas))}"
    return "No PSNR; other metrics are below" if board.overall_metrics else "Nothing scored"


def _levels_table(board: DatasetBoard, names: DisplayNames) -> TextTable:
    """Return the table of PSNR by noise level, with the PSNR of the noisy images in the last row."""
    labels = _entrants_with_values(board, [("psnr", "", sigma) for sigma in board.sigmas])
    texts = {s: value_column("", estimates_of(board, labels, "psnr", sigma=s)).texts for s in board.sigmas}
    # Align the PSNR of the noisy images with the values rather than with their intervals.
    indent = " " * 6 if any(cells.has_interval(text) for level in texts.values() for text in level) else ""
    levels = [
        plain_column(f"σ {level_name(sigma)}", [*level, cells.number(float(input_psnr(sigma))) + indent])
        for sigma, level in texts.items()
    ]
    return TextTable("PSNR by noise level", [_entrant_column(names, [*labels, "(noisy)"]), *levels])


def _sources_table(board: DatasetBoard, names: DisplayNames) -> TextTable:
    """Return the table of PSNR by source of images."""
    labels = _entrants_with_values(board, [("psnr", "", None)])
    columns = [
        value_column(part.replace("-", " "), estimates_of(board, labels, "psnr", part)) for part in board.source_parts
    ]
    return TextTable("PSNR by source of images, mean over σ", [_entrant_column(names, labels), *columns])


def _deficits_table(board: DatasetBoard, names: DisplayNames) -> TextTable:
    """Return the table of deficits of the entrants that were compared with the optimum, in the order of the board."""
    labels = _entrants_with_values(board, [("deficit", "", None)])

    def bracket(head: str, quantity: str, sigma: float | None = None, digits: int = 2) -> Column:
        ends = (estimates_of(board, labels, quantity, part, sigma) for part in ("min", ""))
        return bracket_column(head, *ends, digits=digits)

    columns = [_entrant_column(names, labels)]
    if len(board.sigmas) > 1:
        columns += [bracket("KL (nats)", "kl", digits=3), bracket("mean", "deficit")]
    columns += [bracket(f"σ {level_name(sigma)}", "deficit", sigma) for sigma in board.sigmas]
    return TextTable("Deficit from the optimum in dB, and the KL bound", columns)


def _entrants_with_values(board: DatasetBoard, quantities: Sequence[tuple[str, str, float | None]]) -> list[str]:
    """Return the entrants that have at least one of the given values, in the order of the board."""
    labels = [entry.entrant for entry in board.entries]
    return [label for label in labels if any(board.estimate(label, *quantity).is_known for quantity in quantities)]


def metric_columns(board: DatasetBoard) -> Iterator[tuple[str, dict[str, tuple[str, str]]]]:
    """Yield the title and the columns, as (metric, part) by heading, of each table of metrics other than the PSNR."""
    families: dict[str, dict[str, dict[str, str]]] = {}
    for metric, part in board.overall_metrics:
        named = parse_metric_name(metric)
        families.setdefault(named.name, {}).setdefault(part, {})[named.parameters] = metric
    plain = {family for family, parts in families.items() if set(parts) == {""} and len(parts[""]) == 1}
    names = sorted(metric for family in plain for metric in families[family][""].values())
    yield "Other metrics, means over noise levels, images and seeds", {name: (name, "") for name in names}
    for family in sort_agreements(list(families)):
        parts = families[family]
        variants = {variant for metrics in parts.values() for variant in metrics}
        if family in plain:
            continue
        if len(variants) == 1:
            (variant,) = variants
            over = "over collapsed noise levels" if family == METRIC else "means over noise levels"
            columns = {part or family: (metrics[variant], part) for part, metrics in parts.items()}
            yield f"{family}{f'[{variant}]' if variant else ''}, {over}", columns
            continue
        for part, metrics in parts.items():
            columns = {variant or family: (metric, part) for variant, metric in metrics.items()}
            if not part and (ceilings := parts.get("ceiling", {})):
                # The ceiling depends on the denoiser alone.
                columns["ceiling"] = (next(iter(ceilings.values())), "ceiling")
            yield f"{family}{f', {part}' if part else ''}: means over noise levels", columns


def _incomplete_tables(board: DatasetBoard, display: DisplayNames) -> Iterator[TextTable]:
    """Yield a table of directions for each noise level, if an entrant has directions at some noise levels only."""
    labels = [entry.entrant for entry in board.entries]
    names = direction_names(board)
    levels = sorted({sigma for name in names for sigma in board.levels(name)})
    if any(
        board.estimate(label, name, sigma=sigma).is_known and not board.estimate(label, name).is_known
        for label in labels
        for name in names
        for sigma in levels
    ):
        quantities = {parse_metric_name(name).parameters or name: (name, "") for name in names}
        if ceilings := [name for name in names if board.levels(name, "ceiling")]:
            # The ceiling depends on the denoiser alone.
            quantities["ceiling"] = (ceilings[0], "ceiling")
        for sigma in levels:
            yield _means_table(board, display, f"Directions at σ = {level_name(sigma)}", quantities, sigma)


def _means_table(
    board: DatasetBoard,
    names: DisplayNames,
    title: str,
    quantities: dict[str, tuple[str, str]],
    sigma: float | None = None,
) -> TextTable:
    """Return the table of some quantities, (metric, part) by heading, at a noise level, or as means over levels."""
    labels = _entrants_with_values(board, [(*quantity, sigma) for quantity in quantities.values()])
    if any(parse_metric_name(metric).name in AGREEMENTS for metric, _ in quantities.values()):
        # The best denoiser comes first, since the other values are compared with its values.
        kinds = {entry.entrant: entry.kind for entry in board.entries}
        labels.sort(key=lambda label: kinds[label] not in BEST_KINDS)
    columns = [_entrant_column(names, labels)]
    for head, quantity in quantities.items():
        texts = value_column(head, estimates_of(board, labels, *quantity, sigma), digits=3).texts
        # Align values without an interval with the values that have one.
        indent = " " * 7 if any(map(cells.has_interval, texts)) else ""
        columns.append(plain_column(head, [text if cells.has_interval(text) else text + indent for text in texts]))
    return TextTable(title, columns)


def _split(table: TextTable, limit: int, gap: int, label_width: int) -> Iterator[TextTable]:
    """Split a table into tables of at most ``limit`` characters a line, each with the column of entrants."""
    title, entrants = table.title, table.entrant_index
    widths = [column.width + gap for column in table.columns]
    widths[entrants] = min(widths[entrants], label_width + gap)
    indices = list(range(entrants + 1))
    for index in range(entrants + 1, len(widths)):
        if indices[-1] != entrants and sum(widths[i] for i in [*indices, index]) > limit:
            yield TextTable(title, [table.columns[i] for i in indices])
            title, indices = f"{table.title}, continued", [entrants]
        indices.append(index)
    yield TextTable(title, [table.columns[i] for i in indices])


def table_of_rows(title: str, heads: Sequence[str], rows: Sequence[Sequence[str]], texts: int) -> TextTable:
    """Return a table of the given rows, whose first ``texts`` columns are aligned to the left."""
    columns = [[row[index] for row in rows] for index in range(len(heads))]
    return TextTable(title, [plain_column(heads[i], column_texts, i < texts) for i, column_texts in enumerate(columns)])


def markdown_table(table: TextTable) -> str:
    """Return a Markdown table whose columns line up in plain text."""
    columns = []
    for column in table.columns:
        head, *body = (text.replace("|", "\\|") for text in (column.head, *column.texts))
        width = max(3, *map(len, [head, *body]))
        pad, rule = (str.ljust, "-" * width) if column.is_left else (str.rjust, "-" * (width - 1) + ":")
        columns.append([pad(head, width), rule, *(pad(text, width) for text in body)])
    return "\n".join(f"| {' | '.join(row)} |" for row in zip(*columns, strict=True))


def _rich_table(table: TextTable, unranked: set[str], width: int) -> Table:
    """Return a table for a terminal of a given width, in which long labels wrap and numbers do not."""
    rich_table = Table(box=box.SIMPLE_HEAD, padding=(0, 1), collapse_padding=True, pad_edge=False, show_edge=False)
    for column in table.columns:
        rich_table.add_column(Text(column.head), justify="left" if column.is_left else "right", no_wrap=True)
    index, widths = table.entrant_index, [column.width for column in table.columns]
    label_width = max(_MIN_LABEL_WIDTH, width - sum(widths) + widths[index] - 2 * len(widths))
    for row in table.rows:
        style = "dim" if row[index] in unranked or row[index] == "(noisy)" else ""
        texts = [cells.fold_label(text, label_width) if i == index else text for i, text in enumerate(row)]
        rich_table.add_row(*map(Text, texts), style=style)
    return rich_table
