"""Cases that run in forked processes with limits, and their findings."""

from __future__ import annotations

import faulthandler
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
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gahbench
import gahbench_plugins

#: Folders of the attacked code.
OWN = tuple(str(Path(str(package.__file__)).parent) + os.sep for package in (gahbench, gahbench_plugins))
#: Maximum length of a report or log.
MAX_TEXT = 100_000


@dataclass(frozen=True)
class Limits:
    """Limits of a case: time in seconds, and memory of its process in bytes."""

    seconds: float
    memory: int


@dataclass
class Finding:
    """A failed case: an unexpected ``error``, a ``hang``, or the ``end`` of its process.

    The location is the kind of fault and the innermost line of gahbench; only one finding is kept for each location.
    """

    kind: str
    location: str
    text: str
    case: str
    count: int = 1


def findings(attempt: Callable[[Any, Path], None], cases: Sequence[Any], limits: Limits) -> Iterator[Finding | None]:
    """Run cases in turn in a forked process, and yield a finding, or ``None``, for each case.

    After a case that hangs or ends its process, a new process runs the remaining cases. A process is killed at the time
    limit of a case, together with the processes that it started.
    """
    completed = 0
    while completed < len(cases):
        for finding in _run_process(attempt, cases[completed:], limits):
            completed += 1
            yield finding


def _run_process(attempt: Callable[[Any, Path], None], cases: Sequence[Any], limits: Limits) -> list[Finding | None]:
    """Return the findings of the first cases, up to and including a case that ends the process."""
    reader, writer = multiprocessing.Pipe(duplex=False)
    scratch = Path(tempfile.mkdtemp(prefix="attack-"))
    faults: list[tuple[str, str, str] | None] = []
    with tempfile.TemporaryFile() as log:
        process = os.fork()
        if process == 0:
            _run_child(attempt, cases, scratch, writer, log, limits)
        writer.close()
        is_in_time = True
        try:
            while len(faults) < len(cases) and (is_in_time := reader.poll(limits.seconds)):
                report = reader.recv()
                faults.append(report and ("error", *report))
        except EOFError:
            pass
        finally:
            status = _kill(process)
            reader.close()
            _delete(scratch)
        log.seek(0)
        output = log.read()[-MAX_TEXT:].decode(errors="replace")
    if len(faults) < len(cases) and not is_in_time:
        faults.append(("hang", f"hang in {_innermost_own(output.rpartition('Timeout (')[2])}", output))
    elif len(faults) < len(cases):
        end = signal.Signals(os.WTERMSIG(status)).name if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
        faults.append(("end", f"process ended by {end} in {_innermost_own(output)}", output))
    return [fault and Finding(*fault, case=repr(case)) for case, fault in zip(cases, faults, strict=False)]


def _run_child(attempt, cases, scratch, writer, log, limits):  # type: ignore[no-untyped-def]
    """Run the cases, report the outcome of each, and end the process."""
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
        _limit_memory(limits.memory)
        for index, case in enumerate(cases):
            faulthandler.dump_traceback_later(0.9 * limits.seconds, file=log)
            writer.send(_run_case(attempt, case, scratch / str(index)))
    except BaseException:
        # _run_case catches errors of cases, so this error happened between cases.
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)
    finally:
        os._exit(0)


def _run_case(attempt: Callable[[Any, Path], None], case: Any, scratch: Path) -> tuple[str, str] | None:
    """Run a case in an empty folder; return location and traceback of an error, or ``None``."""
    scratch.mkdir()
    os.chdir(scratch)
    os.environ["GAHBENCH_CACHE"] = str(scratch / "cache")
    try:
        attempt(case, scratch)
    except BaseException as error:
        # Lift the memory limit for the report, since the case may have used all memory.
        limits = resource.getrlimit(resource.RLIMIT_AS)
        resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, limits[1]))
        text = "".join(traceback.format_exception(error))
        location = _location_of(error)
        resource.setrlimit(resource.RLIMIT_AS, limits)
        return location, text[-MAX_TEXT // 2 :]
    return None


def _refuse_connection(*arguments: Any) -> None:
    raise OSError("an attempt may not use the network")


def _limit_memory(limit: int) -> None:
    """Limit the address space to the current size of this process plus ``limit``."""
    statm = Path("/proc/self/statm")
    if statm.exists():
        current = int(statm.read_text(encoding="ascii").split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (current + limit, resource.RLIM_INFINITY))


def _kill(process: int) -> int:
    """Kill a process and its group; return its status."""
    for kill in (os.killpg, os.kill):
        try:
            kill(process, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            continue
    return os.waitpid(process, 0)[1]


def _delete(folder: Path) -> None:
    """Delete a folder in which a case may have removed permissions."""
    for parent, _, _ in os.walk(folder):
        os.chmod(parent, 0o700)  # noqa: PTH101
    shutil.rmtree(folder, ignore_errors=True)


def _location_of(error: BaseException) -> str:
    """Return the type of an error and the innermost line of gahbench in its traceback."""
    source = error
    if type(error).__name__ == "UnreadableError" and error.__cause__ is not None:
        source = error.__cause__
    frames = traceback.extract_tb(source.__traceback__)
    own = [frame for frame in frames if frame.filename.startswith(OWN)] or list(frames)
    location = f"{_short_path(own[-1].filename)}:{own[-1].lineno} in {own[-1].name}" if own else "no known line"
    return f"{type(error).__name__} in {location}"


def _innermost_own(log: str) -> str:
    """Return the innermost function of gahbench in a traceback of faulthandler, whose first frame is the innermost."""
    frames = re.findall(r'^  File "(.+)", line (\d+) in (.+)$', log, re.MULTILINE)
    own = [frame for frame in frames if frame[0].startswith(OWN)] or frames
    return f"{_short_path(own[0][0])} in {own[0][2]}" if own else "an unknown location"


def _short_path(file: str) -> str:
    for folder in OWN:
        if file.startswith(folder):
            return f"{Path(folder).name}/{file.removeprefix(folder)}"
    return Path(file).name
