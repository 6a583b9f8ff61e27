"""When a worker process is ended: it is frozen, silent, or has taken too long."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Literal

from gahbench._util.processes import process_facts
from gahbench._util.readable import duration
from gahbench._util.seconds import environment_seconds
from gahbench.contracts.limits import Limits

#: Seconds for which a worker may give no sign of life while it uses no processor. Code outside Python may keep it from
#: giving one for as long as it computes.
SILENT_SECONDS = environment_seconds("GAHBENCH_SILENT_SECONDS", 120.0)
#: Seconds for which a worker may be stopped by a signal: whoever freezes and thaws both may do it one after the other.
FROZEN_SECONDS = 5.0
#: Seconds between two looks at a worker.
LOOK_SECONDS = 1.0
#: A supervisor that was itself away for longer than this does not count that time.
_MAX_TURN = 5.0


class AwakeClock:
    """Seconds in which this process ran: not those for which it, or the machine, was frozen."""

    def __init__(self) -> None:
        self.now = 0.0
        self._last = time.monotonic()

    def tick(self) -> float:
        """Go on to the present, and return it; to be called all the time."""
        now = time.monotonic()
        self.now += min(now - self._last, _MAX_TURN)
        self._last = now
        return self.now


@dataclass(frozen=True)
class Verdict:
    """Why a worker is ended.

    Parameters
    ----------
    how
        ``failed``: its unit has failed, and would again; ``lost``: it may do better with another worker.
    why
        In words.
    """

    how: Literal["failed", "lost"]
    why: str


@dataclass
class Watchdog:
    """Watches one worker process; times are those of one :class:`AwakeClock`.

    Parameters
    ----------
    pid
        The process.
    limits
        What units may take.
    heard
        When it last gave a sign of life.
    """

    pid: int
    limits: Limits
    heard: float
    began: float | None = None
    constructing: tuple[str, float] | None = None
    _looked: float = 0.0
    _ticks: int = 0
    _active: float = field(default=0.0)
    _frozen_since: float | None = None

    def verdict(self, now: float) -> Verdict | None:
        """Return why the worker is to be ended; ``None`` if it is not."""
        if self.constructing is not None and now - self.constructing[1] > self.limits.construction:
            what, limit = self.constructing[0], duration(self.limits.construction)
            return Verdict(
                "failed", f"{what} took longer than {limit}; 'limits: {{construction: SECONDS}}' grants more"
            )
        most = self.limits.unit
        if most is not None and self.began is not None and now - self.began > most:
            return Verdict("failed", f"took longer than {duration(most)}, the limit of a unit in this suite")
        if now - self._looked < LOOK_SECONDS:
            return None
        self._looked = now
        return self._look(now)

    def _look(self, now: float) -> Verdict | None:
        facts = process_facts(self.pid)
        if facts is None:
            return None  # It has ended, which is seen otherwise, or nothing can be known.
        if facts.state != "T":
            self._frozen_since = None
        elif self._frozen_since is None:
            self._frozen_since = now
        elif now - self._frozen_since > FROZEN_SECONDS:
            return Verdict("lost", f"the worker process was stopped by a signal for {duration(FROZEN_SECONDS)}")
        if facts.ticks != self._ticks:
            self._ticks, self._active = facts.ticks, now
        if now - max(self.heard, self._active) > SILENT_SECONDS:
            return Verdict("lost", f"nothing was heard of the worker process for {duration(SILENT_SECONDS)}")
        return None
