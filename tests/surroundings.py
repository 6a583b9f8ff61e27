"""What tests see of the machine: a scratch home, scratch caches, and none of the user's settings.

The environment of the process is set when this module is imported, by ``conftest.py`` before any other: libraries and
gahbench read settings when they are imported. Processes that tests start inherit the environment.
"""

from __future__ import annotations

import contextlib
import locale
import os
import re
import shutil
import site
import tempfile
import time
from pathlib import Path

#: Settings of gahbench, of its libraries and of the user's session, which tests must not depend on.
_SETTINGS = re.compile(
    r"(GAHBENCH|OMP|GOMP|KMP|MKL|OPENBLAS|BLIS|VECLIB|NUMEXPR|TORCH|TORCHINDUCTOR|PYTORCH|TRITON|MPL|XDG|HF|SLURM|DASK"
    r"|MLFLOW|WANDB|TRACKIO|SCIKIT_LEARN|PYIQA|LC|HYPOTHESIS|JPY)(_.*)?|MPL(CONFIGDIR|BACKEND)|LANG(UAGE)?|TZ|COLUMNS|LINES"
    r"|NO_COLOR|FORCE_COLOR|CLICOLOR.*|TTY_.*|PYTHONWARNINGS|PYTHONOPTIMIZE"
)
#: Settings that are meant for tests: the folder of real images and weights, and the device of the tests of GPUs.
_FOR_TESTS = ("GAHBENCH_DATA", "GAHBENCH_TEST_DEVICE")
#: The scratch folder of a run of pytest, which its worker processes share.
_VARIABLE = "SCRATCH_OF_THE_TESTS"


def _seclude() -> Path:
    """Set the environment of this process to that of the tests, and return the scratch folder."""
    is_worker = "PYTEST_XDIST_WORKER" in os.environ and _VARIABLE in os.environ
    scratch = Path(os.environ[_VARIABLE] if is_worker else tempfile.mkdtemp(prefix="gahbench-tests-"))
    for name in [name for name in os.environ if _SETTINGS.fullmatch(name) and name not in _FOR_TESTS]:
        del os.environ[name]
    if data := os.environ.get("GAHBENCH_DATA"):
        # Tests run in other working directories.
        os.environ["GAHBENCH_DATA"] = str(Path(data).resolve())
    home = scratch / "home"
    home.mkdir(exist_ok=True)
    # Packages of the user's own site folder are found by the home.
    os.environ.setdefault("PYTHONUSERBASE", site.getuserbase())
    os.environ |= {
        _VARIABLE: str(scratch),
        "HOME": str(home),
        # Its default is below the folder of temporary files, where compilations of other runs are.
        "TORCHINDUCTOR_CACHE_DIR": str(scratch / "inductor"),
        "HYPOTHESIS_STORAGE_DIRECTORY": str(scratch / "hypothesis"),
        # Tensors here are small: a second thread gains nothing, and waits for its turn wherever the machine is shared.
        "OMP_NUM_THREADS": "1",
        "LC_ALL": "C.UTF-8",
        "TZ": "UTC",
    }
    time.tzset()
    with contextlib.suppress(locale.Error):
        # Absent from older systems, whose default is UTF-8 too.
        locale.setlocale(locale.LC_ALL, "C.UTF-8")
    return scratch


#: The scratch folder. It belongs to the first process of pytest, which removes it.
SCRATCH = _seclude()


def clear() -> None:
    """Remove the scratch folder, if this is the first process of pytest."""
    if "PYTEST_XDIST_WORKER" not in os.environ:
        shutil.rmtree(SCRATCH, ignore_errors=True)


def real_data() -> Path:
    """Return the folder of real images and published weights; tests that need one of them skip where it is absent."""
    return Path(os.environ.get("GAHBENCH_DATA", "no GAHBENCH_DATA"))


def copy_code(source: Path, target: Path) -> None:
    """Copy a folder of the repository, whose files may be read-only, to files that can be changed."""
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(source, target, ignore=ignored, copy_function=shutil.copyfile)
    for folder in (target, *filter(Path.is_dir, target.rglob("*"))):
        folder.chmod(0o755)
