"""Means over datasets, with intervals over datasets: what another family of images would give."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gahbench.board.board import Board, DatasetBoard
from gahbench.board.optimality import PRACTICAL_KINDS
from gahbench.board.ranks import rank_intervals, sorted_by_psnr
from gahbench.board.statistics import UNKNOWN, Array, Estimate, bootstrap_means, estimates

#: With fewer datasets there is no mean over them.
FEWEST = 3


@dataclass(frozen=True)
class Overall:
    """An entrant over datasets.

    Parameters
    ----------
    entrant, kind
        Its label and kind.
    rank, rank_high
        The ends of the interval of its rank; ``None`` for those without a rank.
    psnr, gain
        Means over datasets of its mean PSNR, and of its gain over the baseline, dB, with intervals over datasets.
    """

    entrant: str
    kind: str
    rank: int | None
    rank_high: int | None
    psnr: Estimate
    gain: Estimate


def over_datasets(board: Board) -> list[Overall]:
    """Return the means over datasets of all entrants that have a PSNR on each, best first.

    Whole datasets are resampled, as images are within one (:mod:`gahbench.board.statistics`). None where fewer than
    three datasets are scored.
    """
    scored = [one for one in board.datasets if one.is_known("psnr")]
    if len(scored) < FEWEST:
        return []
    kinds = {entry.entrant: entry.kind for one in scored for entry in one.entries if entry.kind}
    labels = [label for label in kinds if all(one.estimate(label, "psnr").is_known for one in scored)]
    if not labels:
        return []
    psnr = _by_dataset(scored, labels, "psnr")
    middle, draws = psnr.mean(axis=(1, 2)), bootstrap_means(psnr, names=labels)
    gain = _by_dataset(scored, labels, "gain_over_baseline")
    gains = estimates(gain.mean(axis=(1, 2)), bootstrap_means(gain, names=labels))
    ranked = [place for place, label in enumerate(labels) if kinds[label] in PRACTICAL_KINDS]
    low, high = rank_intervals(middle[ranked], draws[:, ranked])
    ranks = {labels[place]: (int(one), int(other)) for place, one, other in zip(ranked, low, high, strict=True)}
    found = {}
    for label, one, other in zip(labels, estimates(middle, draws), gains, strict=True):
        best, worst = ranks.get(label, (None, None))
        found[label] = Overall(label, kinds[label], best, worst, one, other if other.is_known else UNKNOWN)
    return [found[label] for label in sorted_by_psnr(labels, middle)]


def _by_dataset(boards: Sequence[DatasetBoard], entrants: Sequence[str], metric: str) -> Array:
    """Return means over images and noise levels, shape (E, 1, K)."""
    return np.array([[[board.estimate(entrant, metric).value for board in boards]] for entrant in entrants])
