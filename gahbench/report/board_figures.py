"""The figure of one dataset that is asked for by name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from gahbench._util.errors import ParameterError, ResultsError, listing
from gahbench.board.selection import chosen_labels
from gahbench.registry.registry import Registry
from gahbench.report.figures import figure
from gahbench.report.metric_figures import metrics_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from gahbench.board.results import Results


def draw_board(results: Results, dataset: str | None = None, metrics: Sequence[str] = ()) -> Figure:
    """Draw the figure of a dataset, or some of its metrics (:meth:`gahbench.Results.figure`)."""
    boards = {board.dataset: board for board in results.board.datasets}
    labels = chosen_labels(None if dataset is None else [dataset], boards, "dataset")
    if len(labels) != 1:
        given = "no dataset is named" if dataset is None else f"'{dataset}' names {len(labels)} datasets"
        raise ParameterError(f"{given}; expected one of {listing(boards) or 'none: the results are empty'}")
    (label,) = labels
    if metrics:
        return metrics_figure(results, label, Registry(), [metrics] if isinstance(metrics, str) else metrics)
    drawing = figure(boards[label], results.entrants, results.baseline)
    if drawing is None:
        raise ResultsError(f"no entrant has a PSNR on {label}; expected results with scores")
    return drawing
