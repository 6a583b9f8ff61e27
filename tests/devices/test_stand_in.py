"""The stand-in device, and every path that computes on a device, each group in a process of its own."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from pathlib import Path

import pytest

from gahbench.devices import stand_in

from .budgets import BUDGETS, table

HERE = Path(__file__).resolve().parent
pytestmark = pytest.mark.skipif(not stand_in.is_supported(), reason="torch has no Python backends, since it is too old")


def run(*arguments: str) -> tuple[int, str]:
    """Run Python; return its status, and the end of what it wrote."""
    variables = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=HERE.parents[1],
        env=variables,
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    return done.returncode, done.stdout[-6000:] + done.stderr[-3000:]


def test_the_stand_in_does_what_a_gpu_would():
    given = ("-n", "0", "-p", "no:cacheprovider", "--rootdir", str(HERE.parents[1]))
    status, output = run("-m", "pytest", *given, str(HERE / "stand_in_cases.py"))
    assert status == 0, output


#: Groups of paths that take about as long as each other.
PARTS = [
    [
        "training step",
        "fit, resumed",
        "checks of a fit",
        "denoising a batch",
        "sampling",
        "public functions",
        "dataset",
    ],
    ["Jacobian, products", "Jacobian, matrices and eigenvectors", "statistics of samples"],
    ["basis", "basis, 17x23 pixels", "filters of a basis", "reference", "reference that moves", "metric"],
]


@pytest.mark.parametrize("groups", PARTS, ids=lambda groups: groups[0])
def test_paths_mix_no_devices_agree_with_the_cpu_and_keep_their_budgets(groups):
    status, output = run("-W", "ignore", "-m", "tests.devices", *groups)
    assert status == 0, output


def test_every_group_is_tested():
    assert sorted(itertools.chain(*PARTS)) == sorted(BUDGETS)


def test_the_guide_has_the_budgets():
    guide = (HERE.parents[1] / ".docs" / "guide" / "hardware.md").read_text(encoding="utf-8")
    assert "\n".join(table()) in guide
