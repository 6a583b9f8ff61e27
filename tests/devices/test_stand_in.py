"""The stand-in GPU, and all code paths that compute on a device, in a separate process, since it stays installed."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from devices import stand_in

HERE = Path(__file__).resolve().parent
pytestmark = pytest.mark.skipif(not stand_in.IS_SUPPORTED, reason="torch is too old for Python backends")


@pytest.mark.parametrize("marks", ["not slow", pytest.param("slow", marks=pytest.mark.slow)])
def test_the_stand_in_behaves_like_a_gpu_and_paths_agree_with_the_cpu(marks):
    root = HERE.parents[1]
    files = [str(HERE / "stand_in_cases.py"), str(HERE / "stand_in_paths.py")]
    command = [sys.executable, "-W", "ignore", "-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "GAHBENCH_TEST_DEVICE": "standin"}
    done = subprocess.run(
        [*command, "--rootdir", str(root), "-m", marks, *files],
        cwd=root,
        env=environment,
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-3000:]
