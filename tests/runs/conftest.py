"""Results folders of the tiny suite, run once for all tests."""

import shutil

import pytest
from sample_files import TINY

import gahbench


@pytest.fixture(scope="session")
def tiny_run(made_once):
    """A run of the tiny suite with its units, which tests read and do not change."""

    def fill(home):
        (home / "tiny.yaml").write_text(TINY, encoding="utf-8")
        gahbench.run(home / "tiny.yaml", home / "out", engine="inline", threads=1)

    return made_once("tiny", fill) / "out"


@pytest.fixture
def out(tiny_run, tmp_path):
    """A copy of the run of the tiny suite, which a test may change."""
    return shutil.copytree(tiny_run, tmp_path / "out")
