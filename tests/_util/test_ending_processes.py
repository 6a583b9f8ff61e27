"""Ending a process with all that it has started."""

import os
import subprocess
import sys
import time

from gahbench._util.processes import end_tree, process_facts

#: A child in the group, one in a session of its own, and one that has left its parent, too.
STARTS = """
import os, subprocess, sys, time
print(subprocess.Popen(["sleep", "100"]).pid)
print(subprocess.Popen(["sleep", "100"], start_new_session=True).pid)
reading, writing = os.pipe()
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.write(writing, str(os.getpid()).encode())
        time.sleep(100)
    os._exit(0)
print(os.read(reading, 20).decode(), flush=True)
os.wait()
if sys.argv[1] == "die":
    os._exit(3)
time.sleep(100)
"""


def start(mark, how):
    process = subprocess.Popen(
        [sys.executable, "-c", STARTS, how],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "MARK_OF_TEST": mark},
    )
    with process.stdout as written:
        return process, [int(written.readline()) for _ in range(3)]


def is_gone(pid):
    for _ in range(100):
        facts = process_facts(pid)
        if facts is None or facts.state in "ZX":
            return True
        time.sleep(0.02)
    return False


def test_all_that_a_process_has_started_ends_with_it():
    process, started = start("one", "live")
    other, others = start("two", "live")
    end_tree(process.pid, "MARK_OF_TEST=one")
    assert process.wait(10) == -9
    assert all(map(is_gone, started))
    assert not any(map(is_gone, others[:1]))
    end_tree(other.pid, "MARK_OF_TEST=two")
    other.wait(10)


def test_what_a_dead_process_has_left_is_ended():
    process, started = start("three", "die")
    assert process.wait(10) == 3
    end_tree(process.pid, "MARK_OF_TEST=three")
    assert all(map(is_gone, started))
