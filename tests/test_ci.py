"""The steps of ``.ci/run``: their table, and the environments of tests that need extras."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest
from extra_packages import packages_of
from small_plugins import NEEDS

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / ".ci" / "steps.py"


@pytest.fixture
def ci(monkeypatch, tmp_path):
    """Return ``.ci/steps.py`` as a module whose clone is an empty folder, and which has no steps."""
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    spec = importlib.util.spec_from_file_location("ci_steps", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "ci_steps", module)
    spec.loader.exec_module(module)
    module.SCRATCH, module.CLONE = tmp_path, tmp_path
    return module


def test_steps_end_in_a_table_and_the_closing_line_of_the_tests(ci, capsys):
    @ci.step("working")
    def passes(run):
        run("echo", "5 passed, 2 skipped in 1.00s")
        run("echo", "1 failed, 3 passed in 2.00s (0:00:02)")
        return "skipped tests of Slurm"

    @ci.step("working")
    def fails(run):
        run("bash", "-c", "echo 7 passed in 3.00s; false")

    for item in (passes, fails):
        item.run()
    ci.show([passes, fails])
    lines = capsys.readouterr().out.splitlines()
    assert "passes   | 5 passed, 2 skipped in 1.00s" in lines
    assert [" ".join(line.split()) for line in lines[lines.index("") + 1 : -1]] == [
        "step result passed skipped seconds",
        "passes passed 8 2 0 skipped tests of Slurm",
        "fails FAILED 7 - 0 exit status 1: bash -c echo 7 passed in 3.00s; false",
    ]
    assert lines[-1] == "7 passed in 3.00s"
    ci.STEPS["tests"].closing = ["9 passed in 9.00s"]
    ci.show([passes])
    assert capsys.readouterr().out.splitlines()[-1] == "9 passed in 9.00s"


def test_what_steps_share_is_made_once(ci):
    made = []
    function = ci.once(lambda run: made.append(run) or "made")
    assert [function("first"), function("second"), made] == ["made", "made", ["first"]]


def test_the_first_steps_are_the_commands_of_the_readme(ci):
    ci.CLONE = ROOT
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for end in ("gahbench run quick", "pytest"):
        assert f"\n{ci.readme_command(end)[-1]}\n" in text
    assert [name for name, item in ci.STEPS.items() if item.lane == "first"] == ["quick", "tests"]


def test_an_unknown_step_is_refused():
    # Workflows call it as a program, others with bash.
    done = subprocess.run(["bash", ROOT / ".ci" / "run", "lint", "nonsense"], capture_output=True, text=True)
    assert done.returncode == 2
    assert "unknown step 'nonsense'; accepted: quick, tests, " in done.stderr


def test_every_test_that_needs_an_extra_has_an_environment(ci):
    files = (ROOT / "tests").rglob("test_*.py")
    marks = [re.findall(r'mark\.extras\("([^"]+)"', file.read_text(encoding="utf-8")) for file in files]
    needed = {package for packages in marks for package in packages} | {packages[0] for packages in NEEDS.values()}
    assert needed - packages_of([*ci.EXTRAS, *ci.APART]) == set()
