"""Fixtures of many tests: scratch folders, small suites, plugin files, and clusters."""

from __future__ import annotations

import isolation

# ruff: isort: split
import fcntl
import functools
import importlib.metadata
import importlib.util
import os
import re
import shutil
import sys
import tempfile
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import clusters
import hypothesis
import pytest
import typer.testing
from fake_families import Families
from sample_files import LONG, PLUGIN, TINY
from small_plugins import packages_of
from tiny_runs import render_no_figures

import gahbench
from gahbench._util.resources import cpu_count
from gahbench.cli import main
from gahbench.registry.registry import Registry

# Machines may be busy, so cases have no deadline. No case comes from the database of an earlier run.
hypothesis.settings.register_profile(
    "untimed", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow], database=None
)
hypothesis.settings.load_profile("untimed")

#: Files of many slow tests that share nothing: they are distributed one by one.
UNGROUPED = ("test_contract.py", "test_stand_in.py")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option ``--extras``, which selects tests that need some extras, by the first package of their mark."""
    parser.addoption("--extras", default="", help="names of extras, separated by spaces")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """If ``-m`` selects marks, skip files that mention none of them, since imports take most of the time."""
    expression = re.sub(r"\bnot \w+", "", config.option.markexpr)
    marks = set(re.findall(r"\w+", expression)) - {"and", "or", "not"}
    if not marks or collection_path.suffix != ".py":
        return None
    text = f"{collection_path}\n{collection_path.read_text(encoding='utf-8')}"
    # Functions such as ``mark_extras`` set marks too.
    return not any(re.search(rf"(\b|_){mark}\b", text) for mark in marks) or None


def pytest_unconfigure() -> None:
    """Remove the scratch folder of the tests."""
    isolation.clear()


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test that needs packages of extras that are not installed."""
    for mark in item.iter_markers("extras"):
        # A folder of the name of a package has no origin.
        missing = [name for name in mark.args if getattr(importlib.util.find_spec(name), "origin", None) is None]
        if missing:
            pytest.skip(f"needs {missing[0]}, which an extra of gahbench installs")


@pytest.fixture(scope="session", autouse=True)
def _scratch_folder() -> Iterator[None]:
    """Run fixtures of modules and of the session in a scratch folder; return to the first folder at the end."""
    start = Path.cwd()
    os.chdir(tempfile.mkdtemp(dir=isolation.SCRATCH))
    yield
    os.chdir(start)


@pytest.fixture(autouse=True)
def _own_folders(_scratch_folder: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run each test in an empty folder, with an empty cache."""
    home = Path(tempfile.mkdtemp(dir=isolation.SCRATCH))
    (home / "here").mkdir()
    monkeypatch.chdir(home / "here")
    monkeypatch.setenv("GAHBENCH_CACHE", str(home / "cache"))


_version, _get_command = map(functools.cache, (importlib.metadata.version, typer.main.get_command))


@pytest.fixture(autouse=True)
def _read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Read versions of installed packages, and build the parser of the command line, once for all runs and commands."""
    monkeypatch.setattr("importlib.metadata.version", _version)
    monkeypatch.setattr("typer.main.get_command", _get_command)
    monkeypatch.setattr("typer.testing._get_command", _get_command)


@pytest.fixture(scope="session")
def builtin() -> Registry:
    return Registry()


@pytest.fixture(scope="session")
def build_once(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, Callable[[Path], None]], Path]:
    """Return a function that returns the folder with a given name; the first call fills it with the given function.

    All processes of pytest-xdist share the folder, and wait until it is filled.
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
                # An earlier call may have failed to fill the folder.
                shutil.rmtree(home, ignore_errors=True)
                home.mkdir()
                fill(home)
                lock.write("filled")
        return home

    return folder


@pytest.fixture(scope="session")
def long_run(build_once: Callable[[str, Callable[[Path], None]], Path]) -> Path:
    """Return a folder with a suite whose fits take seconds, ``long.yaml``, and its uninterrupted run, ``whole``."""

    def fill(home: Path) -> None:
        (home / "long.yaml").write_text(LONG, encoding="utf-8")
        outcome = gahbench.run(home / "long.yaml", home / "whole", threads=1, workers=1)
        assert (outcome.done, outcome.failed) == (10, 0)

    return build_once("long", fill)


@pytest.fixture(scope="session")
def kept_run(build_once: Callable[[str, Callable[[Path], None]], Path]) -> Path:
    """Return the results folder of a small run, with images of four entrants and the history of a fit."""

    def fill(home: Path) -> None:
        text = TINY.replace("  - identity\n", "  - identity\n  - optimal\n").replace("images: 3", "images: 5")
        (home / "kept.yaml").write_text(text, encoding="utf-8")
        gahbench.run(home / "kept.yaml", home / "out", engine="inline")

    return build_once("kept", fill) / "out"


@pytest.fixture
def figures_not_rendered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Write placeholders instead of figures, in tests that do not read figures."""
    render_no_figures(monkeypatch)


