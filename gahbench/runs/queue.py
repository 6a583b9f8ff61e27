"""The queue of the units of a job: the units that are left, and the leases of the units that this process runs."""

from __future__ import annotations

import random
import time
from collections.abc import Collection, Iterable, Iterator

from gahbench.contracts.unit import Unit
from gahbench.store.leases import LEASE_SECONDS, MAX_LOSSES, Lease, LeaseRecord, Leases
from gahbench.store.store import Store

#: A listing of the store is reused for this many seconds, or for this many times its own duration if that is longer.
_LISTING_SECONDS, _LISTING_FACTOR = 1.0, 10.0
#: The metric by which boards rank.
RANKED = "psnr"
#: The dataset, entrant and training seed of a unit.
_Group = tuple[str, str, int | None]
#: A fit that the current process may run comes first if it has at least this share of the work of the longest fit.
_MIN_WORK_SHARE = 0.5


class Queue:
    """The units of a job that are neither finished nor failed, which any number of processes share."""

    def __init__(self, units: Iterable[Unit], store: Store, lease: float = LEASE_SECONDS) -> None:
        self.store = store
        self.leases = Leases(store.leases, lease)
        #: Units by folder name; units with equal keys are the same unit.
        self._units = {unit.folder: unit for unit in units}
        self._unfinished = dict(self._units)
        self._held: dict[str, Lease] = {}
        self._ready = _ReadyUnits(())
        self._claimed: set[str] = set()
        self._listed_at = self._leases_read_at = float("-inf")
        self._listing_lifetime = _LISTING_SECONDS

    def refresh(self) -> tuple[set[str], set[str]]:
        """List the store; return the folder names of finished and of failed units."""
        started = time.monotonic()
        finished, failed = self.store.ended()
        self._listed_at = time.monotonic()
        # Start from all units, since a finished unit may have been moved away.
        self._unfinished = {
            name: unit
            for name, unit in self._units.items()
            if name not in finished and name not in failed and not unit.is_blocked(failed)
        }
        self._claimed = self.leases.names()
        fits = {name.removeprefix("fit-") for name in finished}
        self._ready = _ReadyUnits(unit for unit in self._unfinished.values() if all(key in fits for key in unit.needs))
        self._listing_lifetime = max(_LISTING_SECONDS, _LISTING_FACTOR * (time.monotonic() - started))
        return finished, failed

    @property
    def left(self) -> int:
        """The number of units that are neither finished nor failed, by the last listing."""
        return len(self._unfinished)

    def take(self, last: Unit | None = None) -> Unit | None:
        """Claim a unit whose ``needs`` are done; return ``None`` if no unit can be claimed now.

        Units that suit the process that ran the unit ``last`` are preferred.
        """
        age = time.monotonic() - self._listed_at
        if age > self._listing_lifetime or (not self._ready and age > self._listing_lifetime / 4):
            self.refresh()
        busy_groups = {group_of(self._units[name]) for name in self._claimed if name in self._units}
        for unit in self._ready.ordered(last, busy_groups):
            if unit.folder not in self._claimed and self._claim(unit, 0, 0.0):
                return unit
        return self._take_over()

    def claim(self, unit: Unit) -> bool:
        """Claim a given unit; return ``False`` if another process holds it, or it has ended."""
        return self.is_own(unit) or self._claim(unit, 0, 0.0) or self._claim_again(unit)

    def finish(self, unit: Unit) -> None:
        """Release the lease of a unit that has finished or failed."""
        self.release(unit)
        self._forget(unit)
        if unit.kind == "fit":
            self._listed_at = float("-inf")  # Scores of the fit may be ready now.

    def release(self, unit: Unit) -> None:
        """Release the lease of a unit, whether or not the unit has ended."""
        # Forget the lease only after its file is deleted, so that the release can be repeated after an error.
        if (lease := self._held.get(unit.folder)) is not None:
            self.leases.release(lease)
            del self._held[unit.folder]

    def lose(self, unit: Unit, reason: str, details: str) -> bool:
        """Record that the process that ran a unit was lost; return whether the unit has failed by too many losses."""
        lease = self._held.get(unit.folder)
        if lease is None or lease.is_lost:
            self._held.pop(unit.folder, None)
            return False
        losses = self._count_losses(unit.folder, lease.record)
        if losses >= MAX_LOSSES:
            self.store.fail(unit, _describe_losses(losses, reason), details)
            self.release(unit)
            self._forget(unit)
            return True
        self.leases.lose(lease, reason)
        del self._held[unit.folder]
        self._claimed.discard(unit.folder)
        self._leases_read_at = float("-inf")
        return False

    def _forget(self, unit: Unit) -> None:
        """Remove an ended unit from the unfinished and the ready units."""
        self._unfinished.pop(unit.folder, None)
        self._ready.remove(unit)

    def is_own(self, unit: Unit) -> bool:
        """Return whether this process holds the lease of a unit."""
        lease = self._held.get(unit.folder)
        return lease is not None and not lease.is_lost

    def close(self) -> None:
        """Release all leases of this process."""
        self.leases.close()

    def _claim(self, unit: Unit, losses: int, progress: float) -> bool:
        """Claim a unit; return ``False`` if another process holds it, or it has ended since the store was listed."""
        lease = self.leases.take(unit.folder, losses, progress)
        if lease is None:
            self._claimed.add(unit.folder)
            return False
        self._ready.remove(unit)
        self._claimed.add(unit.folder)
        # Another process may have ended the unit between the listing and the claim.
        finished = self.store.finished()
        has_ended = unit.folder in finished or unit.folder in self.store.failed()
        if has_ended or not all(f"fit-{key}" in finished for key in unit.needs):
            self.leases.release(lease)
            self._listed_at = float("-inf")
            return False
        self._held[unit.folder] = lease
        return True

    def _take_over(self) -> Unit | None:
        """Take over a unit whose lease is stale; return ``None`` if no unit has a stale lease."""
        # Reading all leases is slow, so do it only from time to time.
        if time.monotonic() - self._leases_read_at < min(self.leases.seconds / 10, 5.0):
            return None
        self._leases_read_at = time.monotonic()
        claimed = [self._unfinished[name] for name in self._claimed - self._held.keys() if name in self._ready]
        return next((unit for unit in claimed if self._claim_again(unit)), None)

    def _claim_again(self, unit: Unit) -> bool:
        """Claim a unit if the lease of another process is stale; record a failure after too many losses."""
        name = unit.folder
        lease = self.leases.inspect(name)
        if lease is None:
            self._claimed.discard(name)
            return self._claim(unit, 0, 0.0)
        if not lease.is_stale:
            return False
        losses = self._count_losses(name, lease.record)
        if losses < MAX_LOSSES:
            return self.leases.clear(lease) and self._claim(unit, losses, self.store.checkpoint_time(name))
        reason = lease.record.lost or f"no heartbeat for {lease.age:.0f} s"
        where = f"host {lease.record.host}, process {lease.record.pid}"
        # Record the failure before removing the lease, so that no process tries the unit again.
        self.store.fail(unit, _describe_losses(losses, reason), where)
        self.leases.clear(lease)
        self._listed_at = float("-inf")
        return False

    def _count_losses(self, name: str, record: LeaseRecord) -> int:
        """Return how often a unit was lost without progress, including this loss."""
        # A fit that wrote a checkpoint since it was claimed is making progress, so count from 1 again.
        if name.startswith("fit-") and self.store.checkpoint_time(name) > record.progress:
            return 1
        return record.losses + 1


