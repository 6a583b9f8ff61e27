"""The results folder of one suite: recording a plan in it, and the lock of the run that is at work in it."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

from gahbench._util.errors import ResultsError
from gahbench.planning.plan import Plan
from gahbench.registry.registry import Registry
from gahbench.store.code_files import copy_plugins
from gahbench.store.plan_file import RecordedPlan, read_plan, write_plan


class BusyError(ResultsError):
    """Another run is at work in a results folder."""


class UnwritableError(ResultsError):
    """A results folder cannot be written."""


class Folder:
    """A results folder, in which one run, or shards of one run, are at work at a time."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def record(
        self, plan: Plan, registry: Registry, threads: int | None = None, workers: int | None = None
    ) -> RecordedPlan:
        """Record a plan in the folder, with copies of its plugin files.

        ``threads`` is the number of threads of each row: by default the recorded number, or a number suggested for
        ``workers`` rows at a time.
        """
        recorded = self.check(plan)
        # The plan does not count the work of fits that are done, so the work is taken from the earlier plan.
        work = {unit.folder: unit.work for unit in recorded.units} if recorded else {}
        units = [unit if unit.work else replace(unit, work=work.get(unit.folder, 0.0)) for unit in plan.units]
        if threads is None:
            threads = recorded.threads if recorded and recorded.threads else plan.suggested_threads(workers)
        new = RecordedPlan(
            plan.suite.name,
            tuple(units),
            plan.board,
            threads,
            plugins=copy_plugins(registry.files, self.path),
            suite_text=plan.suite.text,
            changes=plan.suite.changes,
        )
        write_plan(self.path, new)
        return new

    def check(self, plan: Plan) -> RecordedPlan | None:
        """Return the recorded plan of the folder, if any, after checking that a new plan may use the folder."""
        recorded = read_plan(self.path)
        if recorded is not None and recorded.suite != plan.suite.name:
            raise ResultsError(
                f"{self.path}: holds results of the suite '{recorded.suite}', not '{plan.suite.name}'; give another "
                f"folder with --out, and '--reuse {self.path}' to take its finished units"
            )
        return recorded

    @contextlib.contextmanager
    def lock(self, shard: str = "") -> Iterator[None]:
        """Lock the folder for a run, or for a shard of one, which shares the folder with other shards.

        Raises
        ------
        BusyError
            If another run is at work in the folder.
        UnwritableError
            If the folder cannot be written.
        """
        with contextlib.ExitStack() as stack:
            self._take(stack, ".lock", is_shared=bool(shard))
            if shard:
                self._take(stack, f".lock-{shard.replace('/', '-of-')}")
            yield

    def _take(self, stack: contextlib.ExitStack, name: str, is_shared: bool = False) -> None:
        """Take a lock until the stack is closed, and write who holds it."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            file = stack.enter_context(_open_lock(self.path / name))
        except OSError as error:
            raise UnwritableError(f"{self.path}: cannot be written as a results folder: {error}") from error
        try:
            import fcntl
        except ImportError:
            return  # The system has no file locks.
        try:
            fcntl.flock(file, (fcntl.LOCK_SH if is_shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
                holder = file.read(200).decode(errors="replace") or "shards of a run"
                raise BusyError(
                    f"{self.path}: another run is at work in this folder ({holder}); wait for it, or stop it"
                ) from None
            warnings.warn(
                f"{self.path}: this file system has no locks ({error.strerror}); do not run two commands here at the "
                "same time",
                stacklevel=4,
            )
        file.truncate(0)
        if not is_shared:
            file.write(f"host {socket.gethostname()}, process {os.getpid()}".encode())
            file.flush()


def _open_lock(path: Path) -> BinaryIO:
    """Open a lock file; refuse a FIFO, which would block, and a link, which could lead to another file."""
    flags = os.O_RDWR | os.O_CREAT | sum(getattr(os, name, 0) for name in ("O_NONBLOCK", "O_CLOEXEC", "O_NOFOLLOW"))
    handle = os.open(path, flags, 0o666)
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    return os.fdopen(handle, "r+b", buffering=0)
