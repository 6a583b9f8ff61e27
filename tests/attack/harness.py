"""Campaigns of cases that hypothesis draws and forked processes run, with limits on time and memory.

A module of this folder defines its campaign at its end::

    def attempt(case: bytes, scratch: Path) -> None:
        file = scratch / "image.png"
        file.write_bytes(case)
        with accept_errors():
            read(file)


    CAMPAIGN = Campaign(st.binary(), attempt)
"""

from __future__ import annotations

import contextlib
import faulthandler
import gc
import multiprocessing
import os
import re
import resource
import shutil
import signal
import socket
import sys
import tempfile
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.strategies import SearchStrategy

import gahbench
import gahbench_plugins
from gahbench._util.errors import GahbenchError

#: Length that an error message must not reach.
MAX_ERROR = 4000
#: Maximum length of a traceback or log.
MAX_TEXT = 100_000
GIB = 2**30
#: Number of cases that a process runs in turn, since a fork takes as long as several cases.
BATCH = 20
#: Folders of the attacked code.
OWN = tuple(str(Path(str(package.__file__)).parent) + os.sep for package in (gahbench, gahbench_plugins))


class UnreadableError(AssertionError):
    """A case was refused with an error message that is empty, too long, or not printable in one line."""


@contextlib.contextmanager
def accept_errors() -> Iterator[None]:
    """Accept a :class:`GahbenchError` whose message is a printable line of acceptable length."""
    try:
        yield
    except GahbenchError as error:
        text = str(error)
        if not text.strip() or not text.isprintable() or len(text) >= MAX_ERROR:
            raise UnreadableError(f"{len(text)} characters: {text[:500]!r}") from error


@dataclass(frozen=True)
class Campaign:
    """A strategy for cases, and the function that runs a case.

    ``attempt`` is called with a case and a new empty folder, which is also the working directory. It catches accepted
    errors with :func:`accept_errors`; any other exception is a finding. ``prepare`` is called once before processes are
    forked, to import slow modules.
    """

    strategy: SearchStrategy[Any]
    attempt: Callable[[Any, Path], None]
    prepare: Callable[[], None] = lambda: None


@dataclass
class Outcome:
    """The number of cases that ran, and the number of findings at each location.

    A finding is an unexpected error, a hang, or the end of the process of a case.
    """

    cases: int = 0
    counts: Counter[str] = field(default_factory=Counter)


def run(campaign: Campaign, count: int, run_seed: str = "", seconds: float = 10.0, memory: int = GIB) -> Outcome:
    """Run ``count`` cases, which depend on ``run_seed`` and ``count``."""
    campaign.prepare()
    # Frozen objects stay in memory pages that forked processes share.
    gc.collect()
    gc.freeze()
    batch, outcome = list[Any](), Outcome()

    @seed(run_seed)
    @settings(max_examples=count, database=None, phases=[Phase.generate], deadline=None,
              suppress_health_check=list(HealthCheck))  # fmt: skip
    @given(campaign.strategy)
    def run_in_batches(case: Any) -> None:
        batch.append(case)
        if len(batch) == BATCH:
            run_cases(campaign.attempt, batch, outcome, seconds, memory)
            batch.clear()

    run_in_batches()
    run_cases(campaign.attempt, batch, outcome, seconds, memory)
    gc.unfreeze()
    return outcome


def run_cases(attempt: Callable[[Any, Path], None], cases: Sequence[Any], outcome: Outcome, seconds: float,
              memory: int) -> None:  # fmt: skip
    """Run cases in turn in a forked process; after a case that hangs or ends its process, in a new process."""
    completed = 0
    while completed < len(cases):
        findings = _run_process(attempt, cases[completed:], seconds, memory)
        for case, finding in zip(cases[completed:], findings, strict=False):
            outcome.cases += 1
            if finding is not None:
                location, text = finding
                if location not in outcome.counts:
                    print(f"\n{location}\n{text[-3000:]}\ncase = {case!r:.10000}", file=sys.stderr, flush=True)
                outcome.counts[location] += 1
        completed += len(findings)


