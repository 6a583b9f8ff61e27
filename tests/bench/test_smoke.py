"""All benchmarks run, on small sizes."""

import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent
SCRIPTS = sorted(file.name for file in FOLDER.glob("*.py") if "\nif __name__ ==" in file.read_text("utf-8"))


@pytest.mark.bench
@pytest.mark.parametrize("script", SCRIPTS)
def test_a_benchmark_runs(script, tmp_path):
    # Run outside the repository, to check that a benchmark writes no files to the current folder.
    command = [sys.executable, str(FOLDER / script), "--smoke"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=1500)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.strip()
    assert list(tmp_path.iterdir()) == []
