"""Tests of the check that a pull request adds one plugin file and nothing else."""

import shutil
import subprocess
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
    (tmp_path / "verified.json").write_text("{}")
    run("add", "--all")
    run("commit", "--quiet", "-m", "base")
    return run


def add(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("content\n")


def remove_verified(folder):
    (folder / "verified.json").unlink()
    add(folder, PLUGIN)


def link(folder):
    (folder / PLUGIN).parent.mkdir(parents=True)
    (folder / PLUGIN).symlink_to("/etc/passwd")


@pytest.mark.parametrize(
    ("change", "is_accepted"),
    [
        (lambda folder: add(folder, PLUGIN), True),
        (lambda folder: add(folder, PLUGIN, "results/submissions/my-net/other.py"), False),
        (lambda folder: add(folder, PLUGIN, "verified.json"), False),
        (lambda folder: add(folder, "results/submissions/verified.json"), False),
        (lambda folder: add(folder, "results/submissions/my-net/sub/my_net.py"), False),
        (lambda folder: add(folder, "results/submissions/My Net/my_net.py"), False),
        (lambda folder: add(folder, "results/submissions/my-net/my_net.sh"), False),
        (lambda folder: add(folder, "results/submissions/my-net/x;echo.py"), False),
        (remove_verified, False),
        (link, False),
    ],
)
def test_a_pull_request_adds_one_plugin_file(git, tmp_path, change, is_accepted):
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
