"""Verdicts on claims as text: for terminals, Markdown, CSV, JSON and pages."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass
from typing import Any, Literal

import pandas as pd
from rich.console import Console
from rich.text import Text

from gahbench._util.readable import counted
from gahbench.board.claim_values import Table
from gahbench.board.claims import Case, Verdict, judge, known_claims
from gahbench.board.statistics import Interval
from gahbench.board.tables import plain
from gahbench.contracts.claims import CHECKED, OUTCOMES, Claim
from gahbench.registry.registry import Registry
from gahbench.report import cells
from gahbench.report.tables import TextTable, aligned, table_of_rows

Form = Literal["markdown", "csv", "json"]
#: The page of claims of a folder of results folders, and the line below which ``gahbench claims`` wrote it.
CLAIMS, GENERATED = "claims.md", "<!-- generated -->"
_PLURALS = {"holds": "hold", "fails": "fail", "undecided": "undecided"}
_STYLES = {"holds": "green", "fails": "red", "undecided": "yellow", "not measured": "dim"}
_ENDS = ("value", "low", "high")
_COLUMNS = (
    "claim", "verdict", "folder", "dataset", "entrant", "at", *_ENDS, "region", "needs", "reason", "statement",
    "source",
)  # fmt: skip


def summary(outcomes: Sequence[str]) -> str:
    """Return the number of claims, and of the claims with each outcome, in a line."""
    counts = [(outcomes.count(outcome), outcome) for outcome in OUTCOMES]
    parts = ", ".join(f"{count} {outcome}" for count, outcome in counts if count)
    return f"{counted(len(outcomes), 'claim')}{f': {parts}' if parts else ''}"


def exported(verdicts: Sequence[Verdict], form: Form, cases: bool = False) -> str:
    """Return verdicts as Markdown, CSV or JSON."""
    if form == "json":
        return json.dumps([record(one) for one in verdicts], indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    if form == "csv":
        rows = []
        for one in verdicts:
            shown = one.cases if cases else filter(None, [one.decisive])
            unmeasured = Case("", "", "", one.outcome, reason=one.reason)
            rows += [{**record(one), **_case_record(case)} for case in [*shown] or [unmeasured]]
        return str(pd.DataFrame(rows, columns=list(_COLUMNS), dtype=object).to_csv(index=False, lineterminator="\n"))
    names = {outcome: [f"`{one.name}`" for one in verdicts if one.outcome == outcome] for outcome in OUTCOMES}
    by_outcome = [f"- **{outcome}**: {', '.join(of_outcome)}" for outcome, of_outcome in names.items() if of_outcome]
    blocks = [summary([one.outcome for one in verdicts]), "\n".join(by_outcome)]
    by_paper: dict[str, list[Verdict]] = {}
    for one in verdicts:
        by_paper.setdefault(f"{one.name.partition('/')[0]}: {one.claim.paper}", []).append(one)
    for paper, of_paper in by_paper.items():
        blocks += [f"### {paper}", aligned(_table(of_paper))]
        notes = [f"- `{one.claim.id}`: {note}" for one in of_paper if (note := _note(one.claim))]
        blocks += ["\n".join(notes)] if notes else []
        blocks += map(case_list, of_paper) if cases else ()
    return "\n\n".join(blocks) + "\n"


def _note(claim: Claim) -> str:
    """Return the published value, and how the query reads it."""
    return " ".join(filter(None, (claim.published and f"published: {claim.published}.", claim.reading)))


def print_claims(verdicts: Sequence[Verdict], console: Console, cases: bool = False) -> None:
    """Print verdicts: in colour and by claim on a terminal, as Markdown elsewhere."""
    if not console.is_terminal:
        console.out(exported(verdicts, "markdown", cases), end="", highlight=False)
        return

    for one in verdicts:
        head = Text.assemble((one.outcome, _STYLES[one.outcome]), "  ", (one.name, "bold"), "  ", one.claim.statement)
        console.print(head)
        console.print(Text(f"  {_found(one)}", style="dim"))
        for case in one.cases if cases else ():
            console.print(Text(f"    {_case(case)}"))
    console.print(Text(summary([one.outcome for one in verdicts]), style="bold"))


def _table(verdicts: Sequence[Verdict]) -> TextTable:
    """Return verdicts as a table, a row for each claim."""
    head = ["claim", "verdict", "value", "region", "least favourable case", "source", "what would decide it"]
    rows = [
        [
            f"`{one.claim.id}`: {one.claim.statement}",
            f"**{one.outcome}**",
            interval(one.decisive.estimate) if one.decisive else cells.DASH,
            str(one.claim.region),
            f"{where(one.decisive)}{_tally(one)}" if one.decisive else cells.DASH,
            f"{one.claim.place}; {CHECKED[one.claim.checked]}",
            wanted(one),
        ]
        for one in verdicts
    ]
    return table_of_rows("claims", head, rows, len(head))


def _tally(one: Verdict) -> str:
    """Return the number of cases with each outcome, if several cases are measured."""
    found = {outcome: count for outcome, count in one.counted().items() if count and outcome != "not measured"}
    if sum(found.values()) < 2:
        return ""
    parts = ", ".join(f"{count} {_PLURALS[outcome]}" for outcome, count in found.items())
    return f"; of {sum(found.values())} cases {parts}"


def where(case: Case) -> str:
    """Return the entrant, dataset and folder of a case, and which of its values is decisive."""
    place = f"`{case.entrant}` on `{case.dataset}` ({case.folder})"
    return f"{place}, {case.at}" if case.at else place


def interval(one: Interval) -> str:
    """Return a value with its interval, to three digits."""

    def short(value: float) -> str:
        return f"{value:.3g}".replace("-", cells.MINUS)

    if one.low != one.low:
        return short(one.value)
    return f"{short(one.value)} [{short(one.low)}, {short(one.high)}]"


def wanted(one: Verdict) -> str:
    """Return the measurements that would decide a claim; empty if it is decided."""
    if one.outcome == "not measured":
        suite = f"; suite `{one.claim.suite}`" if isinstance(one.claim.suite, str) else ""
        return f"{one.reason}{suite}"
    case = one.decisive
    if one.outcome == "undecided" and case is not None:
        return case.reason or str(case.needs)
    return ""


def record(one: Verdict) -> dict[str, Any]:
    """Return a verdict as JSON's types."""
    claim = one.claim
    return {
        "claim": one.name,
        "statement": claim.statement,
        "source": claim.source,
        "checked": claim.checked,
        "published": claim.published,
        "reading": claim.reading,
        "region": str(claim.region),
        "verdict": one.outcome,
        "reason": one.reason,
        "suite": claim.suite if isinstance(claim.suite, str) else dict(claim.suite),
        "cases": [_case_record(case) for case in one.cases],
    }


