import re
import time

import pytest
from rich.console import Console

from gahbench.cli import progress
from gahbench.cli.progress import Progress


@pytest.fixture
def often(monkeypatch):
    monkeypatch.setattr(progress, "FIRST_SECONDS", 0.01)
    monkeypatch.setattr(progress, "LINE_SECONDS", 0.05)


def test_lines_are_printed_where_there_is_no_terminal(capsys, monkeypatch):
    monkeypatch.setattr(progress, "FIRST_SECONDS", 0.05)
    with Progress("working") as shown:
        shown("3 of 4 steps done", 0.75)
        time.sleep(0.3)
    found = capsys.readouterr()
    (line,) = found.err.splitlines()
    assert re.fullmatch(r"working for \d+\.\d s, about \d+\.\d s left: 3 of 4 steps done", line)
    assert not found.out


def test_a_terminal_has_one_live_line(monkeypatch):
    terminal = Console(force_terminal=True, width=80, record=True)
    monkeypatch.setattr(progress, "Console", lambda stderr: terminal)
    with Progress("working") as shown:
        shown("3 of 4 steps done")
        shown._live.refresh()
        assert not shown._thread.is_alive()
    assert " s: 3 of 4 steps done" in terminal.export_text()


def test_quick_commands_print_no_progress(capsys):
    with Progress("working"):
        pass
    assert capsys.readouterr().err == ""


def test_check_says_what_was_checked_last(often, write_class, command, no_stand_in):
    body = '"""Shrinks."""\ndef denoise(self, noisy, sigma, truth): return 0.9 * noisy'
    status, out, err = command("check")(write_class("reference", body, "sound"))
    assert status == 0
    assert "1 of 1 plugins passed" in out
    assert re.search(r": reference sound: \d+ checks? done, last: ", err)


def test_inspect_says_what_it_measures(often, command):
    options = ("--dataset", "discs[size=8]", "--sigma", "0.1", "--basis", "dct", "--others", "0")
    status, out, err = command("inspect")("low-pass", *options)
    assert status == 0
    assert "of 4 measurements done, now " in err
    assert "measurements done" not in out
