"""The results folder of one suite: recording a plan in it, and the lock of the process that writes plans and tables."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import time
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

from gahbench._util.errors import ResultsError
from gahbench.planning.plan import Plan
from gahbench.registry.registry import Registry
from gahbench.store.code_files import code_files, copy_plugins
from gahbench.store.plan_file import RecordedPlan, read_plan, write_plan

#: The maximum number of seconds to wait for the lock, while another process writes the plan or the tables.
LOCK_SECONDS = 600.0


class UnwritableError(ResultsError):
    """A results folder cannot be written."""


class Folder:
    """A results folder, in which plans are recorded under a lock."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def open(
        self,
        plan: Plan,
        registry: Registry,
        threads: int | None = None,
        workers: int | None = None,
    ) -> RecordedPlan:
        """Record a plan in the folder, in place of an earlier plan, whose finished units stay in ``units/``.

        ``threads`` is the number of threads of each worker: by default the recorded number, or a number suggested for
        ``workers`` processes.
        """
        recorded = self.check(plan)
        # The plan does not count the work of fits that are done, so the work is taken from the earlier plan.
        work = {unit.folder: unit.work for unit in recorded.units} if recorded else {}
        if threads is None:
            threads = recorded.threads if recorded and recorded.threads else plan.suggested_threads(workers)
        opened = RecordedPlan(
            plan.suite.name,
            tuple(unit if unit.work else replace(unit, work=work.get(unit.folder, 0.0)) for unit in plan.units),
            plan.board,
            threads,
            copy_plugins(registry.files, self.path),
            code_files(registry.files),
            plan.suite.limits,
            plan.suite.text,
            plan.suite.changes,
        )
        write_plan(self.path, opened)
        return opened

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
    def lock(self, seconds: float = LOCK_SECONDS) -> Iterator[None]:
        """Hold the lock of the folder, which serialises writers of plans and tables; workers need no lock."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            file = _open_lock(self.path / ".lock")
        except OSError as error:
            reason = f"cannot be written as a results folder: {error}"
            raise UnwritableError(f"{self.path}: {reason}") from error
        with file:
            try:
                import fcntl
            except ImportError:
                yield  # The system has no file locks.
                return
            deadline = time.monotonic() + seconds
            while True:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except OSError as error:
                    if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                        warnings.warn(
                            f"{self.path}: this file system has no locks ({error.strerror}); do not plan or collect "
                            "with two processes here at the same time",
                            stacklevel=3,
                        )
                        break
                    if time.monotonic() > deadline:
                        raise ResultsError(
                            f"{self.path}: another run has been writing its plan or tables for {seconds:.0f} s; wait "
                            "for it, or stop it"
                        ) from error
                    time.sleep(0.1)
            yield


def _open_lock(path: Path) -> BinaryIO:
    """Open a lock file; refuse a FIFO, which would block, and a link, which could lead to another file."""
    flags = os.O_RDWR | os.O_CREAT | sum(getattr(os, name, 0) for name in ("O_NONBLOCK", "O_CLOEXEC", "O_NOFOLLOW"))
    handle = os.open(path, flags, 0o666)
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    return os.fdopen(handle, "r+b")
