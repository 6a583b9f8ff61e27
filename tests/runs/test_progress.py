"""Lines of progress where there is no terminal."""

import io
from dataclasses import replace

import pytest
from rich.console import Console

from gahbench.contracts.engines import Event
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
    assert found == [
        "[0/1] fit e on d (seed 0): started",
        "[0/1] fit e on d (seed 0): slow",
        "[1/1] fit e on d (seed 0): done in 2.0 s",
    ]


def test_a_unit_that_stopped_is_neither_done_nor_failed():
    found = lines(Event("started", FIT), Event("stopped", FIT), Event("failed", FIT, {"error": "no luck"}))
    assert found == ["[0/1] fit e on d (seed 0): started", "[1/1] fit e on d (seed 0): failed: no luck"]


def test_labels_are_written_as_they_are_on_a_terminal():
    file = io.StringIO()
    console = Console(file=file, width=200, force_terminal=True, color_system=None)
    unit = replace(FIT, entrant="unet[width=16] [/b] $x_$")
    with ProgressReport(1, 0, console) as report:
        report(Event("started", unit))
        console.print(report._render())
    assert "fit unet[width=16] [/b] $x_$ on d" in file.getvalue()


class Scores:
    """A store of scores: the mean PSNR of each is 20 dB, plus its training seed."""

    def read_scores(self, unit):
        return [
            (sigma, image, value + (unit.seed or 0), "")
            for sigma, value in ((0.1, 25.0), (0.3, 15.0))
            for image in (0, 1)
        ]


SCORE = replace(FIT, kind="score", key="s", entrant="identity", seed=None, metric="psnr", split="test")


@pytest.mark.parametrize("is_terminal", [True, False])
def test_scores_are_shown_as_they_come(is_terminal):
    file = io.StringIO()
    console = Console(file=file, width=100, height=12, force_terminal=is_terminal, color_system=None)
    with ProgressReport(9, 0, console, Scores()) as report:
        report(Event("finished", SCORE, {"seconds": 0.5}))
        report(Event("finished", replace(SCORE, metric="ssim"), {"seconds": 0.5}))
        for seed in (0, 1):
            report(Event("finished", replace(SCORE, entrant="unet", seed=seed), {"seconds": 0.5}))
        if is_terminal:
            console.print(report._render())
    text = file.getvalue()
    if is_terminal:
        shown = [line.split() for line in text.splitlines() if line.endswith("dB")][-2:]
        assert shown == [["identity", "d", "20.00", "dB"], ["unet", "d", "20.50", "dB"]]
    else:
        assert text.splitlines() == [
            "[1/9] score identity on d psnr on test: 20.00 dB, done in 0.5 s",
            "[3/9] score unet on d (seed 0) psnr on test: 20.00 dB, done in 0.5 s",
            "[4/9] score unet on d (seed 1) psnr on test: 21.00 dB, done in 0.5 s",
        ]


def test_scores_that_do_not_fit_on_the_screen_leave_the_latest():
    console = Console(file=io.StringIO(), width=100, height=12, force_terminal=True, color_system=None)
    with ProgressReport(99, 0, console, Scores()) as report:
        for number in range(20):
            report(Event("finished", replace(SCORE, entrant=f"e{number}"), {"seconds": 0.5}))
        console.print(report._scores())
    shown = [line.split()[0] for line in console.file.getvalue().splitlines() if line.startswith("e")]
    assert shown[-4:] == ["e16", "e17", "e18", "e19"]
    assert "e2" not in shown


def test_a_note_about_the_run_names_no_unit():
    assert lines(Event("note", None, {"text": "slurm: 4 running"})) == ["slurm: 4 running"]