def _case_record(case: Case) -> dict[str, Any]:
    """Return a case as JSON's types."""
    return {
        "folder": case.folder,
        "dataset": case.dataset,
        "entrant": case.entrant,
        "verdict": case.outcome,
        "at": case.at,
        **{name: plain(value) for name, value in zip(_ENDS, astuple(case.estimate), strict=True)},
        "values": case.count,
        "reason": case.reason,
        "needs": None if case.needs is None else str(case.needs),
    }


def case_list(one: Verdict) -> str:
    """Return the cases of a verdict as a list in Markdown."""
    lines = [f"- {_case(case)}" for case in one.cases]
    return "\n".join([f"**{one.name}**: {one.outcome}", "", *(lines or [f"- {one.reason}"])])


def _found(one: Verdict) -> str:
    case = one.decisive
    if case is None:
        return wanted(one)
    more = f"; {wanted(one)}" if wanted(one) else ""
    return f"{interval(case.estimate)}, region {one.claim.region}, {where(case)}{more}"


def _case(case: Case) -> str:
    if case.outcome == "not measured":
        return f"not measured: {where(case)}: {case.reason}"
    more = f"; {case.reason or case.needs}" if case.reason or case.needs else ""
    return f"{case.outcome}: {interval(case.estimate)}, {where(case)}{more}"


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
    return [_shown(judge(name, claim, tables)) for name, claim in _claims_of(registry).items()]


@functools.lru_cache(maxsize=1)
def _claims_of(registry: Registry) -> Mapping[str, Claim]:
    """Return the claims of a registry, whose files are read once for all pages of a site."""
    return known_claims(registry)


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
