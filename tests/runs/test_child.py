"""Tests of child processes: messages, exit statuses, time limits and heartbeats of workers."""

import contextlib
import json
import os
import signal
import subprocess
import textwrap
import threading
import time
from pathlib import Path

import pytest
from interrupted_runs import is_alive, wait_for

import gahbench
from gahbench._util.error_text import one_line, shorten
from gahbench._util.resources import python_environment
from gahbench.contracts.engines import Limits
from gahbench.registry.registry import Registry
from gahbench.runs import child as child_module
from gahbench.runs.child import AwakeClock, Child, WorkerChild, wait_for_any
from gahbench.runs.protocol import decode, encode
from gahbench.store.store import Store

HEAD = """
import os, subprocess, sys, time
from gahbench.runs.protocol import Link
link = Link(int(sys.argv[1]))
"""


@pytest.fixture
def start(tmp_path):
    """A function that starts some code as a child process."""
    children = []

    def make(code):
        name = f"child_{len(children)}"
        (tmp_path / f"{name}.py").write_text(HEAD + textwrap.dedent(code))
        variables = python_environment()
        variables["PYTHONPATH"] = f"{tmp_path}:{variables['PYTHONPATH']}"
        children.append(Child(name, subprocess.DEVNULL, (), variables))
        return children[-1]

    yield make
    for child in children:
        child.kill()


def messages_until_exit(child):
    """Return all messages except heartbeats, once the process has ended."""
    messages, deadline = [], time.monotonic() + 30
    while True:
        wait_for_any([child], 0.1)
        has_exited = child.process.poll() is not None
        messages += [message for message in child.receive() if message["event"] != "alive"]
        if has_exited:
            return messages
        assert time.monotonic() < deadline


def note(text):
    return {"event": "note", "text": text}


def test_messages_arrive_although_a_plugin_writes_to_the_socket(start):
    child = start(
        r"""
        descriptor = int(sys.argv[1])
        link.send("note", text="first")
        os.write(descriptor, b'\xff{"event": "finished", "unit": "fit-1", "seconds": 0}\n{"event":')
        for _ in range(40):
            os.write(descriptor, b"z" * 60000)
        link.send("note", text="second")
        if os.fork() == 0:
            link.send("note", text="of a fork")
            os._exit(0)
        os.wait()
        link.send("note", text="x" * 3_000_000)
        """
    )
    assert messages_until_exit(child) == [note("first"), note("second"), note("x" * 3_000_000)]
    assert child.describe_exit() == "exited with status 0"


def test_a_child_receives_messages_and_the_request_to_stop(start):
    child = start(
        """
        for _ in range(2):
            message = link.inbox.get()
            link.send("note", text=f"{message['text']} {link.stop.is_set()}")
        """
    )
    child.send({"text": "one" * 100_000})
    child.send({"text": "two", "stop": True})
    first, second = messages_until_exit(child)
    assert first["text"].startswith("oneone")
    assert second["text"] == "two True"


@pytest.mark.parametrize(
    ("code", "ending"),
    [
        ("os._exit(3)", "exited with status 3"),
        ("os.abort()", "was killed by SIGABRT"),
        ("os.kill(os.getpid(), 40)", "was killed by signal 40"),
        ("os.kill(os.getpid(), 9)", "was killed by SIGKILL (the system does that when memory runs out)"),
        ("os.closerange(3, 100); time.sleep(60)", "exited with status 70, since a plugin closed its socket"),
    ],
)
def test_the_exit_of_a_child_is_described(start, code, ending):
    child = start(code)
    assert messages_until_exit(child) == []
    assert child.describe_exit() == ending


def open_files(pid):
    """Return the targets of the file descriptors of a process; a starting program may close some meanwhile."""
    targets = []
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            targets.append(str(descriptor.readlink()))
    return targets


def test_programs_started_by_a_child_end_with_it_and_do_not_inherit_its_socket(start):
    child = start(
        """
        link.send("note", text=str(subprocess.Popen(["sleep", "100"], close_fds=False).pid))
        time.sleep(100)
        """
    )
    notes = []
    wait_for(lambda: notes.extend(message for message in child.receive() if message["event"] == "note") or notes, 30)
    pid = int(notes[0]["text"])
    assert "/dev/null" in open_files(pid)
    assert not any(name.startswith("socket:") for name in open_files(pid))
    child.kill()
    wait_for(lambda: not is_alive(pid), 30)


@pytest.fixture
def worker(tmp_path, monkeypatch):
    """A worker process that only sleeps."""

    def sleep(self, *arguments):
        self.process = subprocess.Popen(["sleep", "100"], start_new_session=True)

    monkeypatch.setattr(Child, "__init__", sleep)
    job = gahbench.Job((), Store(tmp_path), Registry(), lambda event: None, threading.Event(), 1)
    handle = WorkerChild(0, job, {}, "", 0.0)
    yield handle
    handle.process.kill()
    handle.process.wait()


