"""Progress lines of commands on standard error."""

import re

import pytest
from rich.console import Console

from gahbench.cli import progress
from gahbench.cli.progress import Progress


@pytest.fixture
def shown_lines(monkeypatch):
    """Lines that the display has after each of its calls, however fast the command is."""
    lines = []
    set_step = Progress.__call__

    def record(self, *args, **options):
        set_step(self, *args, **options)
        lines.append(self.tasks[0].description)

    monkeypatch.setattr(Progress, "__call__", record)
    return lines


def test_lines_are_printed_without_a_terminal(capsys, monkeypatch):
    monkeypatch.setattr("gahbench.cli.progress.LINE_SECONDS", -1)
    with Progress("working") as show_progress:
        show_progress("3 of 4 [steps] done", 0.75)
    assert capsys.readouterr() == ("", "working: 3 of 4 [steps] done\n")


def test_a_terminal_shows_one_live_line(monkeypatch):
    terminal = Console(force_terminal=True, width=80, record=True)
    monkeypatch.setattr(progress, "Console", lambda stderr: terminal)
    with Progress("working") as show_progress:
        show_progress("3 of 4 [steps] done", 0.75)
    assert "working: 3 of 4 [steps] done" in terminal.export_text()


def test_fast_commands_print_no_progress(capsys):
    with Progress("working"):
        pass
    assert capsys.readouterr().err == ""


def test_check_shows_the_latest_check(shown_lines, write_class, command):
    body = '"""Shrinks."""\ndef denoise(self, noisy, sigma, truth): return 0.9 * noisy'
    status, out, _ = command("check")(write_class("reference", body, "sound"))
    assert status == 0
    assert "1 of 1 plugins passed" in out
    assert re.search(r": reference sound: \d+ checks? done, last: ", shown_lines[-1])


def test_inspect_shows_the_current_measurement(shown_lines, command):
    options = ("--dataset", "discs[size=8]", "--sigma", "0.1", "--basis", "dct", "--others", "0")
    status, out, _ = command("inspect")("low-pass", *options)
    assert status == 0
    assert "of 4 measurements done, now " in shown_lines[-1]
    assert "measurements done" not in out
