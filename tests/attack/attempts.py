"""One attempt in a process of its own, and what came of it."""

from __future__ import annotations

import faulthandler
import os
import pickle
import re
import resource
import select
import shutil
import signal
import socket
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import gahbench
import gahbench_plugins

#: Folders of the code that is attacked.
OWN = tuple(str(Path(str(package.__file__)).parent) + os.sep for package in (gahbench, gahbench_plugins))
#: Bytes of a report or a log that are read.
MOST_TEXT = 100_000
KIB = 1024


@dataclass
class Finding:
    """A case that did not end as it should.

    Parameters
    ----------
    kind
        ``error``, an exception; ``hang``; ``end``, of the process; or ``memory``.
    place
        The last line of gahbench that took part, with the kind of fault: one finding for each is kept.
    text
        Traceback.
    case
        The case as Python writes it.
    count
        How many cases ended so.
    """

    kind: str
    place: str
    text: str
    case: str
    count: int = 1


@dataclass(frozen=True)
class Result:
    """What came of a case: the most bytes that its process held, and a finding, if it is one."""

    peak: int
    finding: Finding | None = None


def tried(
    attempt: Callable[[Any, Path], None], case: Any, time_limit: float, memory_limit: int, before: int | None = None
) -> Result:
    """Try a case in a forked process, which is killed when its time is over, with all that it started.

    Parameters
    ----------
    before
        Bytes that such a process holds before it does anything; ``None`` if they are not known yet.
    """
    with tempfile.TemporaryFile() as log:
        scratch = Path(tempfile.mkdtemp(prefix="attack-"))
        reader, writer = os.pipe()
        process = os.fork()
        if process == 0:
            os.close(reader)
            _child(attempt, case, scratch, writer, log, time_limit, memory_limit)
        os.close(writer)
        try:
            report, in_time = _read(reader, time_limit)
        finally:
            status, peak = _end(process)
            os.close(reader)
            _delete(scratch)
        log.seek(0)
        said = log.read(MOST_TEXT).decode(errors="replace")
    found = _fault(report, in_time, status, said)
    if found is None and before is not None and peak - before > memory_limit:
        found = ("memory", "memory", f"{peak - before} bytes, {memory_limit} are allowed")
    return Result(peak, found and Finding(*found, case=repr(case)))


def _fault(report: bytes, in_time: bool, status: int, log: str) -> tuple[str, str, str] | None:
    """Return kind, place and text of what went wrong in a process, if anything did."""
    if not in_time:
        return "hang", f"hang in {_last_own(log)}", log
    if report:
        return "error", *pickle.loads(report)
    if status:
        end = signal.Signals(os.WTERMSIG(status)).name if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
        return "end", f"process ended by {end} in {_last_own(log)}", log
    return None


def _child(
    attempt: Callable[[Any, Path], None],
    case: Any,
    scratch: Path,
    writer: int,
    log: BinaryIO,
    time_limit: float,
    memory_limit: int,
) -> None:
    """Try the case, write a report if it raises, and end the process."""
    try:
        # Whatever it starts is killed with it.
        os.setsid()
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        nowhere = os.open(os.devnull, os.O_RDONLY)
        for source, target in ((nowhere, 0), (log.fileno(), 1), (log.fileno(), 2)):
            os.dup2(source, target)
        sys.stdin, sys.stdout, sys.stderr = open(0), open(1, "w"), open(2, "w")  # noqa: SIM115
        os.chdir(scratch)
        os.environ["GAHBENCH_CACHE"] = str(scratch / "cache")
        socket.socket.connect = _no_network  # type: ignore[method-assign, assignment]
        warnings.simplefilter("ignore")
        faulthandler.enable(log)
        faulthandler.dump_traceback_later(0.9 * time_limit, file=log)
        _bound_memory(memory_limit)
        attempt(case, scratch)
    except BaseException as error:
        # Memory for the report, if there was none for the case.
        resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        text = "".join(traceback.format_exception(error))
        with os.fdopen(writer, "wb") as out:
            out.write(pickle.dumps((_place(error), text[-MOST_TEXT // 2 :])))
    finally:
        os._exit(0)


def _no_network(*arguments: Any) -> None:
    raise OSError("an attempt may not use the network")


def _bound_memory(limit: int) -> None:
    """Bound the address space, to what this process has and a limit."""
    statm = Path("/proc/self/statm")
    if not statm.exists():
        return
    has = int(statm.read_text(encoding="ascii").split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (has + limit, resource.RLIM_INFINITY))


def _read(reader: int, time_limit: float) -> tuple[bytes, bool]:
    """Return what a process reports, and whether it ended in time."""
    found, deadline = b"", time.monotonic() + time_limit
    while select.select([reader], [], [], max(0.0, deadline - time.monotonic()))[0]:
        part = os.read(reader, MOST_TEXT)
        if not part:
            return found, True
        found += part
    return found, False


def _end(process: int) -> tuple[int, int]:
    """Kill a process and its group; return its status and the most bytes that it held."""
    for kill in (os.killpg, os.kill):
        try:
            kill(process, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            continue
    _, status, usage = os.wait4(process, 0)
    return status, usage.ru_maxrss * (1 if sys.platform == "darwin" else KIB)


def _delete(folder: Path) -> None:
    """Delete a folder in which a case may have taken permissions away."""
    for parent, _, _ in os.walk(folder):
        os.chmod(parent, 0o700)  # noqa: PTH101
    shutil.rmtree(folder, ignore_errors=True)


def _place(error: BaseException) -> str:
    """Return the type of an error and the last line of gahbench in its traceback."""
    shown = error
    if type(error).__name__ == "UnreadableError" and error.__cause__ is not None:
        shown = error.__cause__
    frames = traceback.extract_tb(shown.__traceback__)
    own = [frame for frame in frames if frame.filename.startswith(OWN)] or list(frames)
    where = f"{_short(own[-1].filename)}:{own[-1].lineno} in {own[-1].name}" if own else "nowhere"
    return f"{type(error).__name__} in {where}"


def _last_own(log: str) -> str:
    """Return the innermost line of gahbench in what faulthandler wrote, which begins with the innermost."""
    frames = re.findall(r'^  File "(.+)", line (\d+) in (.+)$', log, re.MULTILINE)
    own = [frame for frame in frames if frame[0].startswith(OWN)] or frames
    return f"{_short(own[0][0])} in {own[0][2]}" if own else "an unknown place"


def _short(file: str) -> str:
    for folder in OWN:
        if file.startswith(folder):
            return f"{Path(folder).name}/{file.removeprefix(folder)}"
    return Path(file).name
