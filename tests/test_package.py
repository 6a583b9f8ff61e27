"""The package: what its files promise to users, rules that its modules follow, and the steps of ``.ci/run``."""

import ast
import dataclasses
import importlib
import importlib.metadata
import importlib.util
import pkgutil
import re
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from small_plugins import NEEDS, packages_of

import gahbench

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
FILES = sorted(file for folder in ("gahbench", "plugins") for file in (ROOT / folder).rglob("*.py"))
FILE_LINES, FUNCTION_LINES = 500, 60


def test_the_description_on_package_indexes_has_no_relative_link():
    description = importlib.metadata.metadata("gahbench").get_payload()
    links = re.findall(r"\]\(<?([^)>]+)", description)
    assert len(links) > 10
    assert [link for link in links if not link.startswith(("https://", "#"))] == []


def test_changelog_and_citation_name_the_version():
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.search(r"^## (\S+)", changelog, flags=re.MULTILINE)[1] == gahbench.__version__
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == gahbench.__version__
    assert citation["repository-code"] == PROJECT["urls"]["Repository"]


def test_ci_runs_on_all_pythons_of_the_package():
    prefix = "Programming Language :: Python :: "
    pythons = [line.removeprefix(prefix) for line in PROJECT["classifiers"] if line.startswith(prefix)]
    assert PROJECT["requires-python"] == f">={pythons[0]}"
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8"))
    matrices = {job: entry["strategy"]["matrix"]["python"] for job, entry in workflow["jobs"].items()}
    assert matrices == {"test": pythons, "package": pythons}


def test_every_dependency_has_a_lowest_version_and_no_highest():
    operators = {
        entry.name: [part.operator for part in entry.specifier] for entry in map(Requirement, PROJECT["dependencies"])
    }
    assert operators == {name: [">="] for name in operators}


@pytest.mark.parametrize(
    "package", ["gahbench", *(f"gahbench.{name}" for name in ("evaluation", "jacobian", "networks", "sampling"))]
)
def test_dir_lists_all_public_names_of_a_package(package):
    # Public names are imported on first use, and listed for help and completion.
    module = importlib.import_module(package)
    assert set(module.__all__) <= set(dir(module))
    assert all(getattr(module, name) is not None for name in module.__all__)


def functions(file):
    """Yield the name and the number of lines of each function in a file, without its docstring."""
    for node in ast.walk(ast.parse(file.read_bytes())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            has_docstring = ast.get_docstring(node, clean=False) is not None
            docstring = node.body[0].end_lineno - node.body[0].lineno + 1 if has_docstring else 0
            yield node.name, node.end_lineno - node.lineno + 1 - docstring


def test_files_and_functions_are_short():
    lengths = {str(file.relative_to(ROOT)): len(file.read_text(encoding="utf-8").splitlines()) for file in FILES}
    assert {name: lines for name, lines in lengths.items() if lines > FILE_LINES} == {}
    lengths = {f"{file.relative_to(ROOT)}: {name}": lines for file in FILES for name, lines in functions(file)}
    assert {name: lines for name, lines in lengths.items() if lines > FUNCTION_LINES} == {}


@pytest.mark.parametrize("package", ["planning", "registry"])
def test_dataclasses_of_plans_and_plugins_are_frozen(package):
    # Keys and digests of these dataclasses are cached.
    names = [info.name for info in pkgutil.iter_modules([str(ROOT / "gahbench" / package)])]
    modules = [importlib.import_module(f"gahbench.{package}.{name}") for name in names]
    classes = {value for module in modules for value in vars(module).values() if isinstance(value, type)}
    ours = [value for value in classes if dataclasses.is_dataclass(value) and value.__module__.startswith("gahbench")]
    assert ours
    assert [value.__qualname__ for value in ours if not value.__dataclass_params__.frozen] == []


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
