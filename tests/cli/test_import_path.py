"""Modules in the current folder: what others made is no code of gahbench."""

import os
import subprocess
import sys

import pytest


@pytest.mark.parametrize("command", [["-m", "gahbench"], ["-mgahbench"]])
def test_modules_of_the_current_folder_are_not_imported(tmp_path, command):
    names = ("pluggy", "pydantic", "torch", "typer", "evilmod")
    for name in names:
        (tmp_path / f"{name}.py").write_text(f"open('{name}.imported', 'w').close()", encoding="utf-8")
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONSAFEPATH")}
    found = subprocess.run(
        [sys.executable, *command, "describe", "module[factory=evilmod:Net]"],
        cwd=tmp_path, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert sorted(file.name for file in tmp_path.glob("*.imported")) == []
    assert "importing 'evilmod' failed: ModuleNotFoundError" in found.stdout + found.stderr


def test_the_import_path_of_other_programs_stays(tmp_path):
    (tmp_path / "program.py").write_text("import gahbench, beside", encoding="utf-8")
    (tmp_path / "beside.py").write_text("print('found')", encoding="utf-8")
    command = [sys.executable, "-m", "program"]
    assert subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout == "found\n"
