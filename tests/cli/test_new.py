"""``gahbench new``: what it writes passes the checks, and what it says to try works."""

import re
import shlex

import pytest

from gahbench.registry.plugin import KINDS


@pytest.fixture
def written(command, tmp_path):
    """Write a new plugin of a kind in a folder whose name has a space; return its file and the commands to try."""

    def write(kind):
        folder = tmp_path / "my plugins"
        status, printed, stderr = command("new")(kind, f"my-{kind}", "--folder", folder)
        assert status == 0, stderr
        assert printed.startswith("wrote ")
        return folder / f"my_{kind}.py", [shlex.split(line) for line in printed.splitlines() if line.startswith("  ")]

    return write


@pytest.mark.parametrize("kind", KINDS)
def test_a_new_plugin_is_commented_and_passes_the_checks_by_the_first_command(written, command, kind):
    file, (check, second) = written(kind)
    assert check == ["gahbench", "check", str(file)]
    status, printed, stderr = command("check")(*check[2:])
    assert status == 0, printed + stderr
    assert f"{kind} my-{kind} ({file})" in printed
    assert "1 of 1 plugins passed" in printed
    text = file.read_text(encoding="utf-8")
    assert not re.search(r"PLUGIN_NAME|CLASS_NAME|THIS_FILE|TODO", text)
    assert text.count("\n    # ") >= 4
    # The commands to try are in the file as well.
    assert f"gahbench check {file.name}" in text
    assert f"gahbench {second[1]} " in text
    # It is never written over.
    status, _, stderr = command("new")(kind, f"my-{kind}", "--folder", file.parent)
    assert (status, "exists" in stderr, file.read_text(encoding="utf-8")) == (2, True, text)


@pytest.mark.usefixtures("figures_not_rendered", "dry_runs_here")
@pytest.mark.parametrize("kind", KINDS)
def test_a_new_plugin_works_by_the_second_command(written, command, write_suite, tmp_path, kind):
    _, (_, (program, name, *arguments)) = written(kind)
    assert program == "gahbench"
    if name == "run":
        # The suite is one of seconds rather than minutes.
        assert arguments[0] == "quick"
        arguments = [write_suite(), *arguments[1:], "--out", tmp_path / "out"]
        if "--engine" not in arguments:
            arguments += ["--engine", "inline[trusted=true]"]
    status, printed, stderr = command(name)(*arguments)
    assert status == 0, printed + stderr
    # An engine or a tracker leaves no mark on the board that is printed.
    assert ("oracle-threshold[haar]" if kind in ("engine", "tracker") else f"my-{kind}") in printed
    if kind == "tracker":
        rows = (tmp_path / "out" / "my-tracker.csv").read_text().splitlines()
        assert sum(",psnr/" in row for row in rows) == 6
        assert any(row.startswith('"unet[width=2,levels=1] on discs[size=16] (seed 0)",loss,12,') for row in rows)
