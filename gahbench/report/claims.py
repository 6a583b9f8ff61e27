"""Verdicts on claims as text: Markdown, CSV and JSON, and in colour on terminals."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, astuple
from typing import Any, Literal

import pandas as pd
from rich.console import Console
from rich.text import Text

from gahbench._util.readable import pluralize
from gahbench.board.claims import Case, Verdict
from gahbench.board.statistics import Interval
from gahbench.contracts.claims import OUTCOMES, Claim, Outcome
from gahbench.report import cells
from gahbench.report.text import markdown_table, table_of_rows

#: The page of claims in a folder of results folders, and the line below which ``gahbench claims`` writes its output.
CLAIMS, GENERATED = "claims.md", "<!-- generated -->"
_PLURALS = {"holds": "hold", "fails": "fail"}
_STYLES = {"holds": "green", "fails": "red", "undecided": "yellow", "not measured": "dim"}
_HEAD = ("claim", "verdict", "value", "region", "least favourable case", "source", "reason")
_UNVERIFIED = """## Unverified claims

No text, abstract or published code that we read confirms these statements and numbers, so they are not counted."""


def summary(verdicts: Sequence[Verdict]) -> str:
    """Return a line with the number of claims, in total and by outcome; unverified claims are counted separately."""
    outcomes = [verdict.outcome for verdict in verdicts if verdict.is_verified]
    unverified_count = len(verdicts) - len(outcomes)
    line = f"{pluralize(len(outcomes), 'claim')}{': ' if outcomes else ''}{_tally(outcomes)}"
    return f"{line}; {unverified_count} unverified, not counted" if unverified_count else line


def _tally(outcomes: Sequence[Outcome]) -> str:
    counts = {outcome: outcomes.count(outcome) for outcome in OUTCOMES if outcome in outcomes}
    return ", ".join(f"{count} {name if count == 1 else _PLURALS.get(name, name)}" for name, count in counts.items())


def by_paper(verdicts: Iterable[Verdict]) -> dict[str, list[Verdict]]:
    """Return verdicts by the reference of their publication."""
    papers: dict[str, list[Verdict]] = {}
    for verdict in verdicts:
        papers.setdefault(str(verdict.claim.paper), []).append(verdict)
    return papers


def export_claims(verdicts: Sequence[Verdict], form: Literal["markdown", "csv", "json"], cases: bool = False) -> str:
    """Return verdicts as Markdown, CSV or JSON, with a row for each claim, or with ``cases`` for each case."""
    if form != "markdown":
        frame = pd.json_normalize([_record(verdict, case) for verdict in verdicts for case in _cases(verdict, cases)])
        frame.columns = frame.columns.str.removeprefix("estimate.")
        if form == "csv":
            return str(frame.to_csv(index=False, lineterminator="\n"))
        return f"{frame.to_json(orient='records', indent=1, force_ascii=False, double_precision=15)}\n"
    verified = [verdict for verdict in verdicts if verdict.is_verified]
    names = {name: [f"`{verdict.name}`" for verdict in verified if verdict.outcome == name] for name in OUTCOMES}
    lists = [f"- **{outcome}**: {', '.join(of_outcome)}" for outcome, of_outcome in names.items() if of_outcome]
    unverified = [verdict for verdict in verdicts if not verdict.is_verified]
    blocks = [summary(verdicts), "\n".join(lists)]
    for title, group in (("", verified), (_UNVERIFIED, unverified)):
        blocks += [title] if group else []
        for paper, of_paper in by_paper(group).items():
            rows = [_cells(verdict, case) for verdict in of_paper for case in _cases(verdict, cases)]
            table = markdown_table(table_of_rows("claims", _HEAD, rows, len(_HEAD)))
            blocks += [f"### {of_paper[0].name.partition('/')[0]}: {paper}", table]
            notes = [f"- `{verdict.claim.id}`: {note}" for verdict in of_paper if (note := _note(verdict.claim))]
            blocks.append("\n".join(notes))
    return "\n\n".join(filter(None, blocks)) + "\n"


def _cases(verdict: Verdict, all_cases: bool) -> Sequence[Case]:
    return verdict.cases if all_cases and verdict.cases else [verdict.decisive]


def _note(claim: Claim) -> str:
    """Return the published value of a claim, and how its query interprets the publication."""
    return " ".join(filter(None, (claim.published and f"published: {claim.published}.", claim.reading)))


def _record(verdict: Verdict, case: Case) -> dict[str, Any]:
    claim = verdict.claim
    texts = {"region": str(claim.region), "statement": claim.statement, "source": f"{claim.paper}, {claim.source}"}
    return {"claim": verdict.name, **asdict(case), **texts}


def _cells(verdict: Verdict, case: Case) -> list[str]:
    """Return the cells of a case in a Markdown table; the decisive case says how many cases there are."""
    claim, measured = verdict.claim, [case.outcome for case in verdict.cases if case.outcome != "not measured"]
    tally = f"; of {len(measured)} cases {_tally(measured)}" if len(measured) > 1 and case is verdict.decisive else ""
    named, place = f"`{claim.id}`: {claim.statement}", f"{location(case)}{tally}"
    estimate = format_interval(case.estimate)
    return [named, f"**{case.outcome}**", estimate, str(claim.region), place, claim.source, case.reason]


def location(case: Case) -> str:
    """Return the entrant, dataset and folder of a case, and the position of its decisive value."""
    place = f"`{case.entrant}` on `{case.dataset}` ({case.folder}){', ' if case.at else ''}{case.at}"
    return place if case.dataset else cells.DASH


def format_interval(estimate: Interval) -> str:
    """Format a value and its interval with three digits."""
    value, low, high = (f"{number:.3g}".replace("-", cells.MINUS) for number in astuple(estimate))
    return f"{value} [{low}, {high}]".removesuffix(" [nan, nan]").replace("nan", cells.DASH)


def print_claims(verdicts: Sequence[Verdict], console: Console, cases: bool = False) -> None:
    """Print verdicts in colour on a terminal, and as Markdown elsewhere."""
    if not console.is_terminal:
        console.out(export_claims(verdicts, "markdown", cases), end="", highlight=False)
        return
    for verdict in sorted(verdicts, key=lambda verdict: not verdict.is_verified):
        mark = "" if verdict.is_verified else " (unverified)"
        outcome = (f"{verdict.outcome}{mark}", _STYLES[verdict.outcome])
        console.print(Text.assemble(outcome, "  ", (verdict.name, "bold"), "  ", verdict.claim.statement))
        for case in _cases(verdict, cases):
            value = f"{format_interval(case.estimate)}, region {verdict.claim.region}"
            console.print(Text(f"  {case.outcome}: {value}, {location(case)} {case.reason}", style="dim"))
    console.print(Text(summary(verdicts), style="bold"))
