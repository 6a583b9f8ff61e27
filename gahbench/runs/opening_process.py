"""The beginning of a run in a process of its own, where plugins from outside are imported and built.

Started as ``python -m gahbench.runs.opening_process``.
"""

from __future__ import annotations

import sys
import time
from dataclasses import asdict
from typing import Any

from pydantic import TypeAdapter

from gahbench._util import errors
from gahbench._util.errors import GahbenchError, PluginError
from gahbench._util.resources import python_environment
from gahbench._util.warning_lines import print_warnings_as_lines
from gahbench.registry.plugin import watch
from gahbench.registry.registry import open_registry
from gahbench.runs.child import Child, wait_for_any
from gahbench.runs.opening import OpenedRun, RunRequest, open_run
from gahbench.runs.protocol import Link

#: How long it may take to import a plugin, or to build one.
CONSTRUCTION_SECONDS = 60.0


def open_apart(request: RunRequest, seconds: float = CONSTRUCTION_SECONDS) -> OpenedRun:
    """Plan a suite as :func:`gahbench.runs.opening.open_run` does, in a process of its own."""
    broken: dict[str, str] = {}
    while True:
        found = _plan(request, broken, seconds)
        if found["event"] == "opened":
            return OpenedRun.of_record(found["record"])
        if found["event"] == "os error":
            raise OSError(found["errno"], found["error"], found["file"])
        if found["event"] == "refused":
            raise getattr(errors, found["kind"], GahbenchError)(found["error"])
        what, why = found["what"], found["why"]
        if what in broken or not what.startswith("reference "):
            raise PluginError(f"{what or 'something'} {why}")
        # A reference costs its own row: its units will fail, and say why.
        broken[what] = why


def _plan(request: RunRequest, broken: dict[str, str], seconds: float) -> dict[str, Any]:
    """Return the last message of a process that plans, or an event ``broken`` with the plugin that ended it."""
    try:
        # Plugins print to standard error.
        child = Child("gahbench.runs.opening_process", 2, (), python_environment())
    except OSError as error:
        raise GahbenchError(f"the process that plans cannot start: {error}") from error
    try:
        child.send({"request": asdict(request), "broken": broken})
        what, deadline = "", float("inf")
        while True:
            wait_for_any([child], 0.1)
            # Asked first: all that a process has sent before its end can then be received.
            has_exited = child.process.poll() is not None
            for message in child.receive():
                if message["event"] == "constructing":
                    what = message["what"]
                    deadline = time.monotonic() + seconds if what else float("inf")
                elif message["event"] != "alive":
                    return message
            if has_exited:
                return {"event": "broken", "what": what, "why": f"ended the process that plans, which {child.ending()}"}
            if time.monotonic() > deadline:
                return {"event": "broken", "what": what, "why": f"did not end within {seconds:g} s"}
    finally:
        child.kill()


def main(descriptor: int) -> None:
    """Plan what is requested, and say how it went."""
    link = Link(descriptor)
    message = link.inbox.get()
    print_warnings_as_lines()
    watch.report, watch.broken = lambda name: link.send("constructing", what=name), message["broken"]
    request = TypeAdapter(RunRequest).validate_python(message["request"])
    try:
        found = open_run(request, open_registry(request.sources))
    except GahbenchError as error:
        link.send("refused", error=str(error), kind=type(error).__name__)
    except OSError as error:
        if error.errno is None:
            raise
        name = None if error.filename is None else str(error.filename)
        link.send("os error", errno=error.errno, error=error.strerror or str(error), file=name)
    else:
        link.send("opened", record=found.record())


if __name__ == "__main__":
    main(int(sys.argv[1]))
