"""Tests do not depend on the current folder, or on the user's home, settings, language and time zone."""

import locale
import os
import subprocess
import sys
import time
from pathlib import Path

import isolation

#: Environment variables that a user, a cluster or another run may have set.
SETTINGS = {
    "GAHBENCH_CHECKPOINT_SECONDS": "0.5",
    "GAHBENCH_DATA": "data",
    "OMP_NUM_THREADS": "7",
    "MPLBACKEND": "nonsense",
    "XDG_CACHE_HOME": "/nowhere",
    "SLURM_JOB_ID": "7",
    "COLUMNS": "20",
    "TZ": "Asia/Kathmandu",
    "LC_ALL": "C",
    "HOME": "/nowhere",
}


def test_the_environment_does_not_depend_on_the_user():
    assert (list(Path.cwd().iterdir()), Path.home().parent) == ([], isolation.SCRATCH)
    assert set(SETTINGS) & set(os.environ) <= {"GAHBENCH_DATA", "OMP_NUM_THREADS", "TZ", "LC_ALL", "HOME"}
    assert (os.environ["OMP_NUM_THREADS"], time.timezone, locale.getencoding()) == ("1", 0, "UTF-8")
    assert isolation.real_data().is_absolute() or "GAHBENCH_DATA" not in os.environ


#: A program that imports the environment as ``conftest.py`` does, and runs the test above without pytest.
PROGRAM = """
import isolation
import os, tempfile
import test_isolation

os.chdir(tempfile.mkdtemp(dir=isolation.SCRATCH))
test_isolation.test_the_environment_does_not_depend_on_the_user()
isolation.clear()
print("1 passed")
"""


def test_the_environment_is_the_same_for_other_settings(monkeypatch):
    for name in ("runs", "data"):
        Path(name).mkdir()
    # The folder becomes read-only, except for root.
    Path.cwd().chmod(0o555)
    for name in ("PYTEST_XDIST_WORKER", "PYTEST_ADDOPTS"):
        monkeypatch.delenv(name, raising=False)
    environment = {**os.environ, **SETTINGS, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])}
    done = subprocess.run([sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1].startswith("1 passed")
