"""The steps of ``.ci/run``: the commands of the README, and an environment for every test that needs an extra."""

import importlib.util
import re
import sys
from pathlib import Path

import pytest
from small_plugins import NEEDS, packages_of

ROOT = Path(__file__).parents[1]


@pytest.fixture
def ci(monkeypatch):
    """Return ``.ci/steps.py`` as a module."""
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    spec = importlib.util.spec_from_file_location("ci_steps", ROOT / ".ci" / "steps.py")
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "ci_steps", module)
    spec.loader.exec_module(module)
    module.CLONE = ROOT
    return module


def test_the_first_steps_are_the_commands_of_the_readme(ci):
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for end in ("gahbench run quick", "pytest"):
        assert f"\n{ci.readme_command(end)[-1]}\n" in text
    assert [name for name, item in ci.STEPS.items() if item.lane == "first"] == ["quick", "tests"]


def test_every_test_that_needs_an_extra_has_an_environment(ci):
    files = (ROOT / "tests").rglob("test_*.py")
    marks = [re.findall(r'mark\.extras\("([^"]+)"', file.read_text(encoding="utf-8")) for file in files]
    needed = {package for packages in marks for package in packages} | {packages[0] for packages in NEEDS.values()}
    assert needed - packages_of([*ci.EXTRAS, *ci.APART]) == set()
