"""The answer of a board in one sentence, from its ranks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeAlias

from gahbench._util.readable import pluralize
from gahbench.board.facts import base_entrants
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
