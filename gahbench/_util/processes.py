"""The start of processes that share nothing with this one but the code of gahbench."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import sys
import threading
import types
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from pathlib import Path
from typing import Any

#: How processes start by default: from a server that has imported torch, where the system can fork.
START = "forkserver" if sys.platform == "linux" else "spawn"
_LOCK = threading.Lock()


def start_process(function: Callable[..., None], arguments: tuple[Any, ...], start: str | None = None) -> Any:
    """Start a function in a new process, which is not a daemon, by ``forkserver`` or ``spawn``."""
    context: Any = multiprocessing.get_context(start or START)
    if START == "forkserver":
        context.set_forkserver_preload(["gahbench.runs.preloaded"])
    process = context.Process(target=function, args=arguments, daemon=False)
    # The fork server, which starts with the first process, imports the same packages as this process.
    variables = {"PYTHONSAFEPATH": "1", "PYTHONPATH": os.pathsep.join(path or str(Path.cwd()) for path in sys.path)}
    # The script that this process runs may have no guard against being imported by a new process.
    main = {"__main__": types.ModuleType("__main__")}
    with _LOCK, _replaced(os.environ, variables), _replaced(sys.modules, main):
        process.start()
    return process


@contextlib.contextmanager
def _replaced(mapping: MutableMapping[str, Any], values: Mapping[str, Any]) -> Iterator[None]:
    """Replace values of a mapping within a context."""
    before = {name: mapping[name] for name in values if name in mapping}
    mapping.update(values)
    try:
        yield
    finally:
        for name in values.keys() - before.keys():
            del mapping[name]
        mapping.update(before)


def detach(output: str | os.PathLike[str]) -> None:
    """Give this new process a session of its own, and append its output to a file."""
    with contextlib.suppress(OSError, AttributeError):  # Windows has no sessions.
        os.setsid()
    descriptor = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
