"""Tests of the scripts that take and run submissions: anything but a plugin file, and units.zip, is refused."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / ".ci" / "submitted_file"
PLUGIN, UNITS = "results/submissions/my-net/my_net.py", "results/submissions/my-net/units.zip"
#: In place of the content of a file: a link to a private file, and no file.
LINK, REMOVED = "link", "removed"


def write(folder, files):
    """Write files of some bytes, or links, into a folder, or remove files."""
    for name, content in files.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        if content is LINK:
            file.symlink_to("/etc/passwd")
        elif content is REMOVED:
            file.unlink()
        else:
            file.write_bytes(content)


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

    def commit(files):
        write(tmp_path, files)
        run("add", "--all")
        run("commit", "--quiet", "-m", "a commit")
        return run("rev-parse", "HEAD")

    run("init", "--quiet")
    run.commit = commit
    (tmp_path / ".ci").mkdir()
    shutil.copy(SCRIPT, tmp_path / ".ci")
    commit({"board.json": b"{}"})
    return run


@pytest.mark.parametrize(
    ("files", "is_accepted"),
    [
        ({PLUGIN: b"#"}, True),
        ({PLUGIN: b"#", UNITS: b"#"}, True),
        ({UNITS: b"#"}, False),
        ({PLUGIN: b"#", "results/submissions/other/units.zip": b"#"}, False),
        ({PLUGIN: b"#", "results/submissions/my-net/other.py": b"#"}, False),
        ({PLUGIN: b"#", "board.json": b"#"}, False),
        ({PLUGIN: b"#", "board.json": REMOVED}, False),
        ({PLUGIN: LINK}, False),
        ({"results/submissions/README.md": b"#"}, False),
        ({"results/submissions/my-net/sub/my_net.py": b"#"}, False),
        ({"results/submissions/My Net/my_net.py": b"#"}, False),
        ({"results/submissions/my-net/my_net.sh": b"#"}, False),
        ({"results/submissions/my-net/x;echo.py": b"#"}, False),
    ],
)
def test_a_pull_request_adds_a_plugin_file_and_at_most_its_units(git, tmp_path, files, is_accepted):
    base = git("rev-parse", "HEAD")
    head = git.commit(files)
    git("checkout", "--quiet", base)
    # The base has moved on since the pull request was opened.
    later = git.commit({"later": b"later"})
    script = tmp_path / ".ci" / "submitted_file"
    outcome = subprocess.run([script, later, head], capture_output=True, text=True)
    assert (outcome.returncode, (tmp_path / PLUGIN).is_file()) == ((0, True) if is_accepted else (1, False))
    if is_accepted:
        assert outcome.stdout == "name=my-net\n"
    else:
        assert "accepted: one new file, results/submissions/NAME/FILE.py" in outcome.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="the sandbox needs root")
@pytest.mark.parametrize(
    ("files", "text"),
    [
        ({"my-net/a.py": b"#", "my-net/b.py": b"#"}, "holds 2 entries"),
        ({"my-net/weights.pt": b"#"}, "holds 1 entries .*accepted: one plugin file"),
        ({"my-net/a.py": LINK}, "holds 1 entries .*accepted: one plugin file"),
        ({"my-net/a.py": b"#" * 200_001}, "is larger than 200 kB"),
        ({"My Net/a.py": b"#"}, "the name 'My Net'; accepted: a-z"),
        ({"my-net/a.py": b"#", "my-net/units.zip": b"#" * 10_000_001}, "is larger than 10 MB"),
        ({"my-net/a.py": b"#", "my-net/units.zip": LINK}, "holds 2 entries"),
        ({}, "holds 0 entries .*accepted: one plugin file"),
    ],
)
def test_other_submissions_are_refused_before_anything_runs(tmp_path, files, text):
    write(tmp_path, files)
    folder = next(iter(files), "absent/").partition("/")[0]
    outcome = subprocess.run(
        [SCRIPT.with_name("submission"), tmp_path / folder, tmp_path / "out"],
        env={**os.environ, "PYTHON": sys.executable},
        capture_output=True,
        text=True,
    )
    assert outcome.returncode == 1
    assert re.search(f"refused: .*{text}", outcome.stderr)
    assert outcome.stdout == ""
    assert not (tmp_path / "out").exists()
