"""Attempts in processes of their own, and what came of them."""

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

#: Folders of the code that is attacked.
OWN = tuple(str(Path(str(package.__file__)).parent) + os.sep for package in (gahbench, gahbench_plugins))
#: Bytes of a report or a log that are read.
MOST_TEXT = 100_000


@dataclass(frozen=True)
class Limits:
    """Seconds of a case, and the bytes that its process may take."""

    seconds: float
    memory: int


@dataclass
class Finding:
    """A case that did not end as it should: an ``error`` that was raised, ``hang``, or ``end`` of the process.

    The place is the last line of gahbench that took part, with the kind of fault: one finding for each is kept.
    """

    kind: str
    place: str
    text: str
    case: str
    count: int = 1


def findings(attempt: Callable[[Any, Path], None], cases: Sequence[Any], limits: Limits) -> Iterator[Finding | None]:
    """Try cases in turn in a forked process, and yield a finding, or ``None``, for each.

    After a case that hangs or ends the process, another process tries the others. A process is killed when the time of
    a case is over, with all that it started.
    """
    tried = 0
    while tried < len(cases):
        for finding in _process(attempt, cases[tried:], limits):
            tried += 1
            yield finding


def _process(attempt: Callable[[Any, Path], None], cases: Sequence[Any], limits: Limits) -> list[Finding | None]:
    """Return the findings of the first cases, up to a case at which the process had to end."""
    reader, writer = multiprocessing.Pipe(duplex=False)
    scratch = Path(tempfile.mkdtemp(prefix="attack-"))
    faults: list[tuple[str, str, str] | None] = []
    with tempfile.TemporaryFile() as log:
        process = os.fork()
        if process == 0:
            _child(attempt, cases, scratch, writer, log, limits)
        writer.close()
        in_time = True
        try:
            while len(faults) < len(cases) and (in_time := reader.poll(limits.seconds)):
                report = reader.recv()
                faults.append(report and ("error", *report))
        except EOFError:
            pass
        finally:
            status = _end(process)
            reader.close()
            _delete(scratch)
        log.seek(0)
        said = log.read()[-MOST_TEXT:].decode(errors="replace")
    if len(faults) < len(cases) and not in_time:
        faults.append(("hang", f"hang in {_last_own(said.rpartition('Timeout (')[2])}", said))
    elif len(faults) < len(cases):
        end = signal.Signals(os.WTERMSIG(status)).name if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
        faults.append(("end", f"process ended by {end} in {_last_own(said)}", said))
    return [fault and Finding(*fault, case=repr(case)) for case, fault in zip(cases, faults, strict=False)]


def _child(attempt, cases, scratch, writer, log, limits):  # type: ignore[no-untyped-def]
    """Try the cases, report each, and end the process."""
    try:
        # Whatever it starts is killed with it.
        os.setsid()
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        nowhere = os.open(os.devnull, os.O_RDONLY)
        for source, target in ((nowhere, 0), (log.fileno(), 1), (log.fileno(), 2)):
            os.dup2(source, target)
        sys.stdin, sys.stdout, sys.stderr = open(0), open(1, "w"), open(2, "w")  # noqa: SIM115
        socket.socket.connect = _no_network
        warnings.simplefilter("ignore")
        faulthandler.enable(log)
        _bound_memory(limits.memory)
        for place, case in enumerate(cases):
            faulthandler.dump_traceback_later(0.9 * limits.seconds, file=log)
            writer.send(_report(attempt, case, scratch / str(place)))
    except BaseException:
        # Not of a case, but between two.
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)
    finally:
        os._exit(0)


def _report(attempt: Callable[[Any, Path], None], case: Any, scratch: Path) -> tuple[str, str] | None:
    """Try a case in an empty folder; return place and text of what it raises, if it does."""
    scratch.mkdir()
    os.chdir(scratch)
    os.environ["GAHBENCH_CACHE"] = str(scratch / "cache")
    try:
        attempt(case, scratch)
    except BaseException as error:
        # Memory for the report, if there was none for the case.
        bounds = resource.getrlimit(resource.RLIMIT_AS)
        resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, bounds[1]))
        text = "".join(traceback.format_exception(error))
        place = _place(error)
        resource.setrlimit(resource.RLIMIT_AS, bounds)
        return place, text[-MOST_TEXT // 2 :]
    return None


def _no_network(*arguments: Any) -> None:
    raise OSError("an attempt may not use the network")


def _bound_memory(limit: int) -> None:
    """Bound the address space, to what this process has and a limit."""
    statm = Path("/proc/self/statm")
    if statm.exists():
        has = int(statm.read_text(encoding="ascii").split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (has + limit, resource.RLIM_INFINITY))


def _end(process: int) -> int:
    """Kill a process and its group; return its status."""
    for kill in (os.killpg, os.kill):
        try:
            kill(process, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            continue
    return os.waitpid(process, 0)[1]


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
