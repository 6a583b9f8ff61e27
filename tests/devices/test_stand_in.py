"""The stand-in device, and every path that computes on a device, each group in a process of its own."""

import itertools
import os
import subprocess
import sys
from pathlib import Path

import pytest

from gahbench.devices import stand_in

from .budgets import BUDGETS

HERE = Path(__file__).resolve().parent
pytestmark = pytest.mark.skipif(not stand_in.is_supported(), reason="torch has no Python backends, since it is too old")


def run(*arguments):
    """Run Python; return its status, and the end of what it wrote."""
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=HERE.parents[1],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=600,
    )
    return done.returncode, done.stdout[-6000:] + done.stderr[-3000:]


def test_the_stand_in_does_what_a_gpu_would():
    given = ("-n", "0", "-p", "no:cacheprovider", "--rootdir", str(HERE.parents[1]))
    status, output = run("-m", "pytest", *given, str(HERE / "stand_in_cases.py"))
    assert status == 0, output


#: Groups of paths that take about as long as each other.
PARTS = [
    "training step; fit, resumed; checks of a fit; denoising a batch; sampling; public functions; dataset",
    "Jacobian, products; Jacobian, matrices and eigenvectors; statistics of samples; metric",
    "basis; basis, 17x23 pixels; filters of a basis; reference; reference that moves",
]


@pytest.mark.parametrize("groups", PARTS, ids=lambda groups: groups.split(";")[0])
def test_paths_mix_no_devices_agree_with_the_cpu_and_keep_the_budgets_of_the_guide(groups):
    status, output = run("-W", "ignore", "-m", "tests.devices", *groups.split("; "))
    assert status == 0, output


def test_every_group_is_tested():
    assert sorted(itertools.chain(*(groups.split("; ") for groups in PARTS))) == sorted(BUDGETS)
