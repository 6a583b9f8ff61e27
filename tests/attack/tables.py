"""What came of campaigns, as text."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from .attempts import Finding
from .harness import Outcome

MIB = 2**20


def print_finding(finding: Finding) -> None:
    """Print the first finding of a place."""
    print(f"\n{finding.place}\n{finding.text[-3000:]}\ncase: {finding.case[:1000]}", file=sys.stderr, flush=True)


def print_table(outcomes: Sequence[Outcome]) -> None:
    """Print the numbers of every campaign, then what was found."""
    print("\ncampaign       cases  errors   hangs  peak MiB  of it before  seconds")
    for one in outcomes:
        sizes = f"{one.peak / MIB:9.0f} {one.before / MIB:13.0f}"
        print(f"{one.name:12} {one.cases:7} {one.errors:7} {one.hangs:7} {sizes} {one.seconds:8.0f}")
    for one in outcomes:
        if not one.is_complete:
            print(f"{one.name}: interrupted")
        for finding in sorted(one.findings.values(), key=lambda finding: -finding.count):
            print(f"{one.name}: {finding.count} times {finding.place}")
    sys.stdout.flush()


def keep(outcome: Outcome, folder: Path) -> None:
    """Write every finding with its case to a file."""
    for place, finding in enumerate(outcome.findings.values()):
        file = folder / f"{outcome.name}-{place}.txt"
        file.parent.mkdir(parents=True, exist_ok=True)
        text = f"{finding.count} times {finding.place}\n\n{finding.text}\n\ncase = {finding.case}\n"
        file.write_text(text, encoding="utf-8", errors="backslashreplace")
