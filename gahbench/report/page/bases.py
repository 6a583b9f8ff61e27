"""Which basis each denoiser learned: bases ranked by direction and alignment."""

from __future__ import annotations

from gahbench._util.errors import ResultsError
from gahbench.board.alignments import rankings
from gahbench.report.alignments import ranking_figure
from gahbench.report.page.source import Source
from gahbench.report.page.svg import Chart


def basis_charts(source: Source) -> dict[str, list[Chart]]:
    """Return a figure of the ranked bases for each entrant, by dataset; nothing where none was compared."""
    try:
        found = rankings(source.results)
    except ResultsError:
        return {}
    charts: dict[str, list[Chart]] = {}
    for (dataset, entrant), rows in found.items():
        best = max(rows, key=lambda name: rows[name].ranked)
        title = f"{entrant}: closest to {best} ({rows[best].ranked:.2f})"
        charts.setdefault(dataset, []).append(Chart(ranking_figure({"": rows}), title))
    return charts
