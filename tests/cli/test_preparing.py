"""``gahbench prepare``, and what ``gahbench plan`` reports as missing."""

import sys

import numpy as np
import pytest

SUITE = """
name: far
datasets: [{dataset}]
entrants: [identity]
scoring: {{sigmas: [0.1], images: 2}}
"""
#: A plugin of a classical denoiser that reads a table from a file.
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
    """Fake of scikit-learn's loader of the Olivetti faces, with a cache in `home`."""

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
    fake = ScikitLearn(tmp_path / "scikit_learn_data")
    monkeypatch.setitem(sys.modules, "sklearn.datasets", fake)
    return fake


@pytest.fixture
def write(tmp_path):
    """Write the plugin file; return a function that writes a suite of one dataset."""
    (tmp_path / "table.py").write_text(TABLE.replace("FOLDER", str(tmp_path)))

    def suite(dataset):
        file = tmp_path / "far.yaml"
        file.write_text(SUITE.format(dataset=f"'{dataset}'"))
        return file

    return suite


def test_prepare_downloads_once_and_then_plan_succeeds(command, write, scikit_learn):
    suite = write("shuffled[faces[source=olivetti]]")
    dataset = "dataset 'faces[source=olivetti]'"
    download = f"the Olivetti faces, 4 MB, fetched by scikit-learn into {scikit_learn.home}"
    status, _, errors = command("plan")(suite)
    assert (status, errors.endswith(f" missing on this machine: {dataset}: {download}\n")) == (2, True)
    assert not scikit_learn.home.exists()
    for outcome in (f"got {download}", "already available"):
        status, printed, _ = command("prepare")(suite)
        assert (status, printed) == (0, f"{dataset}: {outcome}\nsuite {suite}: everything is available\n")
    status, printed, _ = command("plan")(suite)
    assert (status, "missing" in printed) == (0, False)


def test_a_failed_download_is_reported(command, write, scikit_learn):
    scikit_learn.error = OSError("no route")
    status, printed, _ = command("prepare")(write("faces[source=olivetti]"))
    assert status == 1
    assert "dataset 'faces[source=olivetti]': could not be obtained: source=olivetti cannot be fetched" in printed
    assert "1 of 1 could not be obtained" in printed


def test_plan_reports_missing_files_of_entrants_and_the_command_that_gets_them(command, write, tmp_path):
    suite, plugin = write("discs[size=8]"), tmp_path / "table.py"
    options = ("-p", plugin, "-e", "table")
    status, printed, _ = command("plan")(suite, *options)
    assert (status, "to do: 2 of 2 units" in printed) == (0, True)
    prepare = f"gahbench prepare {suite} -p {plugin} -e table"
    assert f"missing: reference 'table': a table of 3 numbers; to get it: {prepare}" in printed.splitlines()
    assert not (tmp_path / "table").exists()
    status, printed, _ = command("prepare")(suite, *options)
    assert (status, printed.splitlines()[0]) == (0, "reference 'table': got a table of 3 numbers")
    assert "missing" not in command("plan")(suite, *options)[1]
    assert command("prepare")(suite)[:2] == (0, f"suite {suite}: nothing to prepare\n")


def test_run_downloads_without_prepare(figures_not_rendered, command, write, scikit_learn, tmp_path):
    status, _, errors = command("run")(write("faces[source=olivetti]"), "--out", tmp_path / "out", "--engine", "inline")
    assert status == 0, errors
    assert scikit_learn.home.is_dir()
