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
from gahbench._util.keys import canonical
from gahbench.planning.plan import Plan
from gahbench.planning.suite_changes import merge_options
from gahbench.registry.registry import Registry
from gahbench.store.code_files import PLUGINS, code_files, copy_plugins
from gahbench.store.kept_units import Kept, NotShown, is_added, kept_units, merge_facts
from gahbench.store.plan_file import RecordedPlan, RecordedUnit, read_plan, write_plan
from gahbench.store.store import Store

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
        replaces_board: bool = True,
    ) -> tuple[RecordedPlan, NotShown]:
        """Record a plan in the folder, together with the units of earlier plans that the folder keeps.

        ``threads`` is the number of threads of each worker: by default the recorded number, or a number suggested for
        ``workers`` processes. Unless ``replaces_board``, a plan that would change an existing board is refused.
        """
        recorded = self.check(plan)
        kept = kept_units(plan, recorded, Store(self.path), registry) if recorded else Kept()
        # The plan does not count the work of fits that are done, so the work is taken from the earlier plan.
        work = {record.unit.folder: record.unit.work for record in recorded.units} if recorded else {}
        units = [unit if unit.work else replace(unit, work=work.get(unit.folder, 0.0)) for unit in plan.units]
        if threads is None:
            threads = recorded.threads if recorded and recorded.threads else plan.suggested_threads(workers)
        changes = plan.suite.changes
        if recorded and kept.shown:
            changes = merge_options(recorded.changes, changes)
        records = [*(RecordedUnit(unit, is_added(unit, plan.suite)) for unit in units), *kept.units]
        if recorded and kept.shown:
            # A run of a part of the suite must not reorder the plan.
            order = {record.unit.folder: index for index, record in enumerate(recorded.units)}
            records.sort(key=lambda record: (record.unit.kind != "fit", order.get(record.unit.folder, len(order))))
        opened = RecordedPlan(
            plan.suite.name,
            tuple(records),
            merge_facts(plan, recorded, kept.shown) if recorded else plan.board,
            threads,
            limits=plan.suite.limits,
            suite_text=plan.suite.text,
            changes=changes,
        )
        if not replaces_board:
            self._require_same_board(recorded, opened)
        opened = self._with_code(opened, registry, recorded, kept)
        write_plan(self.path, opened)
        return opened, kept.not_shown

    def _with_code(
        self, plan: RecordedPlan, registry: Registry, recorded: RecordedPlan | None, kept: Kept
    ) -> RecordedPlan:
        """Return a plan with its plugin files, which are copied into the folder, and the digests of its code."""
        plugins, code = copy_plugins(registry.files, self.path), code_files(registry.files)
        finished = Store(self.path).finished() if kept.units else set()
        if recorded and any(record.unit.origins and record.unit.folder not in finished for record in kept.units):
            # Workers need the plugin files (plugins/DIGEST/FILE) with which the kept units were planned.
            names = {file.split("/", 2)[-1] for file in plugins}
            plugins += tuple(file for file in recorded.plugins if file.split("/", 2)[-1] not in names)
            code = {
                **{name: record for name, record in recorded.code.items() if name.startswith(f"{PLUGINS}/")},
                **code,
            }
        return replace(plan, plugins=plugins, code=code)

    def _require_same_board(self, recorded: RecordedPlan | None, plan: RecordedPlan) -> None:
        """Raise an error if the plan would change a board that the folder already holds."""
        if recorded is None or not (self.path / "results.json").is_file():
            return
        units, before = ([(unit.folder, unit.label) for unit in each_plan.shown] for each_plan in (plan, recorded))
        if set(units) != set(before) or canonical(plan.board) != canonical(recorded.board):
            raise ResultsError(
                f"{self.path}: holds a board that this plan would change; give another folder with --out, or "
                "--replace to change it (finished units are kept, and 'gahbench collect' writes the board again)"
            )

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
