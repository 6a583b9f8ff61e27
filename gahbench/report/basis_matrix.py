"""Which basis: the agreement of entrants with every basis as a table, and sentences on what its intervals decide."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from gahbench._util.readable import level_name, pluralize
from gahbench.board.alignments import MEASURES, TRUTH, Measure, parse_agreement
from gahbench.board.board import DatasetBoard
from gahbench.board.display_names import basis_names, basis_phrases
from gahbench.board.ranks import PRACTICAL_KINDS
from gahbench.board.statistics import Interval
from gahbench.report.cells import format_interval
from gahbench.report.finding import as_subject, join

if TYPE_CHECKING:
    from gahbench.board.results import Results

#: The number of steps of colour between an agreement of 0 and 1; negative agreements have steps of the same size.
_STEPS = 8
_MAX_NAMES = 3


@dataclass(frozen=True)
class AgreementCell:
    """The agreement of an entrant with a basis, a cosine; NaN if it is unknown."""

    value: Interval

    @property
    def step(self) -> int:
        """The signed step of the colour, from −8 to 8; 0 if the value is unknown or not decided."""
        if not self.value.excludes_zero:
            return 0
        steps = min(_STEPS, max(1, int(np.ceil(abs(self.value.value) * _STEPS))))
        return steps if self.value.value > 0 else -steps


@dataclass(frozen=True)
class AgreementRow:
    """The agreements of an entrant, a cell for each column."""

    entrant: str
    kind: str
    cells: Sequence[AgreementCell]


@dataclass(frozen=True)
class BasisMatrix:
    """The agreements of entrants (rows) with bases on a dataset, or with the only basis on all datasets (columns).

    ``columns`` holds labels of bases, or of datasets if ``basis`` is the only basis; ``heads`` are their names.
    ``sigma`` is the noise level of all values, or ``None`` for means over noise levels. ``unknown`` holds the denoisers
    without a value, since too many images are left out.
    """

    measure: Measure
    sigma: float | None
    columns: Sequence[str]
    heads: Sequence[str]
    rows: Sequence[AgreementRow]
    dataset: str = ""
    basis: str = ""
    phrases: dict[str, str] = field(default_factory=dict)
    unknown: Sequence[str] = ()

    @property
    def at_level(self) -> str:
        """The noise level in words."""
        return "mean over σ" if self.sigma is None else f"σ = {level_name(self.sigma)}"

    @property
    def practical(self) -> list[AgreementRow]:
        """The rows of denoisers that could be used in practice."""
        return [row for row in self.rows if row.kind in PRACTICAL_KINDS]


def basis_matrices(results: Results) -> list[BasisMatrix]:
    """Return the directions, or else alignments, with bases: a matrix for each dataset, or one for the only basis.

    All values are means over noise levels, or values at the noise level at which most values are known.
    """
    boards = results.board.datasets
    for measure in MEASURES:
        columns = {board.dataset: _columns(board, measure) for board in boards}
        columns = {dataset: bases for dataset, bases in columns.items() if bases}
        if columns:
            sigma = _common_level([board for board in boards if board.dataset in columns], columns)
            return list(_matrices(results, measure, columns, sigma))
    return []


def _columns(board: DatasetBoard, measure: Measure) -> dict[str, str]:
    """Return the metrics of a measure that have values, by basis; the best denoiser comes first."""
    metrics = dict.fromkeys(value.metric for value in board.values if not value.part and value.estimate.is_known)
    parsed = ((metric, parse_agreement(metric)) for metric in metrics)
    bases = {name[1]: metric for metric, name in parsed if name is not None and name[0] == measure}
    return dict(sorted(bases.items(), key=lambda item: item[0] != TRUTH))


def _common_level(boards: Sequence[DatasetBoard], columns: dict[str, dict[str, str]]) -> float | None:
    known: dict[float | None, int] = {None: 0}
    for board in boards:
        metrics = set(columns[board.dataset].values())
        for value in board.values:
            if value.metric in metrics and not value.part:
                known[value.sigma] = known.get(value.sigma, 0) + value.estimate.is_known
    if len(known) == 2:
        return next(level for level in known if level is not None)
    return max(sorted(known, key=lambda level: -1.0 if level is None else level), key=lambda level: known[level])


def _matrices(
    results: Results, measure: Measure, columns: dict[str, dict[str, str]], sigma: float | None
) -> Iterator[BasisMatrix]:
    labels = list(dict.fromkeys(label for bases in columns.values() for label in bases))
    registry = results.registry() if results.registry is not None else None
    phrases = {label: label for label in labels} if registry is None else basis_phrases(registry, labels)
    heads = phrases if registry is None else basis_names(registry, labels)
    if len(labels) == 1:
        boards = [board for board in results.board.datasets if board.dataset in columns]
        metrics = [(board, columns[board.dataset][labels[0]]) for board in boards]
        rows = _rows(metrics, sigma)
        unknown = _unknown(metrics, sigma, rows)
        names = [results.names.dataset(board.dataset) for board in boards]
        datasets = [board.dataset for board in boards]
        yield BasisMatrix(measure, sigma, datasets, names, rows, "", labels[0], phrases, unknown)
        return
    for dataset, bases in columns.items():
        board = results.board.for_dataset(dataset)
        rows = _rows([(board, metric) for metric in bases.values()], sigma)
        names = [heads[label] for label in bases]
        yield BasisMatrix(measure, sigma, list(bases), names, rows, dataset, "", phrases)


def _rows(columns: Sequence[tuple[DatasetBoard, str]], sigma: float | None) -> list[AgreementRow]:
    kinds = {entry.entrant: entry.kind for board, _ in columns for entry in board.entries}
    rows = []
    for entrant, kind in kinds.items():
        cells = [AgreementCell(board.estimate(entrant, metric, sigma=sigma)) for board, metric in columns]
        if any(cell.value.is_known for cell in cells):
            rows.append(AgreementRow(entrant, kind, cells))
    return sorted(rows, key=lambda row: row.kind not in PRACTICAL_KINDS)


def _unknown(
    columns: Sequence[tuple[DatasetBoard, str]], sigma: float | None, rows: Sequence[AgreementRow]
) -> list[str]:
    """Return the denoisers without a row although they were measured: too many of their images were left out."""
    labels = {
        entry.entrant: None
        for board, metric in columns
        for entry in board.entries
        if entry.kind in PRACTICAL_KINDS and board.estimate(entry.entrant, metric, "left-out", sigma=sigma).is_known
    }
    return [label for label in labels if all(row.entrant != label for row in rows)]


def basis_sentences(results: Results, matrix: BasisMatrix) -> list[str]:
    """Return sentences on a matrix; an entrant is closest to a basis only if its intervals show that."""
    return _sentences_on_only_basis(results, matrix) if matrix.basis else _sentences_on_bases(results, matrix)


def _sentences_on_only_basis(results: Results, matrix: BasisMatrix) -> list[str]:
    cells = [
        (row, column, cell) for row in matrix.practical for column, cell in zip(matrix.columns, row.cells, strict=True)
    ]
    known = [item for item in cells if item[2].value.is_known]
    above = [item for item in known if item[2].value.low > 0]
    basis, names = matrix.phrases[matrix.basis], results.names
    only = f"This board compares denoisers with {basis} alone."
    cases = f"{pluralize(len(known), 'case')}, each a denoiser on a dataset"
    if not above:
        return [only, f"The {matrix.measure} is not shown to be above 0 in any of {cases}."]
    row, column, cell = max(above, key=lambda item: item[2].value.value)
    name = as_subject(names.entrant_phrase(row.entrant))
    first = (
        f"The {matrix.measure} is above 0 in {len(above)} of {cases}, and largest for {name} on "
        f"{names.dataset_phrase(column)}: {format_interval(cell.value)}."
    )
    without = [
        names.entrant_phrase(row.entrant)
        for row in matrix.practical
        if any(cell.value.is_known for cell in row.cells) and not any(cell.value.low > 0 for cell in row.cells)
    ]
    second = f"It is not shown to be above 0 for {_format_names(without)} on any dataset." if without else ""
    unknown = [names.entrant_phrase(label) for label in matrix.unknown]
    third = f"It is unknown for {_format_names(unknown).rstrip(',')}: too few images have a value." if unknown else ""
    return list(filter(None, [only, first, second, third]))


def _sentences_on_bases(results: Results, matrix: BasisMatrix) -> list[str]:
    names, where = results.names, results.names.dataset_phrase(matrix.dataset)
    closest: dict[str, list[str]] = {}
    only: dict[str, list[str]] = {}
    undecided: dict[tuple[str, ...], list[str]] = {}
    none = []
    for row in matrix.practical:
        values = {
            label: cell
            for label, cell in zip(matrix.columns, row.cells, strict=True)
            if label != TRUTH and cell.value.is_known
        }
        ordered = sorted(values, key=lambda label: -values[label].value.value)
        name = names.entrant_phrase(row.entrant)
        if not ordered:
            continue
        if not values[ordered[0]].value.low > 0:
            none.append(name)
        elif len(ordered) == 1:
            only.setdefault(ordered[0], []).append(name)
        elif values[ordered[0]].value.low > values[ordered[1]].value.high:
            closest.setdefault(ordered[0], []).append(name)
        else:
            undecided.setdefault(tuple(sorted(ordered[:2])), []).append(name)
    parts = [
        f"{_with_verb(entrants, 'is', 'are')} closest to {matrix.phrases[basis]}" for basis, entrants in closest.items()
    ]
    parts += [
        f"{_with_verb(entrants, 'follows', 'follow')} {matrix.phrases[basis]}, the only basis with a value"
        for basis, entrants in only.items()
    ]
    if len(undecided) == 1:
        ((bases, entrants),) = undecided.items()
        between = " and ".join(matrix.phrases[basis] for basis in bases)
        parts.append(f"{_with_verb(entrants, 'is', 'are')} undecided between {between}")
    elif undecided:
        entrants = [name for names_of_pair in undecided.values() for name in names_of_pair]
        parts.append(f"the intervals of {_format_names(entrants)} do not decide between the two closest bases")
    if none:
        parts.append(f"{_with_verb(none, 'is', 'are')} not shown to follow any basis")
    first = f"On {where}, {'; '.join(parts)}." if parts else ""
    return list(filter(None, [first, _sentence_on_best_denoiser(results, matrix)]))


def _sentence_on_best_denoiser(results: Results, matrix: BasisMatrix) -> str:
    """Return the sentence on the denoiser that follows the best denoiser most, if any is shown to follow it."""
    if TRUTH not in matrix.columns:
        return ""
    index = list(matrix.columns).index(TRUTH)
    above = [row for row in matrix.practical if row.cells[index].value.low > 0]
    if not above:
        return "No denoiser is shown to follow the directions of the best denoiser."
    row = max(above, key=lambda row: row.cells[index].value.value)
    value = format_interval(row.cells[index].value)
    name = as_subject(results.names.entrant(row.entrant))
    scale = "where 1 would be full agreement and 0 none"
    return f"{name} follows the directions of the best denoiser most ({value}, {scale})."


def _with_verb(names: Sequence[str], singular: str, plural: str) -> str:
    return f"{_format_names(names)} {singular if len(names) == 1 else plural}"


def _format_names(names: Sequence[str]) -> str:
    """Return up to three names, or their number."""
    if len(names) > _MAX_NAMES:
        return f"{len(names)} denoisers"
    return join([as_subject(name) for name in names])
