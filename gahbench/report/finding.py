"""The answer of a board in one sentence, from its ranks, and the size of its suite."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeAlias

from gahbench._util.readable import level_name, pluralize
from gahbench.board.facts import base_entrants
from gahbench.board.ranks import PRACTICAL_KINDS
from gahbench.board.tables import psnr_rows
from gahbench.contracts.row_labels import base_label, split_label
from gahbench.report.cells import format_interval

if TYPE_CHECKING:
    from gahbench.board.results import Results
    from gahbench.board.statistics import Interval

#: An entrant with the ends of its rank, and its gain.
_Ranked: TypeAlias = "tuple[str, int | None, int | None, Interval]"
#: The largest number of datasets that a sentence names.
_MAX_DATASETS = 3


def finding(results: Results) -> str:
    """Return which entrant is first, over all datasets if they have common ranks, with its gain over the baseline."""
    means = results.means_over_datasets
    ranked: list[_Ranked]
    ranked = [(row.entrant, row.rank, row.rank_high, row.gain) for row in means.rows if row.rank is not None]
    if ranked:
        return f"{_clause(results, ranked, f'over {means.datasets} datasets')}."
    clauses = []
    for board in results.board.datasets:
        entries = [entry for entry in board.entries if entry.rank is not None]
        gains = [board.estimate(entry.entrant, "gain_over_baseline") for entry in entries]
        ranked = [
            (entry.entrant, entry.rank, entry.rank_high, gain) for entry, gain in zip(entries, gains, strict=True)
        ]
        if ranked:
            clauses.append(_clause(results, ranked, f"on {results.names.dataset_phrase(board.dataset)}"))
    if not clauses:
        datasets = pluralize(len(results.board.datasets), "dataset")
        return f"{pluralize(len(base_entrants(results)), 'entrant')} on {datasets}, without ranks."
    others = len(clauses) - _MAX_DATASETS
    more = f"; and more on {pluralize(others, 'other dataset')}" if others > 0 else ""
    return f"{'; '.join(clauses[:_MAX_DATASETS])}{more}."


def _clause(results: Results, ranked: Sequence[_Ranked], where: str) -> str:
    """Return which of the ranked entrants may be first."""
    name = results.names.entrant
    leaders = [row for row in ranked if row[1] == 1]
    entrant, _, rank_high, gain = leaders[0]
    over = "" if results.baseline is None else f" over {name(results.baseline)}"
    amount = f" {format_interval(gain, sign=True)} dB{over}" if gain.is_known else ""
    flagged = {entry.entrant for entry in results.board.entries if entry.flags}
    label = f"{name(entrant)}{' (flagged)' if entrant in flagged else ''}"
    once = any(entry.seeds == 1 for entry in results.board.entries if entry.entrant in [row[0] for row in leaders])
    condition = ", after a single training" if once else ""
    if len(leaders) == 1 and rank_high == 1:
        return f"{label} is first of {len(ranked)} denoisers {where}{condition}{amount and f', with a gain of{amount}'}"
    best = f"{label} has the largest mean PSNR{amount and f', a gain of{amount}'}"
    return f"{len(leaders)} of {pluralize(len(ranked), 'denoiser')} may be first {where}{condition}; {best}"


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
