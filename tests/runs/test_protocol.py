"""Messages of child processes: other lines in the socket are dropped."""

import json
import os
import socket

import pytest

from gahbench._util.error_text import bounded, one_line
from gahbench.runs.protocol import Link, decode, encode

FINISHED = {"event": "finished", "unit": "fit-1", "seconds": 1.5}


def test_a_message_comes_through_after_whatever_was_written_before():
    *_, line, rest = (b'\xff{"event": "fin' + encode({**FINISHED, "process": 7})).split(b"\n")
    assert (decode(line, 7), rest) == (FINISHED, b"")


@pytest.mark.parametrize(
    "message",
    [
        FINISHED,
        {**FINISHED, "process": 8},
        {**FINISHED, "process": 7, "seconds": "long"},
        {**FINISHED, "process": 7, "more": 1},
        {"process": 7, "event": "finished"},
        {"process": 7, "event": "reward", "unit": "fit-1"},
        {"process": 7, "event": ["finished"]},
        {"process": 7},
        [1],
        None,
        3,
    ],
)
def test_a_line_without_the_process_or_the_form_is_not_a_message(message):
    assert decode(json.dumps(message).encode(), 7) is None


@pytest.mark.parametrize("line", [b"", b"\xff\xfe", b"{", b"[" * 100_000, b"NaN", b'{"process": 7'])
def test_a_line_that_is_not_json_is_not_a_message(line):
    assert decode(line, 7) is None


def test_texts_can_be_written_anywhere_and_are_short():
    text = one_line("a \ud800\n\r\n b" + "x" * 10_000_000)
    assert text.startswith("a \\ud800 b")
    assert len(text) < 2100
    text.encode()
    assert bounded("ab", 5) == "ab"
    assert bounded("a" * 50 + "b" * 50, 10) == "aaaaa [...] bbbbb"


@pytest.fixture
def ends(monkeypatch):
    """A link without its threads, and the other end of its socket."""
    monkeypatch.setattr("gahbench.runs.protocol.threading.Thread.start", lambda thread: None)
    parent, child = socket.socketpair()
    os.set_inheritable(child.fileno(), True)
    with parent:
        link = Link(child.detach())
        yield link, parent
        link._socket.close()


def test_a_link_is_not_inherited_and_its_forks_are_silent(ends, monkeypatch):
    link, parent = ends
    assert not os.get_inheritable(link._socket.fileno())
    link.send("note", text="one")
    own = os.getpid()
    monkeypatch.setattr(os, "getpid", lambda: own + 1)
    link.send("note", text="two")
    monkeypatch.undo()
    link.send("ready")
    found = [decode(line, own) for line in parent.recv(10_000).splitlines() if line]
    assert found == [{"event": "note", "text": "one"}, {"event": "ready"}]
