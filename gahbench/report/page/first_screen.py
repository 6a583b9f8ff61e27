"""The facts above a page: the numbers of entrants, datasets, images, noise levels and training runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from gahbench._util.readable import level_name, pluralize
from gahbench.board.facts import base_entrants
from gahbench.board.ranks import PRACTICAL_KINDS
from gahbench.board.tables import psnr_rows
from gahbench.contracts.row_labels import base_label, split_label

if TYPE_CHECKING:
    from gahbench.board.results import Results


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
