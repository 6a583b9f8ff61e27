"""Opening a run in a child process, in which external plugins are imported and built.

The process is started as ``python -m gahbench.runs.opening_process``.
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

#: Time limit in seconds for importing or building one plugin.
CONSTRUCTION_SECONDS = 60.0


def open_in_process(request: RunRequest, seconds: float = CONSTRUCTION_SECONDS) -> OpenedRun:
    """Plan a suite as :func:`gahbench.runs.opening.open_run` does, in a child process."""
    broken: dict[str, str] = {}
    while True:
        message = _plan_in_child(request, broken, seconds)
        if message["event"] == "opened":
            return OpenedRun.from_record(message["record"])
        if message["event"] == "os error":
            raise OSError(message["errno"], message["error"], message["file"])
        if message["event"] == "refused":
            raise getattr(errors, message["kind"], GahbenchError)(message["error"])
        plugin, reason = message["plugin"], message["reason"]
        if plugin in broken or not plugin.startswith("reference "):
            raise PluginError(f"{plugin or 'a plugin'} {reason}")
        # A broken reference affects only its own row: plan again without building it, and let its units fail.
        broken[plugin] = reason


def _plan_in_child(request: RunRequest, broken: dict[str, str], seconds: float) -> dict[str, Any]:
    """Return the last message of a child process that plans, or an event ``broken`` that names the guilty plugin."""
    try:
        # The output of plugins goes to standard error.
        child = Child("gahbench.runs.opening_process", 2, (), python_environment())
    except OSError as error:
        raise GahbenchError(f"the process that plans cannot start: {error}") from error
    try:
        child.send({"request": asdict(request), "broken": broken})
        plugin, deadline = "", float("inf")
        while True:
            wait_for_any([child], 0.1)
            # Poll before receiving, so that all messages sent before the exit are received.
            has_exited = child.process.poll() is not None
            for message in child.receive():
                if message["event"] == "constructing":
                    plugin = message["plugin"]
                    deadline = time.monotonic() + seconds if plugin else float("inf")
                elif message["event"] != "alive":
                    return message
            if has_exited:
                return {
                    "event": "broken",
                    "plugin": plugin,
                    "reason": f"ended the process that plans, which {child.describe_exit()}",
                }
            if time.monotonic() > deadline:
                return {"event": "broken", "plugin": plugin, "reason": f"did not end within {seconds:g} s"}
    finally:
        child.kill()


def main(descriptor: int) -> None:
    """Plan the requested suite, and send the outcome."""
    link = Link(descriptor)
    message = link.inbox.get()
    print_warnings_as_lines()
    watch.report, watch.broken = lambda name: link.send("constructing", plugin=name), message["broken"]
    request = TypeAdapter(RunRequest).validate_python(message["request"])
    try:
        opened = open_run(request, open_registry(request.sources))
    except GahbenchError as error:
        link.send("refused", error=str(error), kind=type(error).__name__)
    except OSError as error:
        if error.errno is None:
            raise
        file = None if error.filename is None else str(error.filename)
        link.send("os error", errno=error.errno, error=error.strerror or str(error), file=file)
    else:
        link.send("opened", record=opened.record())


if __name__ == "__main__":
    main(int(sys.argv[1]))
