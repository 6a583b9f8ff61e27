"""Campaigns: cases drawn by hypothesis, tried in forked processes with bounds on time and memory.

A module of this folder describes its campaign at its foot::

    def attempt(case: bytes, scratch: Path) -> None:
        file = scratch / "image.png"
        file.write_bytes(case)
        with accepted():
            read(file)


    CAMPAIGN = Campaign("images", st.binary(), attempt)
"""

from __future__ import annotations

import contextlib
import gc
import multiprocessing
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.strategies import SearchStrategy

from gahbench._util.errors import GahbenchError

from .attempts import Finding, Limits, findings

#: Characters of an error that is still one line to read.
LONGEST_ERROR = 4000
GIB = 2**30
#: Cases that a process tries in turn: to fork takes as long as many a case.
BATCH = 20


class UnreadableError(AssertionError):
    """A case was refused, but by a text that is empty, of several lines, too long, or not to be printed."""


@contextlib.contextmanager
def accepted() -> Iterator[None]:
    """Let a case be refused by a :class:`GahbenchError` whose text is one line that can be printed and read."""
    try:
        yield
    except GahbenchError as error:
        text = str(error)
        unprintable = sorted({char for char in text if not char.isprintable()})
        if not text.strip():
            raise UnreadableError(f"a {type(error).__name__} without a text") from error
        if unprintable:
            raise UnreadableError(f"characters {unprintable[:10]} in the text {text[:500]!r}") from error
        if len(text) >= LONGEST_ERROR:
            raise UnreadableError(f"{len(text)} characters: {text[:500]!r}") from error


@dataclass(frozen=True)
class Campaign:
    """Cases, and what is tried with each.

    ``attempt`` is called with a case and an empty folder of its own, which is also the working directory; it returns if
    all is well. Refusals are caught by :func:`accepted`; any other exception is a finding. ``prepare`` is called once,
    in the process that others are forked from: for imports that take long.
    """

    name: str
    strategy: SearchStrategy[Any]
    attempt: Callable[[Any, Path], None]
    prepare: Callable[[], None] = lambda: None


@dataclass
class Outcome:
    """The number of tried cases of a campaign, and the first finding of each place."""

    name: str
    cases: int = 0
    seconds: float = 0.0
    findings: dict[str, Finding] = field(default_factory=dict)
    is_complete: bool = False

    def add(self, finding: Finding | None) -> None:
        """Count a case, and print its finding if it is the first of its place."""
        self.cases += 1
        if finding is None:
            return
        known = self.findings.setdefault(finding.place, finding)
        known.count += known is not finding
        if known is finding:
            text = f"\n{finding.place}\n{finding.text[-3000:]}\ncase: {finding.case[:1000]}"
            print(text, file=sys.stderr, flush=True)

    @property
    def hangs(self) -> int:
        """The number of cases that did not end in time."""
        return sum(one.count for one in self.findings.values() if one.kind == "hang")

    @property
    def errors(self) -> int:
        """The number of cases that ended in another fault."""
        return sum(one.count for one in self.findings.values()) - self.hangs


def run(
    campaign: Campaign,
    count: int,
    number: int = 0,
    processes: int = 1,
    time_limit: float = 10.0,
    memory_limit: int = GIB,
) -> Outcome:
    """Try cases, shared out among processes: the same for the same seed ``number``, count and processes."""
    campaign.prepare()
    # Forked processes then leave these pages alone.
    gc.collect()
    gc.freeze()
    started = time.monotonic()
    outcome, limits = Outcome(campaign.name), Limits(time_limit, memory_limit)
    context = multiprocessing.get_context("fork")
    queue = context.SimpleQueue()
    drawers = []
    for place in range(processes):
        share = count // processes + (place < count % processes)
        drawers.append(context.Process(target=_draw, args=(campaign, share, f"{number}-{place}", limits, queue.put)))
        drawers[-1].start()
    try:
        running = processes
        while running:
            drawn = queue.get()
            if drawn is None:
                running -= 1
            for finding in drawn or ():
                outcome.add(finding)
        outcome.is_complete = True
    except KeyboardInterrupt:
        # The table shows the findings until then.
        for drawer in drawers:
            drawer.terminate()
    for drawer in drawers:
        drawer.join()
    gc.unfreeze()
    broken = [drawer.exitcode for drawer in drawers if drawer.exitcode]
    if broken and outcome.is_complete:
        raise RuntimeError(f"{campaign.name}: a process that draws cases ended with status {broken[0]}")
    outcome.seconds = time.monotonic() - started
    return outcome


def _draw(
    campaign: Campaign, count: int, name: str, limits: Limits, report: Callable[[list[Finding | None] | None], None]
) -> None:
    """Draw cases, try them, and report the findings of each batch, and ``None`` at the end."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    batch: list[Any] = []
    options = settings(
        max_examples=count,
        database=None,
        phases=[Phase.generate],
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )

    @seed(name)
    @options
    @given(campaign.strategy)
    def each(case: Any) -> None:
        batch.append(case)
        if len(batch) == BATCH:
            report(list(findings(campaign.attempt, batch, limits)))
            batch.clear()

    try:
        with contextlib.suppress(KeyboardInterrupt):
            if count:
                each()
                report(list(findings(campaign.attempt, batch, limits)))
    finally:
        report(None)


def print_table(outcomes: Sequence[Outcome]) -> None:
    """Print the numbers of every campaign, then what was found."""
    print("\ncampaign       cases  errors   hangs  seconds")
    for one in outcomes:
        print(f"{one.name:12} {one.cases:7} {one.errors:7} {one.hangs:7} {one.seconds:8.0f}")
    for one in outcomes:
        if not one.is_complete:
            print(f"{one.name}: interrupted")
        for finding in sorted(one.findings.values(), key=lambda finding: -finding.count):
            print(f"{one.name}: {finding.count} times {finding.place}")
    sys.stdout.flush()


def keep(outcome: Outcome, folder: Path) -> None:
    """Write every finding with its case to a file."""
    folder.mkdir(parents=True, exist_ok=True)
    for place, finding in enumerate(outcome.findings.values()):
        text = f"{finding.count} times {finding.place}\n\n{finding.text}\n\ncase = {finding.case}\n"
        file = folder / f"{outcome.name}-{place}.txt"
        file.write_text(text, encoding="utf-8", errors="backslashreplace")
