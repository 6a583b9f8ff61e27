"""What publications say, as far as boards bear it out or not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gahbench.board.claim_values import Table
from gahbench.board.claims import Verdict, judge, known_claims
from gahbench.contracts.claims import CHECKED
from gahbench.registry.registry import Registry
from gahbench.report import cells
from gahbench.report.claims import interval, wanted


@dataclass(frozen=True)
class Judged:
    """A claim, held against boards."""

    paper: str
    name: str
    place: str
    outcome: str
    statement: str
    value: str
    region: str
    at: str
    run: str
    needs: str


def judged(registry: Registry, tables: Sequence[Table]) -> list[Judged]:
    """Return the claims of a registry as tidy tables decide them, by paper."""
    return [_shown(judge(name, claim, tables)) for name, claim in known_claims(registry).items()]


def _shown(one: Verdict) -> Judged:
    case, claim = one.decisive, one.claim
    return Judged(
        paper=str(claim.paper),
        name=one.name,
        place=f"{claim.place}; {CHECKED[claim.checked]}",
        outcome=one.outcome,
        statement=claim.statement,
        value=interval(case.estimate) if case else cells.DASH,
        region=str(claim.region),
        at=f"{case.entrant} on {case.dataset}{f', {case.at}' if case.at else ''}".replace("`", "") if case else "",
        run=case.folder if case else "",
        needs=wanted(one).replace("`", ""),
    )
