"""The store as a queue: which units are left, and leases of the units that this process does."""

from __future__ import annotations

import random
import time
from collections.abc import Collection, Iterable, Iterator

from gahbench.contracts.unit import Unit
from gahbench.store.leases import LEASE_SECONDS, MAX_LOSSES, Lease, LeaseRecord, Leases
from gahbench.store.store import Store

#: A listing of the store is used for this many seconds, or this many times as long as it took.
_FRESH, _SHARE = 1.0, 10.0
#: The metric that boards rank by.
RANKED = "psnr"
#: Dataset, entrant and training seed of a unit.
_Group = tuple[str, str, int | None]
#: A fit of at least this share of the work of the longest may come before it, if it needs no other process.
_ABOUT_AS_LONG = 0.5


class Queue:
    """The units of a job that are left, by listings of the store; any number of processes share them."""

    def __init__(self, units: Iterable[Unit], store: Store, lease: float = LEASE_SECONDS) -> None:
        self.store = store
        self.leases = Leases(store.leases, lease)
        #: By folder name: units of one key are one.
        self._units = {unit.folder: unit for unit in units}
        self._open = dict(self._units)
        self._own: dict[str, Lease] = {}
        self._ready = _Ready(())
        self._claimed: set[str] = set()
        self._listed_at = self._checked_at = float("-inf")
        self._fresh = _FRESH

    def refresh(self) -> tuple[set[str], set[str]]:
        """List the store; return the folder names of finished and of failed units."""
        began = time.monotonic()
        finished, failed = self.store.ended()
        self._listed_at = time.monotonic()
        # From all units: a finished unit may have been moved away since.
        self._open = {
            name: unit
            for name, unit in self._units.items()
            if name not in finished and name not in failed and not unit.is_blocked(failed)
        }
        self._claimed = self.leases.names()
        fits = {name.removeprefix("fit-") for name in finished}
        self._ready = _Ready(unit for unit in self._open.values() if all(key in fits for key in unit.needs))
        self._fresh = max(_FRESH, _SHARE * (time.monotonic() - began))
        return finished, failed

    @property
    def left(self) -> int:
        """How many units are neither finished nor failed, by the last listing."""
        return len(self._open)

    def take(self, last: Unit | None = None) -> Unit | None:
        """Claim a unit whose needs are done; ``None`` if there is none now."""
        age = time.monotonic() - self._listed_at
        if age > self._fresh or (not self._ready and age > self._fresh / 4):
            self.refresh()
        near = {group_of(self._units[name]) for name in self._claimed if name in self._units}
        for unit in self._ready.in_order(last, near):
            if unit.folder not in self._claimed and self._claim(unit, 0, 0.0):
                return unit
        return self._take_over()

    def claim(self, unit: Unit) -> bool:
        """Claim one unit, unless another process has it, or it has ended."""
        return self.is_own(unit) or self._claim(unit, 0, 0.0) or self._claim_again(unit)

    def finish(self, unit: Unit) -> None:
        """Give up the lease of a unit that has finished or failed."""
        self.release(unit)
        self._ended(unit)
        if unit.kind == "fit":
            self._listed_at = float("-inf")  # Others waited for it.

    def release(self, unit: Unit) -> None:
        """Give up the lease of a unit, which may still be to be done."""
        # The lease is kept until it is released in the store, since that may have to be tried again.
        if (lease := self._own.get(unit.folder)) is not None:
            self.leases.release(lease)
            del self._own[unit.folder]

    def lose(self, unit: Unit, why: str, details: str) -> bool:
        """Record that the process that did a unit died; return whether the unit has failed, by too many losses."""
        lease = self._own.get(unit.folder)
        if lease is None or lease.is_lost:
            self._own.pop(unit.folder, None)
            return False
        losses = self._losses(unit.folder, lease.record)
        if losses >= MAX_LOSSES:
            self.store.fail(unit, _lost_text(losses, why), details)
            self.release(unit)
            self._ended(unit)
            return True
        self.leases.lose(lease, why)
        del self._own[unit.folder]
        self._claimed.discard(unit.folder)
        self._checked_at = float("-inf")
        return False

    def _ended(self, unit: Unit) -> None:
        """Forget a unit that has ended; it may be among the ready units, if they were listed meanwhile."""
        self._open.pop(unit.folder, None)
        self._ready.remove(unit)

    def is_own(self, unit: Unit) -> bool:
        """Whether the lease of a unit is this process's, and was not taken over."""
        lease = self._own.get(unit.folder)
        return lease is not None and not lease.is_lost

    def close(self) -> None:
        """Release all leases."""
        self.leases.close()

    def _claim(self, unit: Unit, losses: int, progress: float) -> bool:
        """Claim a unit, unless another process has it, or has ended it since the store was listed."""
        lease = self.leases.take(unit.folder, losses, progress)
        if lease is None:
            self._claimed.add(unit.folder)
            return False
        self._ready.remove(unit)
        self._claimed.add(unit.folder)
        # Another process may have finished it between the listing and the claim.
        finished = self.store.finished()
        has_exited = unit.folder in finished or unit.folder in self.store.failed()
        if has_exited or not all(f"fit-{key}" in finished for key in unit.needs):
            self.leases.release(lease)
            self._listed_at = float("-inf")
            return False
        self._own[unit.folder] = lease
        return True

    def _take_over(self) -> Unit | None:
        """Take over a unit from a process that has died or lost touch."""
        # Reading all leases is slow, and only of use now and then.
        if time.monotonic() - self._checked_at < min(self.leases.seconds / 10, 5.0):
            return None
        self._checked_at = time.monotonic()
        claimed = [self._open[name] for name in self._claimed - self._own.keys() if name in self._ready]
        return next((unit for unit in claimed if self._claim_again(unit)), None)

    def _claim_again(self, unit: Unit) -> bool:
        """Claim a unit whose lease of another process is stale; after too many losses it has failed."""
        name = unit.folder
        seen = self.leases.inspect(name)
        if seen is None:
            self._claimed.discard(name)
            return self._claim(unit, 0, 0.0)
        if not seen.is_stale:
            return False
        losses = self._losses(name, seen.record)
        if losses < MAX_LOSSES:
            return self.leases.clear(seen) and self._claim(unit, losses, self.store.checkpoint_time(name))
        why = seen.record.lost or f"nothing was heard of it for {seen.age:.0f} s"
        where = f"host {seen.record.host}, process {seen.record.pid}"
        # The failure is recorded before the lease is removed, so that no process tries the unit again.
        self.store.fail(unit, _lost_text(losses, why), where)
        self.leases.clear(seen)
        self._listed_at = float("-inf")
        return False

    def _losses(self, name: str, record: LeaseRecord) -> int:
        """Return how often a unit was lost without progress, this time included."""
        # A fit that has made progress since it was claimed does not kill the processes that do it.
        if name.startswith("fit-") and self.store.checkpoint_time(name) > record.progress:
            return 1
        return record.losses + 1


