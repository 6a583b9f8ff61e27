"""Verdicts on claims as text for terminals and pages, and as Markdown, CSV and JSON."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass
from typing import Any, Literal

import pandas as pd
from rich.console import Console
from rich.text import Text

from gahbench._util.readable import pluralize
from gahbench.board.claim_values import Table
from gahbench.board.claims import Case, Verdict, judge, known_claims
from gahbench.board.statistics import Interval
from gahbench.board.tables import plain
from gahbench.contracts.claims import CHECKED, OUTCOMES, Checked, Claim
from gahbench.registry.registry import Registry
from gahbench.report import cells
from gahbench.report.tables import TextTable, markdown_table, table_of_rows

Form = Literal["markdown", "csv", "json"]
#: The page of claims in a folder of results folders, and the line below which ``gahbench claims`` writes its output.
CLAIMS, GENERATED = "claims.md", "<!-- generated -->"
_PLURALS = {"holds": "hold", "fails": "fail", "undecided": "undecided", "not measured": "not measured"}
#: The introduction of unverified claims.
_UNVERIFIED = (
    "No text, abstract or published code that we read confirms these statements and numbers, so they are not counted."
)
_STYLES = {"holds": "green", "fails": "red", "undecided": "yellow", "not measured": "dim"}
_ENDS = ("value", "low", "high")
_COLUMNS = (
    "claim", "verdict", "folder", "dataset", "entrant", "at", *_ENDS, "region", "needs", "reason", "statement",
    "source",
)  # fmt: skip


def summary(outcomes: Sequence[tuple[str, Checked]]) -> str:
    """Return a line with the number of claims, in total and by outcome; unverified claims are counted separately."""
    verified = [outcome for outcome, checked in outcomes if checked != "unverified"]
    counts = [(verified.count(outcome), outcome) for outcome in OUTCOMES]
    parts = ", ".join(
        f"{count} {outcome if count == 1 else _PLURALS.get(outcome, outcome)}" for count, outcome in counts if count
    )
    line = f"{pluralize(len(verified), 'claim')}{f': {parts}' if parts else ''}"
    unverified_count = len(outcomes) - len(verified)
    return f"{line}; {unverified_count} unverified, not counted" if unverified_count else line


def summarize(verdicts: Sequence[Verdict]) -> str:
    """Return a line with the number of verdicts, in total and by outcome; unverified claims are counted separately."""
    return summary([(verdict.outcome, verdict.claim.checked) for verdict in verdicts])


def export_claims(verdicts: Sequence[Verdict], form: Form, cases: bool = False) -> str:
    """Return verdicts as Markdown, CSV or JSON; ``cases`` adds every case to Markdown and CSV."""
    if form == "json":
        return (
            json.dumps([verdict_record(verdict) for verdict in verdicts], indent=1, ensure_ascii=False, allow_nan=False)
            + "\n"
        )
    if form == "csv":
        rows = []
        for verdict in verdicts:
            exported_cases = verdict.cases if cases else filter(None, [verdict.decisive])
            unmeasured = Case("", "", "", verdict.outcome, reason=verdict.reason)
            rows += [{**verdict_record(verdict), **_case_record(case)} for case in [*exported_cases] or [unmeasured]]
        return str(pd.DataFrame(rows, columns=list(_COLUMNS), dtype=object).to_csv(index=False, lineterminator="\n"))
    verified = [verdict for verdict in verdicts if verdict.verified]
    unverified = [verdict for verdict in verdicts if not verdict.verified]
    names = {
        outcome: [f"`{verdict.name}`" for verdict in verified if verdict.outcome == outcome] for outcome in OUTCOMES
    }
    by_outcome = [
        f"- **{outcome}**: {', '.join(outcome_names)}" for outcome, outcome_names in names.items() if outcome_names
    ]
    blocks = [summarize(verdicts), "\n".join(by_outcome), *_paper_sections(verified, cases)]
    if unverified:
        blocks += ["## Unverified claims", _UNVERIFIED, *_paper_sections(unverified, cases)]
    return "\n\n".join(filter(None, blocks)) + "\n"


def _paper_sections(verdicts: Sequence[Verdict], cases: bool) -> Iterator[str]:
    """Yield blocks of Markdown: for each paper a heading, a table of its claims, and notes."""
    by_paper: dict[str, list[Verdict]] = {}
    for verdict in verdicts:
        by_paper.setdefault(f"{verdict.name.partition('/')[0]}: {verdict.claim.paper}", []).append(verdict)
    for paper, paper_verdicts in by_paper.items():
        yield from (f"### {paper}", markdown_table(_table(paper_verdicts)))
        yield "\n".join(
            f"- `{verdict.claim.id}`: {note}" for verdict in paper_verdicts if (note := _note(verdict.claim))
        )
        yield from map(case_list, paper_verdicts) if cases else ()


def _note(claim: Claim) -> str:
    """Return the published value of a claim, and how its query interprets the publication."""
    return " ".join(filter(None, (claim.published and f"published: {claim.published}.", claim.reading)))


def print_claims(verdicts: Sequence[Verdict], console: Console, cases: bool = False) -> None:
    """Print verdicts in colour on a terminal, and as Markdown elsewhere."""
    if not console.is_terminal:
        console.out(export_claims(verdicts, "markdown", cases), end="", highlight=False)
        return

    for verdict in sorted(verdicts, key=lambda verdict: not verdict.verified):
        mark = "" if verdict.verified else " (unverified)"
        head = Text.assemble(
            (f"{verdict.outcome}{mark}", _STYLES[verdict.outcome]), "  ", (verdict.name, "bold"), "  ",
            verdict.claim.statement,
        )  # fmt: skip
        console.print(head)
        console.print(Text(f"  {_describe_decisive_case(verdict)}", style="dim"))
        for case in verdict.cases if cases else ():
            console.print(Text(f"    {_describe_case(case)}"))
    console.print(Text(summarize(verdicts), style="bold"))


def _table(verdicts: Sequence[Verdict]) -> TextTable:
    """Return a table with a row for each claim."""
    head = ["claim", "verdict", "value", "region", "least favourable case", "source", "needed to decide"]
    rows = [
        [
            f"`{verdict.claim.id}`: {verdict.claim.statement}",
            f"**{verdict.outcome}**",
            format_interval(verdict.decisive.estimate) if verdict.decisive else cells.DASH,
            str(verdict.claim.region),
            f"{case_location(verdict.decisive)}{_tally(verdict)}" if verdict.decisive else cells.DASH,
            f"{verdict.claim.location}; {CHECKED[verdict.claim.checked]}",
            needed_measurements(verdict),
        ]
        for verdict in verdicts
    ]
    return table_of_rows("claims", head, rows, len(head))


def _tally(verdict: Verdict) -> str:
    """Return the number of cases with each outcome; empty with fewer than two measured cases."""
    outcomes = verdict.count_outcomes()
    counts = {outcome: count for outcome, count in outcomes.items() if count and outcome != "not measured"}
    if sum(counts.values()) < 2:
        return ""
    parts = ", ".join(f"{count} {_PLURALS[outcome]}" for outcome, count in counts.items())
    return f"; of {sum(counts.values())} cases {parts}"


def case_location(case: Case) -> str:
    """Return the entrant, dataset and folder of a case, and the position of its decisive value."""
    location = f"`{case.entrant}` on `{case.dataset}` ({case.folder})"
    return f"{location}, {case.at}" if case.at else location


def format_interval(estimate: Interval) -> str:
    """Format a value and its interval with three digits."""

    def short(value: float) -> str:
        return f"{value:.3g}".replace("-", cells.MINUS)

    if estimate.low != estimate.low:
        return short(estimate.value)
    return f"{short(estimate.value)} [{short(estimate.low)}, {short(estimate.high)}]"


def needed_measurements(verdict: Verdict) -> str:
    """Return the measurements that would decide a claim; empty if it is decided."""
    if verdict.outcome == "not measured":
        suite = f"; suite `{verdict.claim.suite}`" if isinstance(verdict.claim.suite, str) else ""
        return f"{verdict.reason}{suite}"
    case = verdict.decisive
    if verdict.outcome == "undecided" and case is not None:
        return case.reason or str(case.needs)
    return ""


def verdict_record(verdict: Verdict) -> dict[str, Any]:
    """Return a verdict as a dictionary of JSON types."""
    claim = verdict.claim
    return {
        "claim": verdict.name,
        "statement": claim.statement,
        "source": f"{claim.paper}, {claim.location} ({CHECKED[claim.checked]})",
        "checked": claim.checked,
        "published": claim.published,
        "reading": claim.reading,
        "region": str(claim.region),
        "verdict": verdict.outcome,
        "reason": verdict.reason,
        "suite": claim.suite if isinstance(claim.suite, str) else dict(claim.suite),
        "cases": [_case_record(case) for case in verdict.cases],
    }


def _case_record(case: Case) -> dict[str, Any]:
    """Return a case as a dictionary of JSON types."""
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


def case_list(verdict: Verdict) -> str:
    """Return the cases of a verdict as a Markdown list."""
    lines = [f"- {_describe_case(case)}" for case in verdict.cases]
    return "\n".join([f"**{verdict.name}**: {verdict.outcome}", "", *(lines or [f"- {verdict.reason}"])])


def _describe_decisive_case(verdict: Verdict) -> str:
    case = verdict.decisive
    if case is None:
        return needed_measurements(verdict)
    more = f"; {needed_measurements(verdict)}" if needed_measurements(verdict) else ""
    return f"{format_interval(case.estimate)}, region {verdict.claim.region}, {case_location(case)}{more}"


def _describe_case(case: Case) -> str:
    if case.outcome == "not measured":
        return f"not measured: {case_location(case)}: {case.reason}"
    more = f"; {case.reason or case.needs}" if case.reason or case.needs else ""
    return f"{case.outcome}: {format_interval(case.estimate)}, {case_location(case)}{more}"


@dataclass(frozen=True)
class JudgedClaim:
    """A claim with its verdict, as text for pages."""

    paper: str
    name: str
    location: str
    checked: Checked
    outcome: str
    statement: str
    value: str
    region: str
    at: str
    run: str
    needs: str


def judge_claims(
    registry: Registry,
    tables: Sequence[Table],
    apply: Callable[[Callable[[str], JudgedClaim], Sequence[str]], Iterable[JudgedClaim]] = map,
) -> list[JudgedClaim]:
    """Judge the claims of a registry by tables of results; ``apply`` calls a function for each claim, like ``map``."""
    claims = _registered_claims(registry)
    return list(apply(lambda name: _judged_claim(judge(name, claims[name], tables)), list(claims)))


@functools.lru_cache(maxsize=1)
def _registered_claims(registry: Registry) -> Mapping[str, Claim]:
    """Return the claims of a registry; cached, so that a site reads their files once."""
    return known_claims(registry)


def _judged_claim(verdict: Verdict) -> JudgedClaim:
    case, claim = verdict.decisive, verdict.claim
    return JudgedClaim(
        paper=str(claim.paper),
        name=verdict.name,
        location=f"{claim.location}; {CHECKED[claim.checked]}",
        checked=claim.checked,
        outcome=verdict.outcome,
        statement=claim.statement,
        value=format_interval(case.estimate) if case else cells.DASH,
        region=str(claim.region),
        at=f"{case.entrant} on {case.dataset}{f', {case.at}' if case.at else ''}".replace("`", "") if case else "",
        run=case.folder if case else "",
        needs=needed_measurements(verdict).replace("`", ""),
    )