def test_the_time_limits_of_units_and_constructions_apply(worker):
    worker._limits = Limits(unit=30.0, construction=5.0)
    worker.unit, worker._unit_started = "a unit", 1.0
    worker.observe({"event": "constructing", "plugin": "architecture 'mine'"}, 2.0)
    assert worker.exceeded_limit(7.0) is None
    assert "constructing architecture 'mine' took longer than 5.0 s" in worker.exceeded_limit(7.1)
    worker.observe({"event": "constructing", "plugin": ""}, 8.0)
    assert worker.exceeded_limit(31.0) is None
    assert "took longer than 30 s" in worker.exceeded_limit(31.1)
    worker.clear_unit()
    assert worker.exceeded_limit(31.1) is None


def test_the_start_of_a_worker_does_not_count_for_the_time_limit_of_a_unit(worker):
    worker._limits, worker.unit = Limits(unit=30.0), "a unit"
    assert worker.exceeded_limit(100.0) is None
    worker.observe({"event": "ready"}, 100.0)
    assert worker.exceeded_limit(130.0) is None
    assert worker.exceeded_limit(130.1) is not None


@pytest.mark.parametrize("is_frozen", [False, True])
def test_a_worker_without_heartbeats_or_processor_time_is_silent(worker, is_frozen):
    if is_frozen:
        worker.process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, worker.process.pid, os.WSTOPPED)
    assert not worker.is_silent(1.5)
    assert not worker.is_silent(child_module.SILENT_SECONDS)
    worker.observe({"event": "alive"}, 60.0)
    assert not worker.is_silent(60.0 + child_module.SILENT_SECONDS)
    assert worker.is_silent(60.5 + child_module.SILENT_SECONDS)


def test_a_worker_that_computes_outside_python_is_not_silent(worker, monkeypatch):
    ticks = iter(range(10))
    monkeypatch.setattr(child_module, "processor_ticks", lambda pid: next(ticks))
    assert not any(worker.is_silent(60.0 * turn) for turn in range(1, 9))
    monkeypatch.setattr(child_module, "processor_ticks", lambda pid: None)
    assert not any(worker.is_silent(1000.0 * turn) for turn in range(1, 4))


def test_the_awake_clock_stops_while_the_process_is_suspended(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(child_module.time, "monotonic", lambda: now[0])
    clock = AwakeClock()
    now[0] += 2
    assert clock.tick() == 2
    now[0] += 5000
    assert clock.tick() < 10


def test_a_process_that_cannot_start_leaves_no_socket(monkeypatch):
    def refuse(*arguments, **keywords):
        raise OSError("no memory")

    monkeypatch.setattr(subprocess, "Popen", refuse)
    before = len(list(Path("/proc/self/fd").iterdir()))
    with pytest.raises(OSError, match="no memory"):
        Child("gahbench", 2, (), {})
    assert len(list(Path("/proc/self/fd").iterdir())) == before


FINISHED = {"event": "finished", "unit": "fit-1", "seconds": 1.5}


def test_a_message_is_decoded_after_an_incomplete_line():
    *_, line, remainder = (b'\xff{"event": "fin' + encode({**FINISHED, "process": 7})).split(b"\n")
    assert (decode(line, 7), remainder) == (FINISHED, b"")


@pytest.mark.parametrize(
    "message",
    [
        FINISHED,
        {**FINISHED, "process": 8},
        {**FINISHED, "process": 7, "seconds": "long"},
        {**FINISHED, "process": 7, "more": 1},
        {"process": 7, "event": "finished"},
        {"process": 7, "event": "reward", "unit": "fit-1"},
        {"process": 7},
        [1],
    ],
)
def test_a_line_with_another_process_or_other_fields_is_not_a_message(message):
    assert decode(json.dumps(message).encode(), 7) is None


@pytest.mark.parametrize("line", [b"", b"\xff\xfe", b"{", b"[" * 100_000, b"NaN", b'{"process": 7'])
def test_a_line_that_is_not_json_is_not_a_message(line):
    assert decode(line, 7) is None


def test_error_texts_can_be_encoded_and_are_short():
    text = one_line("a \ud800\n\r\n b" + "x" * 10_000_000)
    assert text.startswith("a \\ud800 b")
    assert len(text) < 2100
    text.encode()
    assert shorten("ab", 5) == "ab"
    assert shorten("a" * 50 + "b" * 50, 10) == "aaaaa [...] bbbbb"
