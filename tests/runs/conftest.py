"""Fixtures: results folders and plans of the tiny suite, computed once for all tests."""

import shutil

import pytest
from sample_files import REFERENCES, TINY
from tiny_runs import run_for_fixture

import gahbench
from gahbench.runs.row import run_row
from gahbench.store.plan_file import require_plan


@pytest.fixture(scope="session")
def tiny_run(build_once):
    """A results folder of the tiny suite with its units; tests must not change it."""

    def fill(home):
        (home / "tiny.yaml").write_text(TINY, encoding="utf-8")
        run_for_fixture(home / "tiny.yaml", home / "out", threads=1)

    return build_once("tiny", fill) / "out"


@pytest.fixture
def out(tiny_run, tmp_path):
    """A copy of the results folder of the tiny suite, which a test may change."""
    return shutil.copytree(tiny_run, tmp_path / "out")


@pytest.fixture(scope="session")
def _references_run(build_once):
    def fill(home):
        (home / "tiny.yaml").write_text(REFERENCES, encoding="utf-8")
        run_for_fixture(home / "tiny.yaml", home / "out")

    return build_once("references", fill)


@pytest.fixture
def references_out(_references_run, tmp_path):
    """A copy of the results folder of the tiny suite without its network; the suite file lies next to it."""
    shutil.copytree(_references_run, tmp_path, dirs_exist_ok=True)
    return tmp_path / "out"


@pytest.fixture
def row(tiny_run, tmp_path):
    """A row with all units of the tiny suite, in a new results folder."""
    return gahbench.Row(tmp_path / "out", require_plan(tiny_run).units, device="cpu")


@pytest.fixture
def units_here(monkeypatch):
    """Compute units again in this process, since other processes take seconds to start."""
    monkeypatch.setattr("gahbench.runs.verification.run_in_processes", run_row)
