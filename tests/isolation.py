"""The environment of tests: a scratch home, scratch caches, and no settings of the user.

The import of this module sets the environment of the process. ``conftest.py`` imports it before any other module, since
libraries and gahbench read settings when they are imported. Processes that tests start inherit the environment.
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
    r"|WANDB|SCIKIT_LEARN|PYIQA|LC|HYPOTHESIS|JPY)(_.*)?|MPL(CONFIGDIR|BACKEND)|LANG(UAGE)?|TZ|COLUMNS|LINES"
    r"|NO_COLOR|FORCE_COLOR|CLICOLOR.*|TTY_.*|PYTHONWARNINGS|PYTHONOPTIMIZE"
)
#: Settings of the tests: the folder of real images and weights, and the device of the tests of GPUs.
_FOR_TESTS = ("GAHBENCH_DATA", "GAHBENCH_TEST_DEVICE")
#: The scratch folder of a run of pytest, which its worker processes share.
_VARIABLE = "SCRATCH_OF_THE_TESTS"


def _set_environment() -> Path:
    """Set the environment of this process for tests, and return the scratch folder."""
    is_worker = "PYTEST_XDIST_WORKER" in os.environ and _VARIABLE in os.environ
    scratch = Path(os.environ[_VARIABLE] if is_worker else tempfile.mkdtemp(prefix="gahbench-tests-"))
    for name in [name for name in os.environ if _SETTINGS.fullmatch(name) and name not in _FOR_TESTS]:
        del os.environ[name]
    if data := os.environ.get("GAHBENCH_DATA"):
        # The path must be absolute, since tests run in other working directories.
        os.environ["GAHBENCH_DATA"] = str(Path(data).resolve())
    home = scratch / "home"
    home.mkdir(exist_ok=True)
    # By default Python derives the user's site folder from the home folder, which changes here.
    os.environ.setdefault("PYTHONUSERBASE", site.getuserbase())
    os.environ |= {
        _VARIABLE: str(scratch),
        "HOME": str(home),
        # The default folder may hold compilations of other runs.
        "TORCHINDUCTOR_CACHE_DIR": str(scratch / "inductor"),
        "HYPOTHESIS_STORAGE_DIRECTORY": str(scratch / "hypothesis"),
        # Tensors in tests are small, so a second thread does not help, and slows shared machines.
        "OMP_NUM_THREADS": "1",
        "LC_ALL": "C.UTF-8",
        "TZ": "UTC",
    }
    time.tzset()
    with contextlib.suppress(locale.Error):
        # Older systems lack this locale, but their default is UTF-8 too.
        locale.setlocale(locale.LC_ALL, "C.UTF-8")
    return scratch


#: The scratch folder, which the first process of pytest creates and removes.
SCRATCH = _set_environment()


def clear() -> None:
    """Remove the scratch folder, if this is the first process of pytest."""
    if "PYTEST_XDIST_WORKER" not in os.environ:
        shutil.rmtree(SCRATCH, ignore_errors=True)


def real_data() -> Path:
    """Return the folder of real images and published weights; tests skip if a file that they need is absent."""
    return Path(os.environ.get("GAHBENCH_DATA", "no GAHBENCH_DATA"))


def copy_code(source: Path, target: Path) -> None:
    """Copy a folder of the repository, whose files may be read-only, to writable files."""
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(source, target, ignore=ignored, copy_function=shutil.copyfile)
    for folder in (target, *filter(Path.is_dir, target.rglob("*"))):
        folder.chmod(0o755)
