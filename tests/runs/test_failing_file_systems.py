"""Folders that are full, that cannot be written, or whose names are odd: a clear end, and everything finished kept."""

import contextlib
import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from sample_files import TINY

import gahbench
from gahbench._util.errors import ResultsError
from gahbench.store.store import Store

pytestmark = pytest.mark.usefixtures("dry_runs_here")
SUITE = TINY.replace("  - unet: {width: 2, levels: 1}\n", "")


@contextlib.contextmanager
def mounted(*options):
    """Mount something for a while; skips where that is not permitted."""
    target = options[-1]
    if not hasattr(os, "geteuid") or os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("needs the right to mount")
    if subprocess.run(["mount", *options], capture_output=True).returncode:
        pytest.skip("cannot mount here")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", target], check=True)


@contextlib.contextmanager
def read_only(folder):
    """Let nobody write into a folder, root neither."""
    with mounted("--bind", str(folder), str(folder)):
        subprocess.run(["mount", "-o", "remount,ro,bind", str(folder)], check=True)
        yield


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    home = tmp_path_factory.mktemp("whole")
    (home / "tiny.yaml").write_text(SUITE)
    gahbench.run(home / "tiny.yaml", home / "out", engine="inline")
    return home


@pytest.fixture
def finished(whole, tmp_path):
    shutil.copytree(whole, tmp_path, dirs_exist_ok=True)
    return tmp_path / "out"


def test_a_finished_folder_that_cannot_be_written_is_shown(finished, command):
    board = (finished / "leaderboard.md").read_text()
    with read_only(finished):
        for name in ("status", "collect", "leaderboard"):
            status, printed, errors = command(name)(finished)
            assert (status, errors) == (0, "")
            assert printed == board or "4 of 4 units done" in printed
        # A board that has to be written anew is refused, in words.
        status, _, errors = command("run")(finished.parent / "tiny.yaml", "--out", finished)
        assert status == 2
        assert f"error: {finished}: cannot be written as a results folder" in errors
    (finished / "results.json").unlink()
    with read_only(finished):
        status, _, errors = command("collect")(finished)
        assert status == 2
        assert "cannot be written as a results folder" in errors
    assert command("collect")(finished)[:2] == (0, board)


def test_figures_that_cannot_be_written_end_with_a_line_and_status_74(finished, command):
    (finished / "results.json").unlink()
    for file in (finished / "figures").iterdir():
        file.unlink()
    with read_only(finished / "figures"):
        status, _, errors = command("collect")(finished)
    assert status == 74
    assert errors.startswith("error: ")
    assert "Read-only file system" in errors
    assert len(errors.splitlines()) == 1
    assert command("collect")(finished)[0] == 0


@pytest.mark.parametrize(("engine", "room"), [("inline", 40_000), ("processes", 60_000)])
def test_a_full_disk_ends_a_run_and_keeps_what_is_finished(tmp_path, command, engine, room):
    (tmp_path / "tiny.yaml").write_text(SUITE)
    (tmp_path / "small").mkdir()
    out = tmp_path / "small" / "out"
    arguments = (tmp_path / "tiny.yaml", "--engine", engine, "--out", out)
    with mounted("-t", "tmpfs", "-o", f"size={room}", "tmpfs", str(tmp_path / "small")):
        status, _, errors = command("run")(*arguments)
        assert status in (1, 74), errors
        assert "No space left on device" in errors
        assert "Traceback" not in errors
        store = Store(out)
        names = store.finished()
        assert {unit.folder for unit in store.recorded()} == names
        for name in names:
            store.verify(store.units / name)
        # It goes on where there is room again.
        subprocess.run(["mount", "-o", "remount,size=50m", str(tmp_path / "small")], check=True)
        status, _, errors = command("run")(*arguments)
        assert status == 0, errors
        assert names <= store.finished()
        assert len(store.finished()) == 4


def test_tables_that_do_not_fit_leave_the_units_and_no_litter(finished, monkeypatch, command):
    (finished / "results.json").unlink()
    before = {file.name for file in finished.iterdir()}
    real = os.fsync

    def full(handle):
        if "leaderboard.csv" in os.readlink(f"/proc/self/fd/{handle}"):  # noqa: PTH115
            raise OSError(errno.ENOSPC, "No space left on device")
        real(handle)

    monkeypatch.setattr(os, "fsync", full)
    status, _, errors = command("collect")(finished)
    assert (status, errors) == (74, "error: [Errno 28] No space left on device\n")
    assert {file.name for file in finished.iterdir()} == before
    monkeypatch.undo()
    assert len(gahbench.collect(finished).leaderboard()) == 2


def test_a_path_that_is_too_long_is_named(tmp_path, command):
    (tmp_path / "tiny.yaml").write_text(SUITE)
    for folder in (tmp_path / ("x" * 300), Path("/".join([str(tmp_path)] + ["y" * 200] * 30))):
        for name in ("status", "collect", "leaderboard"):
            status, _, errors = command(name)(folder)
            assert (status, "File name too long" in errors) == (2, True)
        status, _, errors = command("run")(tmp_path / "tiny.yaml", "--out", folder)
        assert status in (2, 74)
        assert errors.startswith("error: ")
        assert "File name too long" in errors


def test_a_folder_whose_name_is_not_utf_8_is_one_like_others(tmp_path):
    (tmp_path / "tiny.yaml").write_text(SUITE)
    out = os.fsencode(tmp_path) + b"/out\xff"
    command = [sys.executable, "-m", "gahbench"]
    environment = {**os.environ, "PYTHONIOENCODING": "utf-8"}
    for arguments in ([b"run", os.fsencode(tmp_path / "tiny.yaml"), b"--engine", b"inline", b"--out", out],
                      [b"plan", os.fsencode(tmp_path / "tiny.yaml"), b"--out", out],
                      [b"collect", out]):  # fmt: skip
        ended = subprocess.run([*command, *arguments], capture_output=True, timeout=120, env=environment)
        assert ended.returncode == 0, ended.stderr.decode()
    (tmp_path / os.fsdecode(b"out\xff") / "plan.json").write_text("{")
    ended = subprocess.run([*command, b"status", out], capture_output=True, timeout=60, env=environment)
    assert ended.returncode == 2
    assert b"plan.json: cannot be read" in ended.stderr
    assert b"Traceback" not in ended.stderr


def test_a_lock_that_is_no_file_is_refused_at_once(finished):
    (finished / ".lock").unlink()
    os.mkfifo(finished / ".lock")
    # Nothing is new: the board needs no lock.
    assert len(gahbench.collect(finished).leaderboard()) == 2
    with pytest.raises(ResultsError, match=r"cannot be written as a results folder: .*not a regular file"):
        gahbench.run(finished.parent / "tiny.yaml", finished, engine="inline")
