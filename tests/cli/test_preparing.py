"""The command ``prepare``, and what ``plan`` says is missing."""

import sys

import numpy as np
import pytest

SUITE = """
name: far
datasets: [{dataset}]
entrants: [identity]
scoring: {{sigmas: [0.1], images: 2}}
"""
#: A classical denoiser whose table is in a file.
TABLE = """
from pathlib import Path
import gahbench

FILE = Path("FOLDER/table")

@gahbench.hookimpl
def register_references(register):
    register("table", Table)

class Table(gahbench.Reference):
    "A denoiser with a table."
    def missing(self): return () if FILE.is_file() else ("a table of 3 numbers",)
    def prepare(self): FILE.write_text("1 2 3")
    def denoise(self, noisy, sigma, truth): return noisy * len(FILE.read_text())
"""


class ScikitLearn:
    """Stands in for scikit-learn's loader of the Olivetti faces, which are here once they were downloaded."""

    def __init__(self, home):
        self.home = home
        self.error = None

    def get_data_home(self):
        return str(self.home)

    def fetch_olivetti_faces(self, download_if_missing=True):
        file = self.home / "olivetti_py3.pkz"
        if not file.is_file():
            if not download_if_missing or self.error:
                raise self.error or OSError("not here")
            self.home.mkdir()
            file.write_bytes(b"")
        images = np.random.default_rng(0).uniform(size=(40, 64, 64)).astype(np.float32)
        return type("Bunch", (), {"images": images, "target": np.repeat(np.arange(4), 10)})


@pytest.fixture
def scikit_learn(tmp_path, monkeypatch):
    stand_in = ScikitLearn(tmp_path / "scikit_learn_data")
    monkeypatch.setitem(sys.modules, "sklearn.datasets", stand_in)
    return stand_in


@pytest.fixture
def write(tmp_path):
    """Write a suite of one dataset, and the plugin file."""
    (tmp_path / "table.py").write_text(TABLE.replace("FOLDER", str(tmp_path)))

    def suite(dataset):
        file = tmp_path / "far.yaml"
        file.write_text(SUITE.format(dataset=f"'{dataset}'"))
        return file

    return suite


def test_a_download_is_had_once_and_then_planned(command, write, scikit_learn):
    suite = write("shuffled[faces[source=olivetti]]")
    dataset = "dataset 'faces[source=olivetti]'"
    what = f"the Olivetti faces, 4 MB, fetched by scikit-learn into {scikit_learn.home}"
    status, printed, errors = command("plan")(suite)
    assert (status, printed) == (2, "")
    assert f"error: {suite}: the units of shuffled[" in errors
    assert "cannot be planned before the images are here" in errors
    assert errors.endswith(f"; missing here: {dataset}: {what}\n")
    assert not scikit_learn.home.exists()

    status, printed, _ = command("prepare")(suite)
    assert (status, printed) == (0, f"{dataset}: got {what}\nsuite {suite}: all that it needs is here\n")
    status, printed, _ = command("prepare")(suite)
    assert (status, printed) == (0, f"{dataset}: here already\nsuite {suite}: all that it needs is here\n")
    status, printed, _ = command("plan")(suite)
    assert status == 0
    assert "missing" not in printed


def test_without_a_network_it_says_what_cannot_be_reached_and_what_to_do_by_hand(command, write, scikit_learn):
    scikit_learn.error = OSError("<urlopen error [Errno -3] Temporary failure in name resolution>")
    suite = write("faces[source=olivetti]")
    status, printed, _ = command("prepare")(suite)
    assert status == 1
    assert "dataset 'faces[source=olivetti]': could not be had: source=olivetti cannot be fetched" in printed
    assert "name resolution>; it is at https://ndownloader.figshare.com/files/5976027; by hand: put a copy " in printed
    assert f"from a machine where it was fetched at {scikit_learn.home / 'olivetti_py3.pkz'}; " in printed
    assert printed.endswith(f"suite {suite}: 1 of 1 could not be had\n")


def test_plan_says_what_entrants_miss_and_how_to_get_it(command, write, tmp_path):
    suite, plugin = write("discs[size=8]"), tmp_path / "table.py"
    more = ("-p", plugin, "-e", "table")
    status, printed, _ = command("plan")(suite, *more)
    assert status == 0
    assert "to do: 2 of 2 units" in printed
    by = f"'gahbench prepare {suite} -p {plugin} -e table'"
    assert f"missing here: reference 'table': a table of 3 numbers; {by} gets it" in printed.splitlines()
    assert not (tmp_path / "table").exists()
    status, printed, _ = command("prepare")(suite, *more)
    assert (status, printed.splitlines()[0]) == (0, "reference 'table': got a table of 3 numbers")
    assert "missing" not in command("plan")(suite, *more)[1]


def test_a_suite_that_needs_nothing(command, write):
    suite = write("discs[size=8]")
    assert command("prepare")(suite)[:2] == (0, f"suite {suite}: needs nothing from elsewhere\n")


def test_run_still_downloads(command, write, scikit_learn, tmp_path):
    status, _, errors = command("run")(write("faces[source=olivetti]"), "--out", tmp_path / "out", "--engine", "inline")
    assert status == 0, errors
    assert scikit_learn.home.is_dir()