def _run_process(attempt: Callable[[Any, Path], None], cases: Sequence[Any], seconds: float,
                 memory: int) -> list[tuple[str, str] | None]:  # fmt: skip
    """Return locations and texts of the findings of the first cases, up to a case that ends the process or hangs.

    At the time limit of a case, the process is killed together with the processes that it started.
    """
    reader, writer = multiprocessing.Pipe(duplex=False)
    scratch = Path(tempfile.mkdtemp(prefix="attack-"))
    findings: list[tuple[str, str] | None] = []
    with tempfile.TemporaryFile() as log:
        process = os.fork()
        if process == 0:
            _run_child(attempt, cases, scratch, writer, log, seconds, memory)
        writer.close()
        is_in_time = True
        try:
            while len(findings) < len(cases) and (is_in_time := reader.poll(seconds)):
                findings.append(reader.recv())
        except EOFError:
            pass
        for kill in (os.killpg, os.kill):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                kill(process, signal.SIGKILL)
        status = os.waitpid(process, 0)[1]
        reader.close()
        # A case may have removed permissions.
        for parent, _, _ in os.walk(scratch):
            os.chmod(parent, 0o700)  # noqa: PTH101
        shutil.rmtree(scratch, ignore_errors=True)
        log.seek(0)
        output = log.read()[-MAX_TEXT:].decode(errors="replace")
    if len(findings) < len(cases):
        frames = re.findall(r'^  File "(.+)", line (\d+) in (.+)$', output.rpartition("Timeout (")[2], re.MULTILINE)
        end = signal.Signals(os.WTERMSIG(status)).name if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
        kind = f"process ended by {end}" if is_in_time else "hang"
        findings.append((f"{kind} in {_innermost_own(frames)}", output))
    return findings


def _run_child(attempt, cases, scratch, writer, log, seconds, memory):  # type: ignore[no-untyped-def]
    """Run the cases, report the finding of each, and end the process."""
    try:
        # A new session, so that processes which a case starts can be killed with this process.
        os.setsid()
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        null = os.open(os.devnull, os.O_RDONLY)
        for source, target in ((null, 0), (log.fileno(), 1), (log.fileno(), 2)):
            os.dup2(source, target)
        sys.stdin, sys.stdout, sys.stderr = open(0), open(1, "w"), open(2, "w")  # noqa: SIM115
        socket.socket.connect = _refuse_connection
        warnings.simplefilter("ignore")
        faulthandler.enable(log)
        if (statm := Path("/proc/self/statm")).exists():
            # The limit of the address space is the current size of this process plus the limit of the cases.
            memory += int(statm.read_text(encoding="ascii").split()[0]) * resource.getpagesize()
            resource.setrlimit(resource.RLIMIT_AS, (memory, resource.RLIM_INFINITY))
        for index, case in enumerate(cases):
            faulthandler.dump_traceback_later(0.9 * seconds, file=log)
            writer.send(_run_case(attempt, case, scratch / str(index)))
    except BaseException:
        # _run_case catches errors of cases, so this error happened between cases.
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)
    finally:
        os._exit(0)


def _run_case(attempt: Callable[[Any, Path], None], case: Any, scratch: Path) -> tuple[str, str] | None:
    """Run a case in an empty folder; return the location and the traceback of an error, or ``None``."""
    scratch.mkdir()
    os.chdir(scratch)
    os.environ["GAHBENCH_CACHE"] = str(scratch / "cache")
    try:
        attempt(case, scratch)
    except BaseException as error:
        # Lift the memory limit for the report, since the case may have used all memory.
        limits = resource.getrlimit(resource.RLIMIT_AS)
        resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, limits[1]))
        text = "".join(traceback.format_exception(error))[-MAX_TEXT // 2 :]
        source = error.__cause__ if isinstance(error, UnreadableError) and error.__cause__ is not None else error
        frames = [(frame.filename, frame.lineno, frame.name) for frame in traceback.extract_tb(source.__traceback__)]
        resource.setrlimit(resource.RLIMIT_AS, limits)
        return f"{type(error).__name__} in {_innermost_own(frames[::-1])}", text
    return None


def _refuse_connection(*arguments: Any) -> None:
    raise OSError("an attempt may not use the network")


def _innermost_own(frames: Sequence[tuple[str, Any, str]]) -> str:
    """Return the line of gahbench that comes first in frames, whose first is the innermost, or else the first line."""
    for file, line, name in [*(frame for frame in frames if frame[0].startswith(OWN)), *frames]:
        return f"{'/'.join(Path(file).parts[-2:])}:{line} in {name}"
    return "an unknown location"
