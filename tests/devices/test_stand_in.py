"""The stand-in GPU, and all code paths that compute on a device, in separate processes, since it stays installed."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from devices import stand_in

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.skipif(not stand_in.IS_SUPPORTED, reason="torch is too old for Python backends")


@pytest.mark.parametrize(
    "file",
    [
        pytest.param("tests/devices/stand_in_cases.py", id="cases"),
        pytest.param("tests/gpu/test_paths.py", id="paths"),
        pytest.param("tests/gpu/test_gpu_training.py", id="training", marks=pytest.mark.slow),
    ],
)
def test_the_stand_in_behaves_like_a_gpu_and_paths_agree_with_the_cpu(file):
    command = [sys.executable, "-W", "ignore", "-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "GAHBENCH_TEST_DEVICE": stand_in.NAME}
    done = subprocess.run(
        [*command, "--rootdir", str(ROOT), file], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-3000:]
