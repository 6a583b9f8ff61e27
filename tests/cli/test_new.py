"""``gahbench new``: the plugin that it writes passes the checks, and the commands that it suggests work."""

import re
import shlex

import pytest
from sample_files import REFERENCES, TINY

from gahbench.registry.configured import KINDS


@pytest.fixture
def write_new(command, tmp_path):
    """Write a new plugin to a folder whose name has a space; return its file and the suggested commands."""

    def write(kind):
        folder = tmp_path / "my plugins"
        status, printed, stderr = command("new")(kind, f"my-{kind}", "--folder", folder)
        assert status == 0, stderr
        assert printed.startswith("wrote ")
        suffix = "yaml" if kind == "claim" else "py"
        commands = [shlex.split(line) for line in printed.splitlines() if line.startswith("  ")]
        return folder / f"my_{kind}.{suffix}", commands

    return write


@pytest.mark.parametrize("kind", KINDS)
def test_a_new_plugin_is_commented_and_passes_the_suggested_check(write_new, command, kind):
    file, (check, second) = write_new(kind)
    assert check == ["gahbench", "check", str(file)]
    status, printed, stderr = command("check")(*check[2:])
    assert status == 0, printed + stderr
    assert f"{kind} my-{kind} ({file})" in printed
    assert "1 of 1 plugins passed" in printed
    assert ("on one device" in printed) == (kind in ("architecture", "basis"))
    text = file.read_text(encoding="utf-8")
    assert not re.search(r"PLUGIN_NAME|CLASS_NAME|THIS_FILE|TODO", text)
    assert text.count("\n    # ") >= 4
    # The file repeats the suggested commands.
    assert f"gahbench check {file.name}" in text
    assert f"gahbench {second[1]} " in text
    # An existing file is never overwritten.
    status, _, stderr = command("new")(kind, f"my-{kind}", "--folder", file.parent)
    assert (status, "exists" in stderr, file.read_text(encoding="utf-8")) == (2, True, text)


@pytest.mark.usefixtures("figures_not_rendered")
@pytest.mark.parametrize("kind", KINDS)
def test_a_new_plugin_works_in_the_suggested_command(write_new, command, write_suite, tmp_path, kind):
    _, (_, (program, name, *arguments)) = write_new(kind)
    assert program == "gahbench"
    if name == "run":
        # Run a faster suite than the suggested suite.
        assert arguments[0] == "quick"
        text = TINY if kind == "tracker" else REFERENCES
        arguments = [write_suite(text=text), *arguments[1:], "--out", tmp_path / "out"]
        if "--engine" not in arguments:
            arguments += ["--engine", "inline"]
    status, printed, stderr = command(name)(*arguments)
    assert status == 0, printed + stderr
    # Engines and trackers do not appear on the board.
    if kind == "metric":
        # Other metrics than PSNR are columns of the tables of each dataset.
        printed = command("leaderboard")(tmp_path / "out", "-m", "my-metric")[1]
    shown = "oracle threshold" if kind in ("engine", "tracker") else f"my {kind}"
    assert shown in printed.lower().replace("-", " ")
    if kind == "tracker":
        rows = (tmp_path / "out" / "my-tracker.csv").read_text().splitlines()
        assert sum(",psnr/" in row for row in rows) == 6
        assert any(row.startswith('"unet[width=2,levels=1] on discs[size=16] (seed 0)",loss,12,') for row in rows)
