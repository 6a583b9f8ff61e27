"""Verdicts on claims as text: Markdown, CSV and JSON."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, astuple
from typing import Literal

import pandas as pd

from gahbench._util.readable import pluralize
from gahbench.board.claims import Case, Verdict
from gahbench.board.statistics import Interval
from gahbench.contracts.claims import OUTCOMES, Outcome
from gahbench.report import cells
from gahbench.report.columns import table_of_rows
from gahbench.report.text import markdown_table

#: The page of claims in a folder of results folders, and the line below which ``gahbench claims`` writes its output.
CLAIMS, GENERATED = "claims.md", "<!-- generated -->"
_PLURALS = {"holds": "hold", "fails": "fail"}
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
    """Return the number of each outcome as text, such as ``18 hold, 2 undecided``."""
    counts = {outcome: outcomes.count(outcome) for outcome in OUTCOMES if outcome in outcomes}
    return ", ".join(f"{count} {name if count == 1 else _PLURALS.get(name, name)}" for name, count in counts.items())


def _measured(verdict: Verdict) -> list[Outcome]:
    """Return the outcomes of the cases that are measured."""
    return [case.outcome for case in verdict.cases if case.outcome != "not measured"]


def refresh(text: str, verdicts: Iterable[Verdict]) -> str:
    """Return text with the tally of its cases in the brackets after the name of each claim, ``paper/id``."""
    for verdict in verdicts:
        text = re.sub(rf"(`{verdict.name}`)\s\([^)]*\)", rf"\1 ({_tally(_measured(verdict))})", text)
    return text


def by_paper(verdicts: Iterable[Verdict]) -> dict[str, list[Verdict]]:
    """Return verdicts by the reference of their publication."""
    papers: dict[str, list[Verdict]] = {}
    for verdict in verdicts:
        papers.setdefault(str(verdict.claim.paper), []).append(verdict)
    return papers


def export_claims(
    verdicts: Sequence[Verdict], form: Literal["markdown", "lists", "csv", "json"], cases: bool = False
) -> str:
    """Return a row for each claim, or with ``cases`` for each case; ``lists`` are Markdown that fits into terminals."""
    shown = {verdict.name: (cases and verdict.cases) or [verdict.decisive] for verdict in verdicts}
    if form in ("csv", "json"):
        frame = pd.json_normalize([
            {"claim": verdict.name, **asdict(case), "region": str(claim.region), "statement": claim.statement,
             "source": f"{claim.paper}, {claim.source}"}
            for verdict in verdicts for claim in [verdict.claim] for case in shown[verdict.name]
        ])  # fmt: skip
        frame.columns = frame.columns.str.removeprefix("estimate.")
        if form == "csv":
            return str(frame.to_csv(index=False, lineterminator="\n"))
        return f"{frame.to_json(orient='records', indent=1, force_ascii=False, double_precision=15)}\n"
    verified = [verdict for verdict in verdicts if verdict.is_verified]
    order = ("fails", "undecided", "holds", "not measured")
    names = {name: [f"`{verdict.name}`" for verdict in verified if verdict.outcome == name] for name in order}
    known = {outcome: of_outcome for outcome, of_outcome in names.items() if of_outcome}
    bars = "\n".join(f"{outcome:<12} {len(own):>3} {'█' * len(own)}" for outcome, own in known.items())
    lists = "\n".join(f"- **{outcome}**: {', '.join(own)}" for outcome, own in known.items())
    blocks = [summary(verdicts), bars and f"```text\n{bars}\n```", lists]
    for title, group in (("", verified), (_UNVERIFIED, [verdict for verdict in verdicts if not verdict.is_verified])):
        blocks += [title] if group else []
        for paper, of_paper in by_paper(group).items():
            rows = [_cells(verdict, case) for verdict in of_paper for case in shown[verdict.name]]
            table = markdown_table(table_of_rows("claims", _HEAD, rows, len(_HEAD)))
            items = "\n".join(f"- {' – '.join(filter(None, row))}" for row in rows)
            blocks += [f"### {of_paper[0].name.partition('/')[0]}: {paper}", items if form == "lists" else table]
            # The published value, and how the query interprets the publication.
            notes = {
                claim.id: " ".join(filter(None, (claim.published and f"published: {claim.published}.", claim.reading)))
                for claim in (verdict.claim for verdict in of_paper)
            }
            blocks.append("\n".join(f"- `{name}`: {note}" for name, note in notes.items() if note))
    return "\n\n".join(filter(None, blocks)) + "\n"


def _cells(verdict: Verdict, case: Case) -> list[str]:
    """Return the cells of a case in a Markdown table; the decisive case says how many cases there are."""
    claim, measured = verdict.claim, _measured(verdict)
    at = f", {case.at}" if case.at else ""
    place = f"`{case.entrant}` on `{case.dataset}` ({case.folder}){at}" if case.dataset else cells.DASH
    if len(measured) > 1 and case is verdict.decisive:
        place += f"; of {len(measured)} cases {_tally(measured)}"
    outcome, estimate = f"**{case.outcome}**", format_interval(case.estimate)
    return [f"`{claim.id}`: {claim.statement}", outcome, estimate, str(claim.region), place, claim.source, case.reason]


def format_interval(estimate: Interval) -> str:
    """Format a value and its interval with three digits."""
    value, low, high = (f"{number:.3g}".replace("-", cells.MINUS) for number in astuple(estimate))
    return f"{value} [{low}, {high}]".removesuffix(" [nan, nan]").replace("nan", cells.DASH)
