"""The public names of gahbench: imported on first use, listed for help and completion."""

import importlib
import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    "package", ["gahbench", *(f"gahbench.{room}" for room in ("evaluation", "networks", "sampling"))]
)
def test_all_public_names_are_in_the_directory_of_a_package(package):
    module = importlib.import_module(package)
    assert set(module.__all__) <= set(dir(module))
    assert all(getattr(module, name) is not None for name in module.__all__)


def test_the_directory_needs_no_import_of_torch():
    code = "import gahbench, sys; assert {'Results', 'run'} <= {*dir(gahbench)}; print('torch' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "False"
