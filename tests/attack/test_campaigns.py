"""A few cases of each campaign; ``python -m tests.attack`` runs more."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("name", "count"), [("specs", 100), ("suites", 100), ("checkpoints", 40), ("images", 40), ("folders", 10)]
)
def test_a_campaign_has_no_findings(name, count):
    command = [sys.executable, "-m", "tests.attack", name, "--count", str(count), "--processes", "1", "--time", "60"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stdout + done.stderr[-10_000:]
