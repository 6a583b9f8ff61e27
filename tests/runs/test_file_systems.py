"""Work through mounts that remember names, absent ones too, as network file systems do."""

import os
import re
import shutil
import subprocess
import sys
import time

import pytest
from sample_files import TINY

from gahbench.registry.registry import open_registry
from gahbench.runs.collect import collect
from gahbench.runs.opening import plan_with
from gahbench.runs.running import write_plan
from gahbench.store.plan_file import recorded_plan

pytestmark = pytest.mark.processes

#: Seconds for which a mount remembers what it saw.
CACHE = 20
OPTIONS = f"negative_timeout={CACHE},entry_timeout={CACHE},attr_timeout={CACHE}"


@pytest.fixture
def mounts(tmp_path):
    """Two mounts of one folder, each with its own memory."""
    if shutil.which("bindfs") is None or not os.access("/dev/fuse", os.W_OK):
        pytest.skip("needs bindfs and the right to mount")
    (tmp_path / "real").mkdir()
    places = [tmp_path / "one", tmp_path / "two"]
    for place in places:
        place.mkdir()
        subprocess.run(["bindfs", "-o", OPTIONS, str(tmp_path / "real"), str(place)], check=True)
    yield places
    for place in places:
        subprocess.run(["umount", "-l", str(place)], check=True)


def test_units_are_done_once_through_mounts_that_remember(mounts, tmp_path):
    suite = tmp_path / "tiny.yaml"
    suite.write_text(TINY.replace("width: 2, levels: 1", "width: [2, 3], levels: 1").replace("steps: 12", "steps: 600"))
    registry = open_registry()
    out = mounts[0] / "out"
    write_plan(plan_with(registry, suite, out), out, registry, threads=1)
    started = time.monotonic()
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "gahbench", "work", str(place / "out"), "--workers", "1"],
            stderr=subprocess.PIPE,
            text=True,
        )
        for place in mounts
    ]
    logs = [process.communicate(timeout=240)[1] for process in processes]
    seconds = time.monotonic() - started
    assert [process.returncode for process in processes] == [0, 0], logs
    finished = re.findall(r"\d\d:\d\d:\d\d (.*): done in ", "\n".join(logs))
    assert sorted(finished) == sorted(unit.label for unit in recorded_plan(out).shown)
    assert all(": done in" in log for log in logs)
    assert "failed" not in re.sub("0 failed", "", "".join(logs))
    # A wait for a memory to fade, and not several.
    assert seconds < 60 + 2 * CACHE
    assert len(collect(tmp_path / "real" / "out").leaderboard(full=True)) == 4