class _ReadyUnits:
    """The units whose needs are done; units are found and removed in constant time."""

    def __init__(self, units: Iterable[Unit]) -> None:
        ready = list(units)
        dataset_order = {name: index for index, name in enumerate(dict.fromkeys(unit.dataset for unit in ready))}
        # Shuffle the scores of each dataset, so that processes rarely try to claim the same unit.
        random.shuffle(ready)
        ready.sort(key=lambda unit: -unit.work if unit.kind == "fit" else dataset_order[unit.dataset])
        self._fits: dict[str, Unit] = {}
        self._references, self._scores = _ScoreUnits(), _ScoreUnits()
        self._names: set[str] = set()
        for unit in ready:
            self._names.add(unit.folder)
            if unit.kind == "fit":
                self._fits[unit.folder] = unit
            else:
                self._collection_of(unit).add(unit)

    def __len__(self) -> int:
        return len(self._names)

    def __contains__(self, name: object) -> bool:
        return name in self._names

    def _collection_of(self, unit: Unit) -> _ScoreUnits:
        return self._scores if unit.needs else self._references

    def remove(self, unit: Unit) -> None:
        """Remove a unit if it is among the ready units."""
        if unit.folder not in self._names:
            return
        self._names.remove(unit.folder)
        if unit.kind == "fit":
            del self._fits[unit.folder]
        else:
            self._collection_of(unit).remove(unit)

    def ordered(self, last: Unit | None, busy_groups: Collection[_Group]) -> Iterator[Unit]:
        """Yield units by priority: scores of references, the PSNR of the last network, fits, scores of networks."""
        yield from self._references.ordered(last, busy_groups)
        if last is not None:
            yield from (unit for unit in self._scores.units_with_same_objects(last) if unit.metric == RANKED)
        fits = list(self._fits.values())
        if last is not None:
            # Prefer fits that need no new process, which would cost seconds, unless a far longer fit is waiting, which
            # may cost hours if it starts last.
            long, key = max((unit.work for unit in fits), default=0.0) * _MIN_WORK_SHARE, last.isolation_key
            yield from (unit for unit in fits if unit.work >= long and unit.isolation_key == key)
        yield from fits
        yield from self._scores.ordered(last, busy_groups)


