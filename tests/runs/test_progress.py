"""Lines of progress where there is no terminal."""

import io
from dataclasses import replace

from rich.console import Console

from gahbench.contracts.jobs import Event
from gahbench.contracts.unit import Unit
from gahbench.runs.progress import ProgressReport

FIT = Unit("fit", "k", "d", "e", "architecture", 0, None, None, None, None, 1.0, {})


def lines(*events):
    file = io.StringIO()
    with ProgressReport(1, 0, Console(file=file, width=200)) as report:
        for event in events:
            report(event)
    return file.getvalue().splitlines()


def test_a_unit_is_reported_from_its_start_to_its_end():
    found = lines(Event("started", FIT), Event("note", FIT, {"text": "slow"}), Event("finished", FIT, {"seconds": 2.0}))
    assert found == ["[0/1] fit e on d: started", "[0/1] fit e on d: slow", "[1/1] fit e on d: done in 2.0 s"]


def test_a_unit_that_stopped_is_neither_done_nor_failed():
    found = lines(Event("started", FIT), Event("stopped", FIT), Event("failed", FIT, {"error": "no luck"}))
    assert found == ["[0/1] fit e on d: started", "[1/1] fit e on d: failed: no luck"]


def test_labels_are_written_as_they_are_on_a_terminal():
    file = io.StringIO()
    console = Console(file=file, width=200, force_terminal=True, color_system=None)
    unit = replace(FIT, entrant="unet[width=16] [/b] $x_$")
    with ProgressReport(1, 0, console) as report:
        report(Event("started", unit))
        console.print(report._render())
    assert "fit unet[width=16] [/b] $x_$ on d" in file.getvalue()


def test_a_note_about_the_run_names_no_unit():
    assert lines(Event("note", None, {"text": "slurm: 4 running"})) == ["slurm: 4 running"]
