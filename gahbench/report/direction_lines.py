"""Lines about directions above the tables of a dataset: the best denoiser's values, and reasons for missing values."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from gahbench._util.readable import level_name
from gahbench.board.alignments import TRUTH_METRICS, parse_agreement
from gahbench.board.board import DatasetBoard
from gahbench.board.display_names import DisplayNames
from gahbench.report.cells import format_interval

#: The legend of truth-direction and direction.
DIRECTION_LEGEND = (
    "Directions: truth-direction is the cosine of the directions of a denoiser's filters with those of the best "
    "denoiser, where these are known and change from image to image. direction[BASIS] compares with filters in a basis "
    "instead: with graph-laplacian it is the similarity to a bilateral graph of the clean image. A higher value is not "
    "better, and nothing is ranked by it: the best denoiser may have a low value. Its ceiling is √ρ, where ρ is the "
    "agreement of the denoiser with itself under other noise: the largest value for a basis that depends on the clean "
    "image alone. A mean over noise levels needs a value at each level and for each seed."
)
#: Filters whose directional share is below this have no direction.
MIN_SHARE = 0.02
#: Kinds of the best denoiser, and of the bound on it.
BEST_KINDS = ("optimal", "bound")
#: Metrics of directions and alignments that boards show first, in this order.
AGREEMENTS = (TRUTH_METRICS["direction"], "direction", TRUTH_METRICS["alignment"], "alignment")


def direction_lines(board: DatasetBoard, names: DisplayNames) -> Iterator[str]:
    """Yield a line on the directions of the best denoiser, and lines on missing values; nothing without directions."""
    metrics = direction_names(board)
    best = [entry.entrant for entry in board.entries if entry.kind in BEST_KINDS]
    for label in best:
        values = [(metric, board.estimate(label, metric)) for metric in metrics]
        known = [f"{metric} {format_interval(value)}" for metric, value in values if value.is_known]
        if known:
            yield f"Directions of {names.entrant_in_text(label)}: {', '.join(known)}. Nothing is ranked by direction."
    reasons: dict[tuple[str, str, tuple[str, ...]], list[str]] = {}
    for metric in metrics:
        for sigma in board.levels(metric, "left-out"):
            for reason, entrants in _missing(board, metric, sigma).items():
                reasons.setdefault((level_name(sigma), reason, tuple(entrants)), []).append(metric)
    for (level, reason, without_value), missing in reasons.items():
        entrants_text = ", ".join(map(names.entrant_in_text, without_value))
        yield f"No {', '.join(missing)} at σ = {level} for {entrants_text}: {reason}."


def direction_names(board: DatasetBoard) -> list[str]:
    """Return the labels of the metrics of directions, the best denoiser's first."""
    labels = dict.fromkeys(value.metric for value in board.values)
    parsed = {label: agreement for label in labels if (agreement := parse_agreement(label)) is not None}
    names = [label for label, (measure, _, _) in parsed.items() if measure == "direction"]
    return sorted(names, key=lambda label: label != TRUTH_METRICS["direction"])


def _missing(board: DatasetBoard, name: str, sigma: float) -> dict[str, list[str]]:
    """Return the entrants without a value at a noise level, by the reason."""
    missing: dict[str, list[str]] = {}
    share_part = "truth-share" if name == TRUTH_METRICS["direction"] else "basis-share"
    for entry in board.entries:
        label = entry.entrant
        is_measured = board.estimate(label, name, "left-out", sigma).is_known
        if board.estimate(label, name, "", sigma).is_known or not is_measured:
            continue
        share = board.estimate(label, name, share_part, sigma)
        reason = (
            f"the filters that are compared have no direction there ({share_part} {share.value:.3f}, below {MIN_SHARE})"
            if share.value < MIN_SHARE
            else "for one seed or more, fewer than 24 images can be compared, or the compared filters have no direction"
        )
        missing.setdefault(reason, []).append(label)
    return missing


def sort_agreements(families: Sequence[str]) -> list[str]:
    """Return names of metrics with those of directions and alignments first."""
    return sorted(families, key=lambda name: AGREEMENTS.index(name) if name in AGREEMENTS else len(AGREEMENTS))
