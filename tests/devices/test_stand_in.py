"""The stand-in GPU, and all code paths that compute on a device, in separate processes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from gahbench.devices import stand_in

HERE = Path(__file__).resolve().parent
pytestmark = pytest.mark.skipif(not stand_in.is_supported(), reason="torch is too old for Python backends")


def run(*arguments):
    """Run Python, and return its exit status and the end of its output."""
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=HERE.parents[1],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=600,
    )
    return done.returncode, done.stdout[-6000:] + done.stderr[-3000:]


def test_the_stand_in_behaves_like_a_gpu():
    options = ("-n", "0", "-p", "no:cacheprovider", "--rootdir", str(HERE.parents[1]))
    status, output = run("-m", "pytest", *options, str(HERE / "stand_in_cases.py"))
    assert status == 0, output


@pytest.mark.parametrize(
    "options", [pytest.param(["--few"], id="few"), pytest.param([], id="all", marks=pytest.mark.slow)]
)
def test_paths_agree_with_the_cpu_and_wait_as_often_as_the_guide_says(options):
    status, output = run("-W", "ignore", "-m", "tests.devices", *options)
    assert status == 0, output
