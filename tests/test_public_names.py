"""The public names of gahbench are imported on first use, and listed for help and completion."""

import importlib
import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    "package", ["gahbench", *(f"gahbench.{name}" for name in ("evaluation", "jacobian", "networks", "sampling"))]
)
def test_dir_lists_all_public_names_of_a_package(package):
    module = importlib.import_module(package)
    assert set(module.__all__) <= set(dir(module))
    assert all(getattr(module, name) is not None for name in module.__all__)


def test_dir_does_not_import_torch():
    code = "import gahbench, sys; assert {'Results', 'run'} <= {*dir(gahbench)}; print('torch' in sys.modules)"
    completed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert completed.stdout.strip() == "False"
