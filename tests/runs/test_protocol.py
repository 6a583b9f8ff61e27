"""Messages of workers: whatever else is in their pipe is none."""

import json
import os

import pytest

from gahbench._util.error_text import bounded, one_line
from gahbench.runs.protocol import decode, encode, high_descriptor, seconds_of

PROOF = {"secret": "s", "process": 7}
FINISHED = {"event": "finished", "unit": "fit-1", "seconds": 1.5, "moved": []}


def test_a_message_comes_through_behind_whatever_was_written_before():
    *_, line, rest = (b'\xff{"event": "fin' + encode({**PROOF, **FINISHED})).split(b"\n")
    assert (decode(line, "s", 7), rest) == (FINISHED, b"")


@pytest.mark.parametrize(
    "message",
    [
        FINISHED,
        {**FINISHED, "secret": "t", "process": 7},
        {**FINISHED, "secret": "s", "process": 8},
        {**FINISHED, **PROOF, "seconds": "long"},
        {**FINISHED, **PROOF, "more": 1},
        {**PROOF, "event": "finished"},
        {**PROOF, "event": "reward", "unit": "fit-1"},
        {**PROOF, "event": ["finished"]},
        PROOF,
        [1],
        None,
        3,
    ],
)
def test_what_lacks_proof_or_form_is_no_message(message):
    assert decode(json.dumps(message).encode(), "s", 7) is None


@pytest.mark.parametrize("line", [b"", b"\xff\xfe", b"{", b"[" * 100_000, b"NaN", b'{"secret": "s", "process": 7'])
def test_what_is_no_json_is_no_message(line):
    assert decode(line, "s", 7) is None


def test_texts_can_be_written_anywhere_and_are_short():
    text = one_line("a \ud800\n\r\n b" + "x" * 10_000_000)
    assert text.startswith("a \\ud800 b")
    assert len(text) < 2100
    text.encode()
    assert bounded("ab", 5) == "ab"
    assert bounded("a" * 50 + "b" * 50, 10) == "aaaaa [...] bbbbb"


def test_seconds_are_a_duration():
    assert [seconds_of(value) for value in (1.5, -1, float("nan"), float("inf"))] == [1.5, 0, 0, 0]


def test_a_descriptor_moves_out_of_the_way_and_is_not_inherited():
    reading, writing = os.pipe()
    os.set_inheritable(writing, True)
    moved = high_descriptor(writing)
    try:
        assert moved >= 200
        assert not os.get_inheritable(moved)
        os.write(moved, b"x")
        assert os.read(reading, 1) == b"x"
        with pytest.raises(OSError):
            os.write(writing, b"x")
    finally:
        os.close(moved)
        os.close(reading)
