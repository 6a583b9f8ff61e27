"""The start of processes that share nothing with this one but the code of gahbench."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import sys
import threading
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

#: How processes start by default: from a server that has imported torch, where the system can fork.
START = "forkserver" if sys.platform == "linux" else "spawn"
_LOCK = threading.Lock()


def start_process(function: Callable[..., None], arguments: tuple[Any, ...], start: str | None = None) -> Any:
    """Start a function in a new process, which is not a daemon, by ``forkserver`` or ``spawn``."""
    context: Any = multiprocessing.get_context(start or START)
    process = context.Process(target=function, args=arguments, daemon=False)
    with _LOCK, _without_main(), _safe_path():
        process.start()
    return process


def detach(output: str | os.PathLike[str]) -> None:
    """Give this new process a session of its own, and append its output to a file."""
    with contextlib.suppress(OSError, AttributeError):  # Windows has no sessions.
        os.setsid()
    descriptor = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)


@contextlib.contextmanager
def _without_main() -> Iterator[None]:
    """Keep a new process from importing the script that this process runs, which may have no guard against that."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = types.ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


@contextlib.contextmanager
def _safe_path() -> Iterator[None]:
    """Let the fork server, which starts with the first process, import the same packages as this process."""
    multiprocessing.get_context("forkserver").set_forkserver_preload(["gahbench.runs.preloaded"])
    variables = {"PYTHONSAFEPATH": "1", "PYTHONPATH": os.pathsep.join(path or str(Path.cwd()) for path in sys.path)}
    before = {name: os.environ[name] for name in variables if name in os.environ}
    os.environ |= variables
    try:
        yield
    finally:
        for name in variables.keys() - before.keys():
            del os.environ[name]
        os.environ |= before
