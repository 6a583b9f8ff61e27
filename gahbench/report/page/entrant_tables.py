"""Tables of entrants on a page: columns in groups, of which a page shows one at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from gahbench._util.readable import level_name
from gahbench.board.board import DatasetBoard
from gahbench.board.metric_names import parse_metric_name
from gahbench.board.results import Results
from gahbench.report.cells import (
    SUMMARY,
    Column,
    bracket_column,
    cost_columns,
    estimates_of,
    rank_column,
    value_column,
)
from gahbench.report.direction_lines import sort_agreements
from gahbench.report.figures import metric_titles
from gahbench.report.legend import glossary

#: The heading of deficits on pages.
DISTANCE = "distance from optimum"
#: The group of the columns of cost.
COST = "cost"


@dataclass(frozen=True)
class EntrantTable:
    """A table of entrants: their labels and kinds, and columns in groups, of which a page shows one at a time."""

    entrants: Sequence[str]
    kinds: Sequence[str]
    columns: Sequence[Column]

    @property
    def groups(self) -> list[str]:
        """The groups of columns, the summary first."""
        return list(dict.fromkeys(group for column in self.columns for group in column.groups))


def entrant_table(rows: Sequence[Any], columns: Sequence[Column], definitions: Mapping[str, str]) -> EntrantTable:
    """Return a table of entrants for the rows of a board; heads show their definitions as tooltips."""
    # Pages show the kind of an entrant beside its name.
    shown = [replace(column, title=_definition(column, definitions)) for column in columns if column.head != "kind"]
    return EntrantTable([row.entrant for row in rows], [row.kind for row in rows], shown)


def dataset_table(board: DatasetBoard, definitions: Mapping[str, str]) -> EntrantTable:
    """Return the table of a dataset: a summary, and groups of values by noise level, of cost and of other metrics."""
    return entrant_table(board.entries, [column for column in _columns(board) if column.is_known], definitions)


def column_definitions(results: Results) -> dict[str, str]:
    """Return the definitions of columns by their lower-case heading."""
    definitions = {**metric_definitions(results), **glossary(results)}
    definitions = {term.lower(): text for term, text in definitions.items()}
    if deficit := definitions.get("deficit"):
        definitions[DISTANCE] = deficit
    return definitions


def metric_definitions(results: Results) -> dict[str, str]:
    """Return the titles of metrics and of their parts that say more than their name."""
    return {name: title for name, title in metric_titles(results).items() if title != name and name.lower() != "psnr"}


def _definition(column: Column, definitions: Mapping[str, str]) -> str:
    head = column.head.lower()
    return definitions.get(head) or definitions.get(head.partition(",")[0].partition(" (")[0], "")


def _columns(board: DatasetBoard) -> Iterator[Column]:
    values_of = partial(estimates_of, board, [entry.entrant for entry in board.entries])
    has_gain = board.is_known("gain_over_baseline")
    yield rank_column(board.entries)
    if not has_gain:
        yield value_column("PSNR", values_of("psnr"), has_bars=True, groups=(SUMMARY, "PSNR"))
    yield value_column(
        "gain", values_of("gain_over_baseline"), sign=True, has_bars=True, groups=(SUMMARY, "gain by σ", COST)
    )
    ends = values_of("deficit", "min"), values_of("deficit")
    yield bracket_column(DISTANCE, *ends, has_bars=True, groups=(SUMMARY, "distance by σ"))
    parameters, *costs = cost_columns(board.entries)
    yield replace(parameters, groups=(SUMMARY, COST))
    if has_gain:
        yield value_column("PSNR", values_of("psnr"), has_bars=True, groups=("PSNR",))
    yield from _columns_by_level(board, values_of)
    yield bracket_column(
        "KL (nats)", values_of("kl", "min"), values_of("kl"), digits=3, has_bars=True, groups=("slope and KL",)
    )
    yield value_column("slope", values_of("slope"), groups=("slope and KL",))
    for column in costs:
        yield replace(column, groups=(COST,))
    order = sort_agreements(list(dict.fromkeys(parse_metric_name(metric).name for metric, _ in board.overall_metrics)))
    for metric, part in sorted(board.overall_metrics, key=lambda pair: order.index(parse_metric_name(pair[0]).name)):
        head, group = f"{metric}.{part}" if part else metric, parse_metric_name(metric).name
        yield value_column(head, values_of(metric, part), digits=3, has_bars=not part, groups=(group,))


def _columns_by_level(board: DatasetBoard, values_of: Any) -> Iterator[Column]:
    """Yield PSNR by noise level and by source, and gain and deficit by noise level."""
    levels = {sigma: f"σ {level_name(sigma)}" for sigma in board.sigmas}
    for sigma, level in levels.items():
        yield value_column(f"PSNR, {level}", values_of("psnr", sigma=sigma), groups=("PSNR",))
    for part in board.source_parts:
        yield value_column(f"PSNR, {part.replace('-', ' ')}", values_of("psnr", part), groups=("PSNR by source",))
    for sigma, level in levels.items():
        yield value_column(
            f"gain, {level}", values_of("gain_over_baseline", sigma=sigma), sign=True, groups=("gain by σ",)
        )
    for sigma, level in levels.items():
        low, high = values_of("deficit", "min", sigma), values_of("deficit", sigma=sigma)
        yield bracket_column(f"{DISTANCE}, {level}", low, high, groups=("distance by σ",))
