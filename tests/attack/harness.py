"""Campaigns of cases that hypothesis draws and forked processes run, with limits on time and memory.

A module of this folder defines its campaign at its end::

    def attempt(case: bytes, scratch: Path) -> None:
        file = scratch / "image.png"
        file.write_bytes(case)
        with accept_errors():
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

#: Length that an error message must not reach.
MAX_ERROR = 4000
GIB = 2**30
#: Number of cases that a process runs in turn, since a fork takes as long as several cases.
BATCH = 20


class UnreadableError(AssertionError):
    """A case was refused with an error message that is empty, too long, or not printable in one line."""


@contextlib.contextmanager
def accept_errors() -> Iterator[None]:
    """Accept a :class:`GahbenchError` whose message is a printable line of acceptable length."""
    try:
        yield
    except GahbenchError as error:
        text = str(error)
        unprintable = sorted({char for char in text if not char.isprintable()})
        if not text.strip():
            raise UnreadableError(f"a {type(error).__name__} without a message") from error
        if unprintable:
            raise UnreadableError(f"characters {unprintable[:10]} in the message {text[:500]!r}") from error
        if len(text) >= MAX_ERROR:
            raise UnreadableError(f"{len(text)} characters: {text[:500]!r}") from error


@dataclass(frozen=True)
class Campaign:
    """A strategy for cases, and the function that runs a case.

    ``attempt`` is called with a case and a new empty folder, which is also the working directory. It catches accepted
    errors with :func:`accept_errors`; any other exception is a finding. ``prepare`` is called once before processes are
    forked, to import slow modules.
    """

    name: str
    strategy: SearchStrategy[Any]
    attempt: Callable[[Any, Path], None]
    prepare: Callable[[], None] = lambda: None


@dataclass
class Outcome:
    """The number of cases of a campaign that ran, and the first finding at each location."""

    name: str
    cases: int = 0
    seconds: float = 0.0
    findings: dict[str, Finding] = field(default_factory=dict)
    is_complete: bool = False

    def add(self, finding: Finding | None) -> None:
        """Count a case, and print its finding if it is the first at its location."""
        self.cases += 1
        if finding is None:
            return
        first = self.findings.setdefault(finding.location, finding)
        first.count += first is not finding
        if first is finding:
            text = f"\n{finding.location}\n{finding.text[-3000:]}\ncase: {finding.case[:1000]}"
            print(text, file=sys.stderr, flush=True)

    @property
    def hangs(self) -> int:
        """The number of cases that did not end in time."""
        return sum(finding.count for finding in self.findings.values() if finding.kind == "hang")

    @property
    def errors(self) -> int:
        """The number of cases that failed for other reasons."""
        return sum(finding.count for finding in self.findings.values()) - self.hangs


def run(
    campaign: Campaign,
    count: int,
    run_seed: int = 0,
    processes: int = 1,
    time_limit: float = 10.0,
    memory_limit: int = GIB,
) -> Outcome:
    """Run ``count`` cases in several processes; cases depend on ``run_seed``, ``count`` and ``processes``."""
    campaign.prepare()
    # Frozen objects stay in memory pages that forked processes share.
    gc.collect()
    gc.freeze()
    started = time.monotonic()
    outcome, limits = Outcome(campaign.name), Limits(time_limit, memory_limit)
    context = multiprocessing.get_context("fork")
    queue = context.SimpleQueue()
    producers = []
    for index in range(processes):
        share = count // processes + (index < count % processes)
        producers.append(
            context.Process(target=_draw, args=(campaign, share, f"{run_seed}-{index}", limits, queue.put))
        )
        producers[-1].start()
    try:
        running = processes
        while running:
            batch = queue.get()
            if batch is None:
                running -= 1
            for finding in batch or ():
                outcome.add(finding)
        outcome.is_complete = True
    except KeyboardInterrupt:
        # The table then shows the findings so far.
        for producer in producers:
            producer.terminate()
    for producer in producers:
        producer.join()
    gc.unfreeze()
    failed = [producer.exitcode for producer in producers if producer.exitcode]
    if failed and outcome.is_complete:
        raise RuntimeError(f"{campaign.name}: a process that draws cases ended with status {failed[0]}")
    outcome.seconds = time.monotonic() - started
    return outcome


def _draw(
    campaign: Campaign, count: int, name: str, limits: Limits, report: Callable[[list[Finding | None] | None], None]
) -> None:
    """Draw and run cases, and report the findings of each batch, and ``None`` at the end."""
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
    def run_in_batches(case: Any) -> None:
        batch.append(case)
        if len(batch) == BATCH:
            report(list(findings(campaign.attempt, batch, limits)))
            batch.clear()

    try:
        with contextlib.suppress(KeyboardInterrupt):
            if count:
                run_in_batches()
                report(list(findings(campaign.attempt, batch, limits)))
    finally:
        report(None)


def print_table(outcomes: Sequence[Outcome]) -> None:
    """Print the counts of every campaign, and then the findings."""
    print("\ncampaign       cases  errors   hangs  seconds")
    for outcome in outcomes:
        numbers = f"{outcome.cases:7} {outcome.errors:7} {outcome.hangs:7} {outcome.seconds:8.0f}"
        print(f"{outcome.name:12} {numbers}")
    for outcome in outcomes:
        if not outcome.is_complete:
            print(f"{outcome.name}: interrupted")
        for finding in sorted(outcome.findings.values(), key=lambda finding: -finding.count):
            print(f"{outcome.name}: {finding.count} times {finding.location}")
    sys.stdout.flush()


def write_findings(outcome: Outcome, folder: Path) -> None:
    """Write every finding with its case to a file."""
    folder.mkdir(parents=True, exist_ok=True)
    for index, finding in enumerate(outcome.findings.values()):
        text = f"{finding.count} times {finding.location}\n\n{finding.text}\n\ncase = {finding.case}\n"
        file = folder / f"{outcome.name}-{index}.txt"
        file.write_text(text, encoding="utf-8", errors="backslashreplace")
