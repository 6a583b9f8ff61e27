"""The packages of gahbench: imports follow their layers, and files and functions are short."""

import ast
import dataclasses
import importlib
import pkgutil
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from isolation import copy_code

ROOT = Path(__file__).parents[1]
#: Folders of the packages by name.
PACKAGES = {"gahbench": ROOT / "gahbench", "gahbench_plugins": ROOT / "plugins"}
FILES = sorted(file for folder in PACKAGES.values() for file in folder.rglob("*.py"))
FILE_LINES, FUNCTION_LINES = 500, 60


@pytest.fixture
def tree(tmp_path):
    """Return a folder with a copy of the packages and of the configuration of lint-imports."""
    for name, source in PACKAGES.items():
        copy_code(source, tmp_path / name)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def lint_imports(folder):
    """Return the exit status and the output of lint-imports for the packages in a folder."""
    program = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([program, "--no-cache"], cwd=folder, capture_output=True, text=True, timeout=120)
    return done.returncode, done.stdout + done.stderr


def test_imports_follow_the_layers(tree):
    status, output = lint_imports(tree)
    assert status == 0, output


def test_imports_against_the_layers_are_reported(tree):
    for module, imported in (
        ("gahbench._util.shapes", "gahbench.planning.plan"),
        ("gahbench_plugins.bases.pixel", "gahbench.store.store"),
    ):
        # The import is appended at the end, so that the module stays valid.
        with (tree / f"{module.replace('.', '/')}.py").open("a", encoding="utf-8") as file:
            file.write(f"\nimport {imported}\n")
    status, output = lint_imports(tree)
    assert status == 1, output
    assert "gahbench._util.shapes -> gahbench.planning.plan" in output
    assert "gahbench_plugins.bases.pixel -> gahbench.store.store" in output
    assert output.count("BROKEN") == 2, output


def functions(file):
    """Yield the name and the number of lines of each function in a file, without its docstring."""
    for node in ast.walk(ast.parse(file.read_bytes())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            has_docstring = ast.get_docstring(node, clean=False) is not None
            docstring = node.body[0].end_lineno - node.body[0].lineno + 1 if has_docstring else 0
            yield node.name, node.end_lineno - node.lineno + 1 - docstring


def test_files_are_short():
    lengths = {str(file.relative_to(ROOT)): len(file.read_text(encoding="utf-8").splitlines()) for file in FILES}
    assert {name: lines for name, lines in lengths.items() if lines > FILE_LINES} == {}


def test_functions_are_short():
    lengths = {f"{file.relative_to(ROOT)}: {name}": lines for file in FILES for name, lines in functions(file)}
    assert {name: lines for name, lines in lengths.items() if lines > FUNCTION_LINES} == {}


@pytest.mark.parametrize("package", ["planning", "registry"])
def test_dataclasses_of_plans_and_plugins_are_frozen(package):
    # Keys and digests of these dataclasses are cached.
    folder = PACKAGES["gahbench"] / package
    modules = [
        importlib.import_module(f"gahbench.{package}.{info.name}") for info in pkgutil.iter_modules([str(folder)])
    ]
    classes = {value for module in modules for value in vars(module).values() if isinstance(value, type)}
    ours = [value for value in classes if dataclasses.is_dataclass(value) and value.__module__.startswith("gahbench")]
    assert ours
    assert [value.__qualname__ for value in ours if not value.__dataclass_params__.frozen] == []
