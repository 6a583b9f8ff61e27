"""The beginning of a run in a process of its own, where plugins from outside are imported and built.

Started as ``python -m gahbench.runs.opening_process``. The request comes as JSON over one pipe, and what is found goes
back over another, as lines of JSON after a word that no plugin has seen. What plugins print goes to standard error.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import secrets
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from gahbench._util import errors
from gahbench._util.errors import GahbenchError, PluginError
from gahbench._util.processes import end_tree, signal_name
from gahbench._util.resources import python_environment
from gahbench._util.warning_lines import print_warnings_as_lines
from gahbench.planning.suite_changes import SuiteChanges
from gahbench.registry.construction import watch
from gahbench.registry.registry import open_registry
from gahbench.runs.opening import OpenedRun, RunRequest, open_run

#: How long it may take to import a plugin, or to build one.
CONSTRUCTION_SECONDS = 60.0
#: How long what it said is read once it has ended.
LAST_SECONDS = 60.0
#: The environment variable by which all that the process starts is found.
_MARK = "GAHBENCH_OPENING"


def open_apart(request: RunRequest, seconds: float = CONSTRUCTION_SECONDS) -> OpenedRun:
    """Plan a suite as :func:`gahbench.runs.opening.open_run` does, in a process of its own.

    Parameters
    ----------
    request
        What is to be run.
    seconds
        How long a plugin from outside may take to be imported or built.

    Raises
    ------
    GahbenchError
        As :func:`gahbench.runs.opening.open_run`; or if a plugin takes too long, or ends the process.
    OSError
        If the results folder cannot be written.
    """
    broken: dict[str, str] = {}
    while True:
        with _Process(request, broken) as process:
            found = _followed(process, seconds)
        if "opened" in found:
            return OpenedRun.of_record(found["opened"])
        if "errno" in found:
            raise OSError(found["errno"], found["error"], found["file"])
        if "error" in found:
            raise getattr(errors, found["kind"], GahbenchError)(found["error"])
        where, why = found["broken"]
        if where in broken or not where.startswith("reference "):
            raise PluginError(f"{where or 'something'} {why}")
        # A reference costs its own row: its units will fail, and say why.
        broken[where] = why


def _followed(process: _Process, seconds: float) -> dict[str, Any]:
    """Return what a process found: ``opened``, an ``error`` with its ``kind``, or the plugin that was ``broken``."""
    doing, deadline = "", float("inf")
    while True:
        try:
            message = process.messages.get(timeout=0.1)
        except queue.Empty:
            status = process.popen.poll()
            if status is not None:
                # The last it said may be megabytes, that are still being read.
                process.listener.join(LAST_SECONDS)
                if not process.messages.empty():
                    continue
                how = f"by {signal_name(-status)}" if status < 0 else f"with exit status {status}"
                return {"broken": (doing, f"ended the process that plans, {how}")}
            if time.monotonic() > deadline:
                return {"broken": (doing, f"did not end within {seconds:g} s")}
            continue
        if "doing" not in message:
            return message
        doing = str(message["doing"])
        deadline = time.monotonic() + seconds if doing else float("inf")


class _Process:
    """The process, with what it has said."""

    def __init__(self, request: RunRequest, broken: dict[str, str]) -> None:
        self.messages: queue.Queue[dict[str, Any]] = queue.Queue()
        self._word, self._mark = secrets.token_hex(16), secrets.token_hex(8)
        (request_end, to_it), (from_it, answer_end) = os.pipe(), os.pipe()
        try:
            self.popen = subprocess.Popen(
                [sys.executable, "-P", "-m", "gahbench.runs.opening_process", str(request_end), str(answer_end)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=(request_end, answer_end),
                env={**python_environment(), _MARK: self._mark},
                # Ctrl-C reaches this process alone, which then ends that one and whatever it started.
                start_new_session=True,
            )
        except OSError as error:
            os.close(to_it)
            os.close(from_it)
            raise GahbenchError(f"the process that plans cannot start: {error}") from error
        finally:
            os.close(request_end)
            os.close(answer_end)
        with contextlib.suppress(BrokenPipeError), os.fdopen(to_it, "w", encoding="utf-8") as out:
            json.dump({"word": self._word, "request": asdict(request), "broken": broken}, out)
        self.listener = threading.Thread(target=self._listen, args=(from_it,), daemon=True)
        self.listener.start()

    def __enter__(self) -> _Process:
        return self

    def __exit__(self, *error: object) -> None:
        end_tree(self.popen.pid, f"{_MARK}={self._mark}")
        self.popen.wait()

    def _listen(self, descriptor: int) -> None:
        with os.fdopen(descriptor, encoding="utf-8", errors="replace") as lines:
            for line in lines:
                word, _, text = line.partition(" ")
                if word == self._word:
                    self.messages.put(json.loads(text))


def main(descriptors: Sequence[str]) -> None:
    """Plan what is requested, and say how it went."""
    request_end, answer_end = map(int, descriptors)
    os.set_inheritable(answer_end, False)
    with os.fdopen(request_end, encoding="utf-8") as file:
        message = json.load(file)
    # What plugins print is for people.
    os.dup2(2, 1)
    print_warnings_as_lines()
    answer = os.fdopen(answer_end, "w", encoding="utf-8")

    def send(content: dict[str, Any]) -> None:
        answer.write(f"{message['word']} {json.dumps(content)}\n")
        answer.flush()

    watch.report, watch.broken = lambda text: send({"doing": text}), message["broken"]
    values: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in message["request"].items()
    }
    request = RunRequest(**values | {"changes": SuiteChanges.of_record(values["changes"])})
    try:
        found = open_run(request, open_registry(request.sources))
    except GahbenchError as error:
        send({"error": str(error), "kind": type(error).__name__})
    except OSError as error:
        if error.errno is None:
            raise
        name = None if error.filename is None else str(error.filename)
        send({"errno": error.errno, "error": error.strerror or str(error), "file": name})
    else:
        send({"opened": found.record()})


if __name__ == "__main__":
    main(sys.argv[1:])
