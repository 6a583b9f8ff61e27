"""Tests of full, read-only and caching file systems, and of odd file names: finished units are kept."""

import json
import os
import shutil
import subprocess
import sys
import time

import pytest
from sample_files import REFERENCES, TINY

from gahbench.runs.collect import collect

pytestmark = [pytest.mark.processes]


#: Runs mounts, commands and checks one after the other; the mounts end with this process.
SCRIPT = """
import contextlib, io, json, subprocess, sys
from pathlib import Path
from gahbench.cli import main
from gahbench.store.store import Store
from gahbench.store.units import FinishedUnit

def run(arguments):
    sys.argv, out, err, status = ["gahbench", *arguments], io.StringIO(), io.StringIO(), 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main()
        except SystemExit as end:
            status = int(end.code or 0)
    return [status, out.getvalue(), err.getvalue()]

def finished_units(folder):
    store = Store(Path(folder))
    for name in store.finished():
        FinishedUnit(store.units / name).check(full=True)
    return sorted(store.finished())

outputs = []
for name, *arguments in json.loads(sys.argv[1]):
    if name in ("mount", "umount"):
        subprocess.run([name, *arguments], check=True)
    else:
        outputs.append(finished_units(*arguments) if name == "finished-units" else run([name, *arguments]))
print(json.dumps(outputs))
"""
ALONE = ["unshare", "--mount", "--propagation", "private"]


def run_in_own_mounts(*steps):
    """Run commands and mounts in a process with its own mount namespace; skip the test where that is not permitted."""
    if shutil.which("unshare") is None or subprocess.run([*ALONE, "true"], capture_output=True).returncode:
        pytest.skip("needs the right to mount")
    command = [*ALONE, sys.executable, "-c", SCRIPT, json.dumps(steps, default=str)]
    completed = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert completed.returncode == 0, completed.stderr
    return json.loads(completed.stdout)


def read_only(folder):
    """Return the steps that make a folder read-only, even for root."""
    return [("mount", "--bind", folder, folder), ("mount", "-o", "remount,ro,bind", folder)]


def test_a_read_only_folder_can_be_shown_and_a_board_that_cannot_be_written_is_an_error_of_one_line(references_out):
    (references_out / "results.json").unlink()
    shutil.rmtree(references_out / "figures")
    (references_out / "figures").mkdir()
    status, shown, run, figures, after = run_in_own_mounts(
        *read_only(references_out),
        ("status", references_out),
        ("leaderboard", references_out),
        ("run", references_out.parent / "tiny.yaml", "--out", references_out),
        ("umount", references_out),
        *read_only(references_out / "figures"),
        ("leaderboard", references_out),
        ("umount", references_out / "figures"),
        ("leaderboard", references_out),
    )
    assert (status[0], "4 of 4 units done" in status[1]) == (0, True)
    # The scores can be shown without a board.
    assert (shown[0], "Oracle threshold" in shown[1]) == (0, True)
    assert all(line.startswith("next: ") for line in shown[2].splitlines())
    assert run[0] == 2
    assert f"error: {references_out}: cannot be written as a results folder" in run[2]
    assert (figures[0], len(figures[2].splitlines())) == (74, 1)
    assert figures[2].startswith("error: ")
    assert "Read-only file system" in figures[2]
    assert after[0] == 0


@pytest.mark.parametrize("engine", ["inline", "local"])
def test_a_full_disk_ends_a_run_and_keeps_finished_units(tmp_path, engine):
    (tmp_path / "tiny.yaml").write_text(REFERENCES)
    small, out = tmp_path / "small", tmp_path / "small" / "out"
    small.mkdir()
    run = ("run", tmp_path / "tiny.yaml", "--engine", engine, "--out", out)
    first_run, units_before, second_run, units_after = run_in_own_mounts(
        ("mount", "-t", "tmpfs", "-o", "size=60000", "tmpfs", small),
        run,
        ("finished-units", out),
        # The run can be continued once there is space again.
        ("mount", "-o", "remount,size=50m", small),
        run,
        ("finished-units", out),
    )
    assert first_run[0] == 74, first_run
    assert "No space left on device" in first_run[2]
    assert "Traceback" not in first_run[2]
    assert second_run[0] == 0, second_run
    assert set(units_before) <= set(units_after)
    assert len(units_after) == 4


def test_a_folder_whose_name_is_not_utf_8_can_be_used(tmp_path):
    (tmp_path / "tiny.yaml").write_text(REFERENCES)
    out = os.fsencode(tmp_path) + b"/out\xff"
    command = [sys.executable, "-m", "gahbench"]
    environment = {**os.environ, "PYTHONIOENCODING": "utf-8"}
    for arguments in ([b"run", os.fsencode(tmp_path / "tiny.yaml"), b"--engine", b"inline", b"--out", out],
                      [b"plan", os.fsencode(tmp_path / "tiny.yaml"), b"--out", out],
                      [b"leaderboard", out]):  # fmt: skip
        completed = subprocess.run([*command, *arguments], capture_output=True, timeout=120, env=environment)
        assert completed.returncode == 0, completed.stderr.decode()
    (tmp_path / os.fsdecode(b"out\xff") / "plan.json").write_text("{")
    completed = subprocess.run([*command, b"status", out], capture_output=True, timeout=60, env=environment)
    assert completed.returncode == 2
    assert b"plan.json: cannot be read" in completed.stderr
    assert b"Traceback" not in completed.stderr


#: Seconds for which a mount caches names and attributes.
CACHE = 20
OPTIONS = f"negative_timeout={CACHE},entry_timeout={CACHE},attr_timeout={CACHE}"


@pytest.fixture
def mounts(tmp_path):
    """Two mounts of the same folder, each with its own cache."""
    if shutil.which("bindfs") is None or not os.access("/dev/fuse", os.W_OK):
        pytest.skip("needs bindfs and the right to mount")
    (tmp_path / "real").mkdir()
    mount_points = [tmp_path / "one", tmp_path / "two"]
    for mount in mount_points:
        mount.mkdir()
        subprocess.run(["bindfs", "-o", OPTIONS, str(tmp_path / "real"), str(mount)], check=True)
    yield mount_points
    for mount in mount_points:
        subprocess.run(["umount", "-l", str(mount)], check=True)


def test_shards_share_a_folder_through_mounts_that_cache_names(mounts, tmp_path):
    suite = tmp_path / "tiny.yaml"
    suite.write_text(TINY.replace("width: 2, levels: 1", "width: [2, 3], levels: 1").replace("steps: 12", "steps: 600"))
    started = time.monotonic()
    command = [sys.executable, "-m", "gahbench", "run", str(suite), "--threads", "1", "--workers", "1"]
    shards = [
        subprocess.Popen(
            [*command, "--out", str(mount / "out"), "--shard", f"{index}/2"], stderr=subprocess.PIPE, text=True
        )
        for index, mount in enumerate(mounts, start=1)
    ]
    logs = [process.communicate(timeout=240)[1] for process in shards]
    seconds = time.monotonic() - started
    assert [process.returncode for process in shards] == [0, 0], logs
    assert seconds < 60 + 2 * CACHE
    assert len(collect(tmp_path / "real" / "out").leaderboard(full=True)) == 4