@pytest.fixture
def write_suite(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes the tiny suite with some strings replaced."""

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
    """Return a function that writes a plugin file with an architecture with the given body of ``forward``."""

    def write(name: str, forward: str, folder: str = "plugins") -> Path:
        file = tmp_path / folder / f"{name.replace('-', '_')}.py"
        file.parent.mkdir(exist_ok=True)
        body = "\n".join("        " + line for line in forward.splitlines())
        file.write_text(PLUGIN.format(name=name, body=body), encoding="utf-8")
        return file

    return write


@pytest.fixture
def write_class(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes a plugin file of any kind, with a class with the given body."""

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
def families(tmp_path: Path) -> Families:
    """Return a plugin file of image families with closed-form optima."""
    return Families(tmp_path)


@pytest.fixture
def command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Callable[..., Callable[..., tuple[int, str, str]]]:
    """Return a function that takes the name of a command, and returns a function that runs it with given arguments.

    The command runs in an empty folder. The result is its exit status, standard output and standard error.
    """
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)

    def bind(name: str) -> Callable[..., tuple[int, str, str]]:
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

    return bind


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[clusters.SlurmCluster]:
    """Start a Slurm cluster, which Slurm's commands of this process and its children use.

    Each test has a new cluster, since a controller that was killed does not always recover its nodes, and a cluster
    starts in a second.
    """
    if reason := clusters.slurm_unavailable_reason():
        pytest.skip(reason)
    with (
        tempfile.TemporaryDirectory(prefix="slurm-", dir="/tmp", ignore_cleanup_errors=True) as home,
        clusters.SlurmCluster(Path(home)) as running,
    ):
        monkeypatch.setenv("SLURM_CONF", str(running.configuration))
        yield running


@pytest.fixture
def dask_cluster(tmp_path: Path) -> Iterator[clusters.DaskCluster]:
    """Start a Dask cluster of two workers."""
    (tmp_path / "dask").mkdir()
    with clusters.DaskCluster(tmp_path / "dask") as running:
        yield running


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark attacks and tests that start a cluster; with ``--extras``, keep only the tests of these extras."""
    if extras := config.getoption("extras").split():
        packages = packages_of(extras)
        marked = [(item, item.get_closest_marker("extras")) for item in items]
        items[:] = [item for item, mark in marked if mark is not None and mark.args[0] in packages]
    for item in items:
        if {"cluster", "dask_cluster"}.intersection(getattr(item, "fixturenames", ())):
            item.add_marker("cluster")
        if item.path.parent.name == "attack":
            item.add_marker("attack")
    # The slowest groups come first.
    items.sort(key=lambda item: {"": 0, "published": 1}.get(_group_of(item.path), 2))


@functools.cache
def _group_of(file: Path) -> str:
    """Return the group of a file, whose tests run in one process; empty if the tests share nothing."""
    if file.name in UNGROUPED:
        return ""
    return "published" if "from published_pages import" in file.read_text(encoding="utf-8") else str(file)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Run the tests of a group in one process, and groups in the order of collection."""
    from xdist.scheduler import LoadScopeScheduling

    class GroupScheduling(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return _group_of(config.rootpath / nodeid.partition("::")[0]) or nodeid

    config.option.loadscopereorder = False
    return GroupScheduling(config, log)


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Use one process for each processor that may be used: each more would collect the tests once more."""
    return cpu_count()
