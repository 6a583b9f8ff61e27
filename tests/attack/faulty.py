"""Campaigns with known faults, for tests of the harness."""

from __future__ import annotations

import os
import time
from pathlib import Path

from hypothesis import strategies as st

from gahbench._util.errors import GahbenchError, ParameterError

from .harness import Campaign, accept_errors

#: Invalid error messages by their fault.
MESSAGES = {"empty": " ", "two lines": "one\ntwo", "long": "x" * 4000, "surrogate": "\ud800"}


class _RawError(GahbenchError):
    """An error whose message is not made printable."""

    def __str__(self) -> str:
        return str(self.args[0])


def attempt(case: str, scratch: Path) -> None:
    """Behave as the case says."""
    assert Path.cwd() == scratch
    assert not any(scratch.iterdir())
    (scratch / case.replace(" ", "-")).touch()
    if case == "raises":
        raise RuntimeError("a fault")
    if case == "exits":
        raise SystemExit(0)
    if case == "hangs":
        time.sleep(60)
    if case == "dies":
        os.abort()
    if case == "eats memory":
        buffers = [bytearray(2**24) for _ in range(64)]
        time.sleep(len(buffers))
    with accept_errors():
        if case == "is refused":
            raise ParameterError("the reason in one line")
        if case in MESSAGES:
            raise _RawError(MESSAGES[case])


def campaign(case: str) -> Campaign:
    """Return a campaign with one kind of case, and cases without a fault."""
    return Campaign("faulty", st.sampled_from((case, "succeeds", "is refused")), attempt)
