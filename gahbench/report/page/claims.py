"""What publications say, as far as a board bears it out or not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gahbench._util.readable import counted
from gahbench.board.claim_values import Table
from gahbench.board.claims import Verdict, judge, known_claims
from gahbench.contracts.claims import CHECKED
from gahbench.report.claims import interval, wanted
from gahbench.report.page.source import Source


@dataclass(frozen=True)
class Judged:
    """A claim that a board decides, or could with more images or seeds.

    Parameters
    ----------
    paper, name
        Who claims it, and ``paper/claim``.
    place
        Where in the paper, and what that was compared with.
    outcome
        ``holds``, ``fails`` or ``undecided``.
    statement
        What is claimed.
    value, region
        The least favourable value with its interval, and where the claim wants it.
    at
        The case that it is of.
    needs
        What would decide it; empty if it is decided.
    """

    paper: str
    name: str
    place: str
    outcome: str
    statement: str
    value: str
    region: str
    at: str
    needs: str


def judged(source: Source) -> Sequence[Judged]:
    """Return the claims that a board measures, by paper."""
    table = Table(source.results.suite, source.results)
    verdicts = [judge(name, claim, [table]) for name, claim in known_claims(source.registry).items()]
    return [_shown(one) for one in verdicts if one.outcome != "not measured"]


def outcomes(found: Sequence[Judged]) -> str:
    """Return how many claims have each outcome, in a line."""
    counts = {outcome: sum(one.outcome == outcome for one in found) for outcome in ("holds", "fails", "undecided")}
    return f"{counted(len(found), 'claim')}: " + ", ".join(f"{count} {name}" for name, count in counts.items() if count)


def _shown(one: Verdict) -> Judged:
    case, claim = one.decisive, one.claim
    assert case is not None
    return Judged(
        str(claim.paper),
        one.name,
        f"{claim.place}; {CHECKED[claim.checked]}",
        one.outcome,
        claim.statement,
        interval(case.estimate),
        str(claim.region),
        f"{case.entrant} on {case.dataset}{f', {case.at}' if case.at else ''}".replace("`", ""),
        wanted(one).replace("`", ""),
    )
