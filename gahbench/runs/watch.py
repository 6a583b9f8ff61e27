"""Following a results folder that others work on."""

from __future__ import annotations

from gahbench._util.errors import ResultsError
from gahbench.contracts.jobs import Event, Job
from gahbench.runs.durations import seconds_of
from gahbench.runs.queue import Queue


class Watch:
    """Follows the units of a job that processes anywhere do, by the store alone.

    Parameters
    ----------
    job
        The job.
    """

    def __init__(self, job: Job) -> None:
        self._job = job
        self._queue = Queue(job.units, job.store)
        self._units = {unit.folder: unit for unit in job.units}
        self._started: set[str] = set()
        self._ended: set[str] = set()

    def update(self) -> int:
        """List the store, report what has changed since, and return how many units are left to do."""
        try:
            finished, failed = self._queue.refresh()
            claimed = self._queue.claims.names()
        except OSError:
            return self._queue.left  # The file server may be back in a moment.
        for name in sorted(claimed - self._started):
            if name in self._units:
                self._started.add(name)
                self._job.report(Event("started", self._units[name]))
        for name in sorted((finished | failed) - self._ended):
            if name not in self._units:
                continue
            self._ended.add(name)
            if name not in self._started:
                # It was claimed and ended since the last listing.
                self._started.add(name)
                self._job.report(Event("started", self._units[name]))
            if name in finished:
                self._job.report(Event("finished", self._units[name], {"seconds": self._seconds(name)}))
            else:
                error = self._job.store.failure_of(name)
                self._job.report(Event("failed", self._units[name], {"error": error, "traceback": ""}))
        return self._queue.left

    def _seconds(self, name: str) -> float:
        """Return how long a unit took, as it recorded; 0 if it did not."""
        try:
            return seconds_of(self._job.store.done_at(self._job.store.units / name)) or 0.0
        except ResultsError:
            return 0.0
