"""The first screen of a report: its finding, the gains of all entrants, and their distances from the optimum.

The functions depend on results only, so that other pages can show the same drawings.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from markupsafe import Markup

from gahbench._util.readable import level_name, pluralize
from gahbench.board.facts import base_entrants
from gahbench.board.ranks import PRACTICAL_KINDS
from gahbench.board.tables import psnr_rows
from gahbench.contracts.row_labels import base_label, split_label
from gahbench.report.basis_matrix import AgreementRow, BasisMatrix, basis_matrices, basis_sentences
from gahbench.report.cells import format_interval, number, rank
from gahbench.report.finding import Finding, finding
from gahbench.report.heat_map import DistanceLine, HeatMap, distance_lines, heat_map
from gahbench.report.page.strip import Dot, Line, draw_strip

if TYPE_CHECKING:
    from gahbench.board.results import Results

#: The number of highlighted entrants in a strip.
MAX_HIGHLIGHTS = 3
#: The number of rows of a heat map that are shown initially.
FIRST_ROWS = 14
#: With more datasets the heat map takes the whole width of the page.
MAX_COLUMNS = 6
#: The scale of agreements is from this value to 1.
LOWEST_AGREEMENT = -0.3
#: Distances beyond this multiple of the upper quartile are drawn at the end of the scale.
_OUTLIER = 2.5

#: The filters of templates that format gains and ranks.
FILTERS: dict[str, Callable[..., str]] = {
    "gain": lambda gain: number(gain.value, 1, sign=True),
    "half_width": lambda gain: format_interval(gain, sign=True),
    "cosine": lambda value: number(value.value),
    "half": lambda value: "" if math.isnan(value.low) else f"±{(value.high - value.low) / 2:.2f}",
    "decibels": lambda value: number(value, 1),
    "rank": lambda cell: "" if cell.rank is None else rank(cell.rank, cell.rank_high, cell.is_flagged),
}


@dataclass(frozen=True)
class FirstScreen:
    """The content of the first screen; ``distances`` is empty if no optimum is known.

    ``directions`` holds the agreements with bases, and ``strip`` draws those with the only basis.
    """

    facts: Sequence[str]
    finding: Finding
    map: HeatMap
    distances: Markup
    distance_note: str
    directions: Sequence[BasisMatrix]
    sentences: Sequence[str]
    strip: Markup

    @property
    def is_wide(self) -> bool:
        """Whether the heat map takes the whole width."""
        return len(self.map.columns) > MAX_COLUMNS


def first_screen(results: Results, own_title: str = "") -> FirstScreen:
    """Return the content of the first screen of results, whose page may have a title of its own."""
    matrices, lines = basis_matrices(results), distance_lines(results)
    highlights = highlighted_entrants(lines)
    return FirstScreen(
        suite_facts(results),
        finding(results, own_title),
        heat_map(results),
        distance_strip(results, lines, highlights),
        _distance_note(lines),
        matrices,
        basis_sentences(results, matrices[0]) if matrices else (),
        basis_strip(results, matrices[0], highlights) if matrices and matrices[0].basis else Markup(""),
    )


def suite_facts(results: Results) -> list[str]:
    """Return the size of a suite in words: entrants, datasets, test images, noise levels and training runs."""
    # The rows of an entrant for several numbers of training images count once.
    kinds = {base_label(entry.entrant): entry.kind for entry in results.board.entries if entry.kind}
    practical = sum(kind in PRACTICAL_KINDS for kind in kinds.values())
    others = len(base_entrants(results)) - practical
    boards = results.board.datasets
    facts = [
        pluralize(practical, "denoiser") + (f" and {pluralize(others, 'reference')}" if others else ""),
        pluralize(len(boards), "dataset"),
    ]
    if results.version is not None:
        facts.insert(0, f"version {results.version.version}")
    numbers = {split_label(entry.entrant)[1] for entry in results.board.entries} - {None}
    if numbers:
        facts.append(f"{pluralize(len(numbers), 'number')} of training images")
    images = (psnr_rows(results.scores, board.dataset)["image"].dropna().nunique() for board in boards)
    if counts := sorted({int(count) for count in images} - {0}):
        facts.append(f"{_range(counts)} test image{'' if counts == [1] else 's'}")
    if levels := sorted({sigma for board in boards for sigma in board.sigmas}):
        joint = " and " if len(levels) == 2 else " to "
        facts.append(f"σ = {joint.join(dict.fromkeys(map(level_name, (levels[0], levels[-1]))))}")
    seeds = sorted({entry.seeds for entry in results.board.entries if entry.kind == "trained" and entry.seeds})
    if seeds:
        facts.append("trained once each" if seeds == [1] else f"{_range(seeds)} training runs each")
    return facts


def _range(counts: Sequence[int]) -> str:
    return "–".join(map(str, dict.fromkeys((counts[0], counts[-1]))))


def distance_strip(results: Results, lines: Sequence[DistanceLine], highlights: Sequence[str]) -> Markup:
    """Draw the distances from the optimum, a line for each dataset whose optimum is known; empty without a line."""
    if not lines:
        return Markup("")
    distances = np.array([item.high for line in lines for item in line.distances if item.kind in PRACTICAL_KINDS])
    if not len(distances):
        distances = np.array([item.high for line in lines for item in line.distances])
    limit = _OUTLIER * float(np.quantile(distances, 0.75))
    largest = max([float(value) for value in distances if value <= limit], default=1.0)
    drawn = []
    for line in lines:
        dots = [
            Dot(
                results.names.entrant(item.entrant),
                item.high,
                (item.low, item.high) if item.entrant in highlights and math.isfinite(item.low) else None,
                highlights.index(item.entrant) + 1 if item.entrant in highlights else 0,
                item.kind not in PRACTICAL_KINDS,
            )
            for item in line.distances
        ]
        drawn.append(Line(results.names.dataset(line.dataset), "at most, from a bound" if line.is_bound else "", dots))
    return draw_strip(drawn, 0.0, max(largest, 0.1), "dB of mean squared error above the optimum")


def _distance_note(lines: Sequence[DistanceLine]) -> str:
    """Return how to read the strip of distances."""
    bar = " bar: the range where only bounds of the optimum are known;" if any(line.is_bound for line in lines) else ""
    averages = "distances compare mean squared errors, and gains average decibels"
    return f"a dot for each denoiser; hollow: oracles;{bar} {averages}"


def basis_strip(results: Results, matrix: BasisMatrix, others: Sequence[str] = ()) -> Markup:
    """Draw the agreements with the only basis, a line for each dataset and a dot for each entrant.

    The entrants with the largest agreement are highlighted. ``others`` are the entrants that other strips of the page
    highlight: an entrant has the same colour in all strips.
    """
    labels = [row.entrant for row in sorted(matrix.practical, key=lambda row: -max(_known(row)))]
    chosen = labels[:MAX_HIGHLIGHTS]
    highlights = [*others, *(label for label in chosen if label not in others)]
    lines = []
    for index, dataset in enumerate(matrix.columns):
        cells = [(row, row.cells[index].value) for row in matrix.rows if row.cells[index].value.is_known]
        dots = [
            Dot(
                results.names.entrant(row.entrant),
                value.value,
                None if math.isnan(value.low) else (value.low, value.high),
                highlights.index(row.entrant) + 1 if row.entrant in chosen else 0,
                row.kind not in PRACTICAL_KINDS,
                format_interval(value),
            )
            for row, value in cells
        ]
        lines.append(Line(results.names.dataset(dataset), "", dots))
    return draw_strip(lines, LOWEST_AGREEMENT, 1.0, "cosine: 1 for the same directions, 0 for none")


def _known(row: AgreementRow) -> list[float]:
    return [cell.value.value for cell in row.cells if cell.value.is_known]


def highlighted_entrants(lines: Sequence[DistanceLine]) -> list[str]:
    """Return the entrants nearest to the optimum on any dataset, and the farthest, at most three in all."""
    practical = [[item for item in line.distances if item.kind in PRACTICAL_KINDS] for line in lines]
    nearest = Counter(items[0].entrant for items in practical if items)
    chosen = [label for label, _ in nearest.most_common(MAX_HIGHLIGHTS - 1)]
    means: dict[str, list[float]] = {}
    for items in practical:
        for item in items:
            means.setdefault(item.entrant, []).append(item.high)
    complete = {label: float(np.mean(values)) for label, values in means.items() if len(values) == len(lines)}
    limit = _OUTLIER * float(np.median(list(complete.values()))) if complete else 0.0
    others = [(mean, label) for label, mean in complete.items() if label not in chosen and mean <= limit]
    return chosen + [label for _, label in sorted(others)[-1:]]
