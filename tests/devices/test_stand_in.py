"""The stand-in device, and every path that computes on a device, each group in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from gahbench.devices import stand_in

HERE = Path(__file__).resolve().parent
pytestmark = pytest.mark.skipif(not stand_in.is_supported(), reason="torch has no Python backends, since it is too old")


def run(*arguments: str) -> None:
    """Run Python; show what it wrote if it fails."""
    variables = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, *arguments], env=variables, capture_output=True, text=True, check=False, timeout=600
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-3000:]


def test_the_stand_in_does_what_a_gpu_would():
    run(
        "-m",
        "pytest",
        "-n",
        "0",
        "-p",
        "no:cacheprovider",
        "--rootdir",
        str(HERE.parents[1]),
        str(HERE / "stand_in_cases.py"),
    )
