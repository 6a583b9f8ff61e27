"""What many tests need: a suite of seconds, and plugin files to break it with."""

from __future__ import annotations

import surroundings

# ruff: isort: split
import fcntl
import os
import re
import shutil
import sys
import tempfile
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import dask_cluster
import hypothesis
import pytest
import slurm_cluster
from extra_packages import packages_of
from sample_files import LONG, PLUGIN, TINY

import gahbench
from gahbench._util.resources import cpu_count
from gahbench.cli import main
from gahbench.planning import dry_run
from gahbench.registry.registry import Registry
from gahbench_plugins._extras import is_installed

# How long a case takes is no matter of a test: machines are busy.
# No case comes from an earlier run.
hypothesis.settings.register_profile(
    "untimed", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow], database=None
)
hypothesis.settings.load_profile("untimed")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Select, of the tests that need extras, those of some extras, by the first package that they name."""
    parser.addoption("--extras", default="", help="names of extras, with spaces between")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave out files without a test that needs extras, where only such are asked for: most of the time is imports."""
    if not config.getoption("extras") or collection_path.suffix != ".py":
        return None
    return not re.search(r"extras\(|marked\(", collection_path.read_text(encoding="utf-8")) or None


def pytest_unconfigure() -> None:
    """Remove what the tests have left."""
    surroundings.clear()


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test that needs packages of extras which are not installed."""
    for mark in item.iter_markers("extras"):
        missing = [package for package in mark.args if not is_installed(package)]
        if missing:
            pytest.skip(f"needs {missing[0]}, of an extra of gahbench")


@pytest.fixture(scope="session", autouse=True)
def _scratch_folder() -> Iterator[None]:
    """Run fixtures of modules and of the session in a scratch folder; pytest itself returns to where it started."""
    start = Path.cwd()
    os.chdir(tempfile.mkdtemp(dir=surroundings.SCRATCH))
    yield
    os.chdir(start)


@pytest.fixture(autouse=True)
def _own_folders(_scratch_folder: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run each test in an empty folder; let no test find what another has decoded."""
    own = Path(tempfile.mkdtemp(dir=surroundings.SCRATCH))
    (own / "here").mkdir()
    monkeypatch.chdir(own / "here")
    monkeypatch.setenv("GAHBENCH_CACHE", str(own / "cache"))
    # Which trackio reads once, when it is imported.
    monkeypatch.setenv("TRACKIO_DIR", str(own / "cache" / "trackio"))


@pytest.fixture(scope="session")
def builtin() -> Registry:
    return Registry()


@pytest.fixture(scope="session")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, Callable[[Path], None]], Path]:
    """Return a function that returns a folder of a name, filled by the given function: by the first that asks for it.

    It is the same folder for all processes of pytest-xdist: the others wait until it is filled.
    """
    base = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        base = base.parent

    def folder(name: str, fill: Callable[[Path], None]) -> Path:
        home = base / "once" / name
        home.parent.mkdir(exist_ok=True)
        with (base / "once" / f"{name}.lock").open("a+") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            lock.seek(0)
            if not lock.read():
                # Of one that failed to fill it.
                shutil.rmtree(home, ignore_errors=True)
                home.mkdir()
                fill(home)
                lock.write("filled")
        return home

    return folder


@pytest.fixture(scope="session")
def long_run(made_once: Callable[[str, Callable[[Path], None]], Path]) -> Path:
    """A folder with a suite whose fits take seconds, ``long.yaml``, and an uninterrupted run of it, ``whole``."""

    def fill(home: Path) -> None:
        (home / "long.yaml").write_text(LONG, encoding="utf-8")
        outcome = gahbench.run(home / "long.yaml", home / "whole", threads=1, workers=1)
        assert (outcome.done, outcome.failed) == (10, 0)

    return made_once("long", fill)


@pytest.fixture(scope="session")
def kept_run(made_once: Callable[[str, Callable[[Path], None]], Path]) -> Path:
    """The folder of a run of seconds with its units: images of four entrants, and the history of one."""

    def fill(home: Path) -> None:
        text = TINY.replace("  - identity\n", "  - identity\n  - optimal\n").replace("images: 3", "images: 5")
        (home / "kept.yaml").write_text(text, encoding="utf-8")
        gahbench.run(home / "kept.yaml", home / "out", engine="inline")

    return made_once("kept", fill) / "out"


