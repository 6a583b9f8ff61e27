"""Process groups that are killed, processor time, and names of signals."""

import os
import signal
import subprocess
import sys
import time

import pytest

from gahbench._util.resources import kill_group, processor_ticks, signal_name, stat_fields

STARTS = """
import os, subprocess, sys, time
print(subprocess.Popen(["sleep", "100"]).pid)
if (pid := os.fork()) == 0:
    time.sleep(100)
print(pid, flush=True)
if sys.argv[1] == "die":
    os._exit(3)
time.sleep(100)
"""


def is_gone(pid):
    for _ in range(100):
        fields = stat_fields(pid)
        if fields is None or fields[0] in "ZX":
            return True
        time.sleep(0.02)
    return False


@pytest.mark.parametrize(("leader", "status"), [("live", -signal.SIGKILL), ("die", 3)])
def test_all_processes_of_a_group_are_killed_even_after_the_leader_ended(leader, status):
    command = [sys.executable, "-c", STARTS, leader]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)
    with process.stdout as output:
        started = [int(output.readline()) for _ in range(2)]
    if leader == "die":
        process.wait(10)
    kill_group(process.pid)
    assert process.wait(10) == status
    assert all(map(is_gone, started))
    kill_group(process.pid)


def test_processor_time_is_measured():
    before, until = processor_ticks(os.getpid()), time.process_time() + 0.05
    while time.process_time() < until:
        pass
    assert before < processor_ticks(os.getpid()) < before + 1000
    exited = subprocess.Popen(["true"])
    exited.wait()
    assert processor_ticks(exited.pid) is None


def test_signals_have_names_or_numbers():
    assert [signal_name(9), signal_name(40)] == ["SIGKILL", "signal 40"]
