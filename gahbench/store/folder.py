"""The results folder of one suite: whose it is, what is planned in it, and one process at a time that writes tables."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

from gahbench._util.errors import ResultsError
from gahbench._util.files import names_in
from gahbench._util.keys import canonical
from gahbench.contracts.unit import Unit
from gahbench.planning.plan import Plan
from gahbench.planning.row_labels import base_label
from gahbench.registry.registry import Registry
from gahbench.store.code_files import code_files, copy_plugins
from gahbench.store.plan_file import RecordedPlan, RecordedUnit, read_plan, write_plan
from gahbench.store.store import Store

#: How long to wait for another process that writes tables.
LOCK_SECONDS = 600.0


class UnwritableError(ResultsError):
    """A results folder cannot be written."""


@dataclass(frozen=True)
class Opened:
    """A folder with a plan.

    Parameters
    ----------
    plan
        As the folder records it.
    left_out
        Labels of entrants that earlier runs had added, and that were measured otherwise than this plan does, so that
        they cannot stand beside others.
    outdated
        Labels of such entrants that were measured with earlier code than today's.
    damaged
        What was wrong with the units that were moved to ``damaged/``, since they were not as they were written.
    """

    plan: RecordedPlan
    left_out: tuple[str, ...]
    outdated: tuple[str, ...]
    damaged: tuple[str, ...] = ()


class Folder:
    """A results folder.

    Parameters
    ----------
    path
        The folder, which need not exist yet.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def open(
        self,
        plan: Plan,
        registry: Registry,
        threads: int | None = None,
        workers: int | None = None,
        is_current: Callable[[Unit], bool] = lambda unit: True,
    ) -> Opened:
        """Record a plan in the folder; units of other plans stay there.

        Parameters
        ----------
        registry
            Its plugin files are copied into the folder.
        threads
            Threads of each worker; ``None`` for those that the folder records, or that suit this machine.
        workers
            Number of workers among which this machine's processors are shared out; ``None`` for one to a fit.
        is_current
            Whether a unit of an entrant that was added has the key that it would have now.

        Raises
        ------
        ResultsError
            If the folder belongs to another suite.
        """
        recorded = self.check(plan)
        added = self._added_before(plan, recorded) if recorded else []
        outdated = tuple(dict.fromkeys(unit.entrant for unit in added if not is_current(unit)))
        extra = _comparable(plan, [unit for unit in added if unit.entrant not in outdated])
        shown = {unit.folder for unit in extra}
        # The work of units whose networks are done is not counted again.
        work = {one.unit.folder: one.unit.work for one in recorded.units} if recorded else {}
        units = [unit if unit.work else replace(unit, work=work.get(unit.folder, 0.0)) for unit in plan.units]
        if threads is None:
            threads = recorded.threads if recorded and recorded.threads else plan.suggested_threads(workers)
        opened = RecordedPlan(
            plan.suite.name,
            (
                *(RecordedUnit(unit, base_label(unit.entrant) in plan.suite.added) for unit in units),
                *(RecordedUnit(unit, True, unit.folder in shown) for unit in added),
            ),
            plan.board,
            threads,
            copy_plugins(registry.files, self.path),
            code_files(registry.files),
            plan.suite.limits,
            recorded.secret_noise if recorded and plan.secret_noise is None else plan.secret_noise,
            plan.suite.text,
            plan.suite.changes,
        )
        write_plan(self.path, opened)
        others = {*outdated, *(unit.entrant for unit in extra)}
        left_out = tuple(dict.fromkeys(unit.entrant for unit in added if unit.entrant not in others))
        return Opened(opened, left_out, outdated)

    def check(self, plan: Plan) -> RecordedPlan | None:
        """Return what the folder records, having checked that a plan may use it.

        Raises
        ------
        ResultsError
            As :meth:`open`.
        """
        recorded = read_plan(self.path)
        if recorded is not None and recorded.suite != plan.suite.name:
            raise ResultsError(
                f"{self.path}: holds results of the suite '{recorded.suite}', not '{plan.suite.name}'; give another "
                f"folder with --out, and '--reuse {self.path}' to take what is done there"
            )
        drawn = (recorded.secret_noise or {}).get("seed") if recorded is not None else None
        if drawn is not None and (plan.secret_noise or {}).get("seed") != drawn:
            raise ResultsError(f"{self.path}: the secret noise was drawn while this run was planned; run it again")
        return recorded

    @contextlib.contextmanager
    def lock(self, seconds: float = LOCK_SECONDS) -> Iterator[None]:
        """Let one process at a time record plans and write tables; workers need no lock.

        Parameters
        ----------
        seconds
            How long to wait for another.

        Raises
        ------
        ResultsError
            If another still writes.
        UnwritableError
            If the folder cannot be written.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            file = _opened_lock(self.path / ".lock")
        except OSError as error:
            reason = f"cannot be written as a results folder: {error}"
            raise UnwritableError(f"{self.path}: {reason}") from error
        with file:
            try:
                import fcntl
            except ImportError:
                yield  # A system without file locks.
                return
            deadline = time.monotonic() + seconds
            while True:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except OSError as error:
                    if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                        warnings.warn(
                            f"{self.path}: this file system has no locks ({error.strerror}); see that no two runs plan "
                            "or collect tables here at the same time",
                            stacklevel=3,
                        )
                        break
                    if time.monotonic() > deadline:
                        raise ResultsError(
                            f"{self.path}: another run has been writing its plan or tables for {seconds:.0f} s; wait "
                            "for it, or end it"
                        ) from error
                    time.sleep(0.1)
                else:
                    break
            yield

    def _added_before(self, plan: Plan, recorded: RecordedPlan) -> list[Unit]:
        """Return the units on record of entrants that were added, and are not in this plan: finished, or being done.

        Another run may have added them while this one was planned.
        """
        current = {entrant.label for entrant in plan.suite.entrants}
        units = [one.unit for one in recorded.units if one.is_added and base_label(one.unit.entrant) not in current]
        store = Store(self.path)
        kept = store.whole(units) | set(names_in(store.claims))
        return [unit for unit in units if unit.folder in kept]


def _opened_lock(path: Path) -> BinaryIO:
    """Open a lock file, and no FIFO, which would wait for another process, or link to another file."""
    flags = os.O_RDWR | os.O_CREAT | sum(getattr(os, name, 0) for name in ("O_NONBLOCK", "O_CLOEXEC", "O_NOFOLLOW"))
    handle = os.open(path, flags, 0o666)
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    return os.fdopen(handle, "r+b")


def _comparable(plan: Plan, added: list[Unit]) -> list[Unit]:
    """Return the scores that were measured as this plan measures, of networks trained as it trains, and their fits."""
    columns = {(unit.dataset, unit.split, unit.metric, unit.column) for unit in plan.units}
    trainings = {_training(unit) for unit in plan.fits}
    fits = {
        unit.key: unit
        for unit in added
        if unit.kind == "fit" and (not trainings or _training(unit) in trainings or unit.document is None)
    }
    scores = [
        unit
        for unit in added
        if unit.kind == "score"
        and (unit.dataset, unit.split, unit.metric, unit.column) in columns
        and fits.keys() >= set(unit.needs)
    ]
    needed = {key for unit in scores for key in unit.needs}
    return [*(unit for key, unit in fits.items() if key in needed), *scores]


def _training(unit: Unit) -> str:
    """Return what decides how a network is trained, as text."""
    return canonical((unit.document or {}).get("training"))
