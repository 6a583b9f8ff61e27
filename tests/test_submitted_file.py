"""Tests of the scripts that take and run submissions: anything but a plugin file, and units.zip, is refused."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / ".ci" / "submitted_file"
PLUGIN = "results/submissions/my-net/my_net.py"


@pytest.fixture
def git(tmp_path):
    """A function that runs git in a repository with one commit, which holds the script and a file."""
    if shutil.which("git") is None:
        pytest.skip("git is absent")

    def run(*arguments):
        identity = ("-c", "user.name=a", "-c", "user.email=a@b", "-c", "core.hooksPath=/dev/null")
        return subprocess.run(
            ["git", *identity, *arguments], cwd=tmp_path, check=True, capture_output=True, text=True
        ).stdout.strip()

    run("init", "--quiet")
    (tmp_path / ".ci").mkdir()
    shutil.copy(SCRIPT, tmp_path / ".ci" / "submitted_file")
    (tmp_path / "board.json").write_text("{}")
    run("add", "--all")
    run("commit", "--quiet", "-m", "base")
    return run


def add(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("content\n")


def remove_board(folder):
    (folder / "board.json").unlink()
    add(folder, PLUGIN)


def link(folder):
    (folder / PLUGIN).parent.mkdir(parents=True)
    (folder / PLUGIN).symlink_to("/etc/passwd")


@pytest.mark.parametrize(
    ("change", "is_accepted"),
    [
        (lambda folder: add(folder, PLUGIN), True),
        (lambda folder: add(folder, PLUGIN, "results/submissions/my-net/units.zip"), True),
        (lambda folder: add(folder, "results/submissions/my-net/units.zip"), False),
        (lambda folder: add(folder, PLUGIN, "results/submissions/other/units.zip"), False),
        (lambda folder: add(folder, PLUGIN, "results/submissions/my-net/other.py"), False),
        (lambda folder: add(folder, PLUGIN, "board.json"), False),
        (lambda folder: add(folder, "results/submissions/README.md"), False),
        (lambda folder: add(folder, "results/submissions/my-net/sub/my_net.py"), False),
        (lambda folder: add(folder, "results/submissions/My Net/my_net.py"), False),
        (lambda folder: add(folder, "results/submissions/my-net/my_net.sh"), False),
        (lambda folder: add(folder, "results/submissions/my-net/x;echo.py"), False),
        (remove_board, False),
        (link, False),
    ],
)
def test_a_pull_request_adds_a_plugin_file_and_at_most_its_units(git, tmp_path, change, is_accepted):
    base = git("rev-parse", "HEAD")
    change(tmp_path)
    git("add", "--all")
    git("commit", "--quiet", "-m", "head")
    head = git("rev-parse", "HEAD")
    git("checkout", "--quiet", base)
    # The base has moved on since the pull request was opened.
    (tmp_path / "later").write_text("later")
    git("add", "--all")
    git("commit", "--quiet", "-m", "later")
    outcome = subprocess.run(
        [tmp_path / ".ci" / "submitted_file", git("rev-parse", "HEAD"), head], capture_output=True, text=True
    )
    assert (outcome.returncode, (tmp_path / PLUGIN).is_file()) == ((0, True) if is_accepted else (1, False))
    if is_accepted:
        assert outcome.stdout == "name=my-net\n"
    else:
        assert "accepted: one new file, results/submissions/NAME/FILE.py" in outcome.stderr


def write_two(folder):
    add(folder, "my-net/a.py", "my-net/b.py")
    return "my-net"


def write_data(folder):
    add(folder, "my-net/weights.pt")
    return "my-net"


def write_link(folder):
    (folder / "my-net").mkdir()
    (folder / "my-net" / "a.py").symlink_to("/etc/passwd")
    return "my-net"


def write_large(folder):
    add(folder, "my-net/a.py")
    (folder / "my-net" / "a.py").write_bytes(b"#" * 200_001)
    return "my-net"


def write_badly_named(folder):
    add(folder, "My Net/a.py")
    return "My Net"


def write_large_units(folder):
    add(folder, "my-net/a.py")
    (folder / "my-net" / "units.zip").write_bytes(b"#" * 10_000_001)
    return "my-net"


def link_units(folder):
    add(folder, "my-net/a.py")
    (folder / "my-net" / "units.zip").symlink_to("/etc/passwd")
    return "my-net"


@pytest.mark.skipif(os.geteuid() != 0, reason="the sandbox needs root")
@pytest.mark.parametrize(
    ("write", "text"),
    [
        (write_two, "holds 2 entries"),
        (write_data, "holds 1 entries .*accepted: one plugin file"),
        (write_link, "holds 1 entries .*accepted: one plugin file"),
        (write_large, "is larger than 200 kB"),
        (write_badly_named, "the name 'My Net'; accepted: a-z"),
        (write_large_units, "is larger than 10 MB"),
        (link_units, "holds 2 entries"),
        (lambda folder: "absent", "holds 0 entries .*accepted: one plugin file"),
    ],
)
def test_other_submissions_are_refused_before_anything_runs(tmp_path, write, text):
    outcome = subprocess.run(
        [SCRIPT.with_name("submission"), tmp_path / write(tmp_path), tmp_path / "out"],
        env={**os.environ, "PYTHON": sys.executable},
        capture_output=True,
        text=True,
    )
    assert outcome.returncode == 1
    assert re.search(f"refused: .*{text}", outcome.stderr)
    assert outcome.stdout == ""
    assert not (tmp_path / "out").exists()
