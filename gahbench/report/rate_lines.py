"""Lines of a board on rates: who reaches the optimal one, and why there is none to read."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from gahbench._util.readable import counted
from gahbench.board.metric_names import parse_metric_name
from gahbench.board.rate_courses import METRIC
from gahbench.evaluation.rates import MAX_TERMS, MIN_LEVELS, MIN_TERMS

if TYPE_CHECKING:
    from gahbench.board.board import DatasetBoard
    from gahbench.board.results import Results

#: How to read what :func:`rate_lines` says of the optimal rate.
RATE_LEGEND = (
    "Optimal rate: D = 10·log₁₀(MSE/bound) is read over the noise levels, σ relative to the side of the images, at "
    "which images of N and 2N pixels a side have errors that differ by less than .1 dB. Near-optimal: over 15 dB or "
    "more of them, of bound and denoiser, its slope against input PSNR is within half of the optimal slope less ½, it "
    "deviates from its mean by 1 dB at most, and twice the training moves it by less than .2 dB. "
    f"{METRIC}: that slope, with the largest deviation and the span of the levels in dB."
)


def rate_lines(board: DatasetBoard, results: Results) -> Iterator[str]:
    """Yield what is said of rates above the table of a dataset; nothing where none was measured."""
    found = results.rate_verdicts.get(board.dataset, {})
    said = {(verdict.answer, verdict.reasons) for verdict in found.values()}
    if len(said) == 1 and len(found) > 1:
        ((answer, reasons),) = said
        yield f"Optimal rate: {answer} for all {len(found)} entrants: {'; '.join(reasons)}."
    else:
        for label, verdict in found.items():
            yield f"Optimal rate: `{label}` is {verdict.answer}: {'; '.join(verdict.reasons)}."
    yield from _without_window(board)


def _without_window(board: DatasetBoard) -> Iterator[str]:
    """Yield why there is no rate, for each choice of the parameters of the metric."""
    for metric, part in board.overall_metrics:
        named = parse_metric_name(metric)
        if (named.name, part) != ("rate", "levels"):
            continue
        # The same for every entrant.
        levels = next(
            one.value
            for one in (board.estimate(entry.entrant, metric, part) for entry in board.entries)
            if one.is_known
        )
        if levels < MIN_LEVELS:
            window = "" if named.parameters else f", where an oracle keeps {MIN_TERMS} to {MAX_TERMS:g}·√d coefficients"
            yield (
                f"No {metric}: {counted(int(levels), 'noise level')} in its window{window}; {MIN_LEVELS} are needed: "
                "accepted are larger images, and levels that are closer or of stronger noise."
            )