class _ScoreUnits:
    """Ready score units, grouped by the process that may run them, and by dataset, entrant and seed."""

    def __init__(self) -> None:
        #: Units by isolation key, group and folder name.
        self._units: dict[str, dict[_Group, dict[str, Unit]]] = {}

    def add(self, unit: Unit) -> None:
        """Add a unit at the end of its group."""
        self._units.setdefault(unit.isolation_key, {}).setdefault(group_of(unit), {})[unit.folder] = unit

    def remove(self, unit: Unit) -> None:
        """Remove a unit."""
        groups, group = self._units[unit.isolation_key], group_of(unit)
        del groups[group][unit.folder]
        if not groups[group]:
            del groups[group]

    def units_with_same_objects(self, last: Unit) -> list[Unit]:
        """Return the units that use the same network as another unit, first those that share its Jacobians."""
        units = self._units.get(last.isolation_key, {}).get(group_of(last), {}).values()
        return sorted(units, key=lambda unit: unit.split != last.split)

    def ordered(self, last: Unit | None, busy_groups: Collection[_Group]) -> Iterator[Unit]:
        """Yield units of the last unit's group, then of its isolation key, then all; idle groups come first."""
        key = None if last is None else last.isolation_key
        if last is not None:
            yield from self.units_with_same_objects(last)
        for keys in ([key] if key in self._units else [], list(self._units)):
            groups = [
                (group, units) for isolation_key in keys for group, units in list(self._units[isolation_key].items())
            ]
            for is_busy in (False, True):
                for group, units in groups:
                    if (group in busy_groups) is is_busy:
                        yield from list(units.values())


def group_of(unit: Unit) -> _Group:
    """Return the dataset, entrant and seed, which the scores of one evaluation and its fit have in common."""
    return (unit.dataset, unit.entrant, unit.seed)


def _describe_losses(losses: int, reason: str) -> str:
    return f"lost {losses} times with its worker process; the last time: {reason}"
