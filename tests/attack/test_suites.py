"""Hostile suites end in one line; more of them by ``python -m tests.attack suites``."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_suites_are_loaded_or_refused_in_a_line():
    command = [sys.executable, "-m", "tests.attack", "suites", "--count", "100", "--processes", "1", "--time", "60"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stdout + done.stderr[-10_000:]
