"""When a worker process is ended."""

import os
import signal
import subprocess
import time

import pytest

from gahbench.contracts.limits import Limits
from gahbench.runs import watchdog
from gahbench.runs.watchdog import AwakeClock, Watchdog


@pytest.fixture
def process():
    sleeping = subprocess.Popen(["sleep", "100"])
    yield sleeping
    sleeping.kill()
    sleeping.wait()


def test_a_unit_and_a_construction_may_take_what_the_suite_grants(process):
    dog = Watchdog(process.pid, Limits(unit=30.0, construction=5.0), heard=0.0)
    dog.began, dog.constructing = 1.0, ("constructing architecture 'mine'", 2.0)
    assert dog.verdict(7.0) is None
    found = dog.verdict(7.1)
    assert found.how == "failed"
    assert "constructing architecture 'mine' took longer than 5.0 s" in found.why
    dog.constructing = None
    assert dog.verdict(31.0) is None
    assert "took longer than 30 s" in dog.verdict(31.1).why
    dog.limits = Limits()
    assert dog.verdict(100.0) is None


def test_a_silent_worker_is_lost_unless_it_computes(process):
    dog = Watchdog(process.pid, Limits(), heard=0.0)
    assert dog.verdict(watchdog.SILENT_SECONDS) is None
    found = dog.verdict(watchdog.SILENT_SECONDS + 2)
    assert found.how == "lost"
    assert "nothing was heard" in found.why
    # Code outside Python, which keeps the worker from speaking, uses the processor.
    own = Watchdog(os.getpid(), Limits(), heard=0.0)
    assert own.verdict(watchdog.SILENT_SECONDS) is None
    until = time.process_time() + 0.05
    while time.process_time() < until:
        pass
    assert own.verdict(watchdog.SILENT_SECONDS + 2) is None


def test_a_frozen_worker_is_lost_and_one_that_goes_on_is_not(process):
    dog = Watchdog(process.pid, Limits(), heard=0.0)
    process.send_signal(signal.SIGSTOP)
    os.waitid(os.P_PID, process.pid, os.WSTOPPED)
    assert dog.verdict(1.0) is None
    process.send_signal(signal.SIGCONT)
    os.waitid(os.P_PID, process.pid, os.WCONTINUED)
    assert dog.verdict(2.0) is None
    process.send_signal(signal.SIGSTOP)
    os.waitid(os.P_PID, process.pid, os.WSTOPPED)
    assert dog.verdict(3.0) is None
    assert dog.verdict(3.0 + watchdog.FROZEN_SECONDS) is None
    found = dog.verdict(5.0 + watchdog.FROZEN_SECONDS)
    assert found.how == "lost"
    assert "stopped by a signal" in found.why


def test_time_in_which_the_supervisor_was_away_does_not_count(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(watchdog.time, "monotonic", lambda: now[0])
    clock = AwakeClock()
    now[0] += 2
    assert clock.tick() == 2
    now[0] += 5000
    assert clock.tick() < 10
