"""``gahbench new``: the plugin that it writes passes the checks, and the commands that it suggests work."""

import re
import shlex

import pytest
from sample_files import REFERENCES, TINY

from gahbench.registry.configured import KINDS


@pytest.mark.usefixtures("figures_not_rendered")
@pytest.mark.parametrize("kind", KINDS)
def test_a_new_plugin_passes_the_suggested_check_and_works_in_the_suggested_command(
    command, write_suite, tmp_path, kind
):
    # The name of the folder has a space.
    folder = tmp_path / "my plugins"
    status, printed, stderr = command("new")(kind, f"my-{kind}", "--folder", folder)
    assert status == 0, stderr
    check, (program, name, *arguments) = (shlex.split(line) for line in printed.splitlines() if line.startswith("  "))
    (file,) = folder.iterdir()
    text = file.read_text(encoding="utf-8")
    assert not re.search(r"PLUGIN_NAME|CLASS_NAME|THIS_FILE|TODO", text)
    assert text.count("\n    # ") >= 4
    # An existing file is never overwritten.
    status, _, stderr = command("new")(kind, f"my-{kind}", "--folder", folder)
    assert (status, "exists" in stderr, file.read_text(encoding="utf-8")) == (2, True, text)

    assert check == ["gahbench", "check", str(file)]
    status, printed, stderr = command("check")(file)
    assert status == 0, printed + stderr
    assert f"{kind} my-{kind} ({file})" in printed
    assert "1 of 1 plugins passed" in printed

    assert program == "gahbench"
    if name == "run":
        # Run a faster suite than the suggested suite.
        assert arguments[0] == "quick"
        suite = write_suite(text=TINY if kind == "tracker" else REFERENCES)
        arguments = [suite, *arguments[1:], "--out", tmp_path / "out"]
        if "--engine" not in arguments:
            arguments += ["--engine", "inline"]
    status, printed, stderr = command(name)(*arguments)
    assert status == 0, printed + stderr
    if kind == "metric":
        # Other metrics than PSNR are columns of the tables of each dataset.
        printed = command("leaderboard")(tmp_path / "out", "-m", "my-metric")[1]
    # Engines and trackers do not appear on the board.
    shown = "oracle threshold" if kind in ("engine", "tracker") else f"my {kind}"
    assert shown in printed.lower().replace("-", " ")
    if kind == "tracker":
        assert (tmp_path / "out" / "my-tracker.csv").read_text().count(",psnr/") == 6