@pytest.fixture
def dry_runs_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Dry runs of plugin files happen in this process, as those of built-in plugins do: another takes seconds to start.

    Not for tests of dry runs, or of plugins that take their process along.
    """
    monkeypatch.setattr(dry_run, "_in_another_process", lambda cases, registry: [dry_run._try(*case) for case in cases])


@pytest.fixture
def no_stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """Checks of plugin files are not repeated on the stand-in for a GPU, whose process takes seconds to start."""
    monkeypatch.setattr("gahbench.testing.check_on_stand_in", lambda file, plugins: {})


@pytest.fixture
def figures_not_rendered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures are drawn, and their files hold no pictures: matplotlib takes most of the time of a small run for these.

    For tests that look at no figure.
    """
    monkeypatch.setattr("gahbench.report.figures.encode", lambda figure, suffix, **options: suffix.encode())


@pytest.fixture
def write_suite(tmp_path: Path) -> Callable[..., Path]:
    """Write the tiny suite with some of its lines replaced."""

    def write(*changes: tuple[str, str], text: str = TINY, name: str = "tiny.yaml") -> Path:
        for old, new in changes:
            assert old in text
            text = text.replace(old, new)
        file = tmp_path / name
        file.write_text(text, encoding="utf-8")
        return file

    return write


@pytest.fixture
def write_plugin(tmp_path: Path) -> Callable[..., Path]:
    """Write a one-file plugin whose architecture has the given body of ``forward``."""

    def write(name: str, forward: str, folder: str = "plugins") -> Path:
        file = tmp_path / folder / f"{name.replace('-', '_')}.py"
        file.parent.mkdir(exist_ok=True)
        body = "\n".join("        " + line for line in forward.splitlines())
        file.write_text(PLUGIN.format(name=name, body=body), encoding="utf-8")
        return file

    return write


@pytest.fixture
def write_class(tmp_path: Path) -> Callable[..., Path]:
    """Write a one-file plugin of any kind: a class with the given body, registered under a name."""

    def write(kind: str, body: str, name: str = "mine", base: str = "", head: str = "") -> Path:
        plural = {"basis": "bases"}.get(kind, f"{kind}s")
        base = base or ("nn.Module" if kind == "architecture" else f"gahbench.{kind.capitalize()}")
        file = tmp_path / f"{name.replace('-', '_')}.py"
        file.write_text(
            f"import torch\nfrom torch import nn\nimport gahbench\n{head}\n\n"
            f"@gahbench.hookimpl\ndef register_{plural}(register):\n    register({name!r}, Mine)\n\n"
            f"class Mine({base}):\n{textwrap.indent(body, '    ')}\n",
            encoding="utf-8",
        )
        return file

    return write


@pytest.fixture
def command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Callable[..., Callable[..., tuple[int, str, str]]]:
    """Run a command in an empty folder, given its name and then its arguments; return its status, output and errors."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)

    def named(name: str) -> Callable[..., tuple[int, str, str]]:
        def run(*arguments: object) -> tuple[int, str, str]:
            monkeypatch.setattr(sys, "argv", ["gahbench", name, *map(str, arguments)])
            status = 0
            try:
                main()
            except SystemExit as end:
                status = int(end.code or 0)
            captured = capsys.readouterr()
            return status, captured.out, captured.err

        return run

    return named


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[slurm_cluster.Cluster]:
    """A Slurm cluster, as the one that Slurm's commands of this process and its children use.

    Each test has its own: a controller that was killed does not always recover its nodes, and another cluster starts
    in a second.
    """
    if reason := slurm_cluster.why_not():
        pytest.skip(reason)
    with slurm_cluster.cluster() as one:
        monkeypatch.setenv("SLURM_CONF", str(one.configuration))
        yield one


@pytest.fixture(name="dask_cluster")
def _dask_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dask_cluster.Cluster]:
    """A Dask cluster of two workers."""
    with dask_cluster.cluster(tmp_path_factory.mktemp("dask")) as one:
        yield one


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark the tests that start a cluster, and attacks; leave out those of other extras than are asked for."""
    if extras := config.getoption("extras").split():
        packages = packages_of(extras)
        marked = [(item, item.get_closest_marker("extras")) for item in items]
        items[:] = [item for item, mark in marked if mark is not None and mark.args[0] in packages]
    for item in items:
        if {"cluster", "dask_cluster"}.intersection(getattr(item, "fixturenames", ())):
            item.add_marker("cluster")
        if item.path.parent.name == "attack":
            item.add_marker("attack")


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Run one process more than there are processors: tests of clusters and killed workers mostly wait."""
    return cpu_count() + 1