class _Ready:
    """Units that may be done now; finding or removing a unit takes a time that does not depend on their number."""

    def __init__(self, units: Iterable[Unit]) -> None:
        ready = list(units)
        places = {name: place for place, name in enumerate(dict.fromkeys(unit.dataset for unit in ready))}
        # Scores of one dataset are in an order of this process's own.
        random.shuffle(ready)
        ready.sort(key=lambda unit: -unit.work if unit.kind == "fit" else places[unit.dataset])
        self._fits: dict[str, Unit] = {}
        self._references, self._scores = _Scores(), _Scores()
        self._names: set[str] = set()
        for unit in ready:
            self._names.add(unit.folder)
            if unit.kind == "fit":
                self._fits[unit.folder] = unit
            else:
                self._kind_of(unit).add(unit)

    def __len__(self) -> int:
        return len(self._names)

    def __contains__(self, name: object) -> bool:
        return name in self._names

    def _kind_of(self, unit: Unit) -> _Scores:
        return self._scores if unit.needs else self._references

    def remove(self, unit: Unit) -> None:
        """Remove a unit, if it is there."""
        if unit.folder not in self._names:
            return
        self._names.remove(unit.folder)
        if unit.kind == "fit":
            del self._fits[unit.folder]
        else:
            self._kind_of(unit).remove(unit)

    def in_order(self, last: Unit | None, near: Collection[_Group]) -> Iterator[Unit]:
        """Yield scores of references, the PSNR of the last network, fits, and scores of networks."""
        yield from self._references.in_order(last, near)
        if last is not None:
            yield from (unit for unit in self._scores.like(last) if unit.metric == RANKED)
        fits = list(self._fits.values())
        if last is not None:
            # Another process costs seconds, a long fit that begins last may cost hours.
            long, key = max((unit.work for unit in fits), default=0.0) * _ABOUT_AS_LONG, last.isolation_key
            yield from (unit for unit in fits if unit.work >= long and unit.isolation_key == key)
        yield from fits
        yield from self._scores.in_order(last, near)


class _Scores:
    """Score units by the process that may do them, and by what they have in common."""

    def __init__(self) -> None:
        #: By isolation key and group.
        self._units: dict[str, dict[_Group, dict[str, Unit]]] = {}

    def add(self, unit: Unit) -> None:
        """Add a unit, after those that are there."""
        self._units.setdefault(unit.isolation_key, {}).setdefault(group_of(unit), {})[unit.folder] = unit

    def remove(self, unit: Unit) -> None:
        """Remove a unit that is there."""
        groups, group = self._units[unit.isolation_key], group_of(unit)
        del groups[group][unit.folder]
        if not groups[group]:
            del groups[group]

    def like(self, last: Unit) -> list[Unit]:
        """Return units that use the objects that another unit had in memory."""
        return list(self._units.get(last.isolation_key, {}).get(group_of(last), {}).values())

    def in_order(self, last: Unit | None, near: Collection[_Group]) -> Iterator[Unit]:
        """Yield units like the last, units of its process, and others: first the groups that no process works on."""
        key = None if last is None else last.isolation_key
        if last is not None:
            yield from self.like(last)
        for keys in ([key] if key in self._units else [], list(self._units)):
            groups = [(group, found) for one in keys for group, found in list(self._units[one].items())]
            for are_near in (False, True):
                for group, units in groups:
                    if (group in near) is are_near:
                        yield from list(units.values())


def group_of(unit: Unit) -> _Group:
    """Return what the scores of one evaluation, and the fit before them, have in common."""
    return (unit.dataset, unit.entrant, unit.seed)


def _lost_text(losses: int, why: str) -> str:
    return f"lost {losses} times, with whatever did it; the last time: {why}"
