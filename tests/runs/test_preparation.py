"""Tests of preparing suites; files that are copied stand for downloads."""

import re
from types import SimpleNamespace

import pytest
from tiny_runs import plan_suite

from gahbench import DataError
from gahbench.planning.suite import load_suite
from gahbench.registry.registry import Registry
from gahbench.runs.preparation import find_missing, prepare

#: Plugins whose files are in the folder "remote" until they are prepared.
PLUGINS = """
import shutil
from pathlib import Path
from typing import Annotated

import gahbench
import torch
from torch import nn

REMOTE, HERE = Path("FOLDER/remote"), Path("FOLDER/cached")


class Downloads:
    def missing(self):
        return () if (HERE / self.file).is_file() else (f"the file {self.file}",)

    def prepare(self):
        with (HERE / "log").open("a") as log:
            log.write(f"{self.file}\\n")
        if self.missing():
            get(self.file)


def get(file):
    if not REMOTE.is_dir():
        raise gahbench.DataError(f"remote/{file} cannot be reached; put it into {HERE}")
    shutil.copy(REMOTE / file, HERE / file)


class Set(Downloads, gahbench.Dataset):
    "Images of a file."
    file = "images.npy"

    def __init__(self, name: str = "images.npy"):
        self.file = name

    shape = (1, 8, 8)

    def available(self, split):
        (HERE / self.file).read_text()
        return 8

    def images(self, split, count, start=0):
        return torch.zeros(self.available(split), 1, 8, 8)[start:start + count]

    def fingerprint(self):
        return (HERE / self.file).read_text()


class Wrapper(gahbench.Dataset):
    "A dataset whose constructor reads the inner dataset."
    shape = (1, 8, 8)

    def __init__(self, inner: Annotated[gahbench.Dataset, gahbench.Names("dataset", default="set")]):
        inner.available("train")
        self.images, self.available, self.fingerprint = inner.images, inner.available, inner.fingerprint

    def images(self, split, count, start=0): ...


class Tables(Downloads, gahbench.Basis):
    "Pixels, with a table."
    file = "table"

    def analysis(self, images):
        return images

    synthesis = analysis


class Sharpness(Downloads, gahbench.Metric):
    "A metric that needs a network."
    file = "inception"

    def score(self, evaluation):
        return gahbench.Scores([])


class Weighted(nn.Module):
    "A network that needs a file of weights."

    def __init__(self, channels: int, weights: bool = True):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))
        if weights and not self.scale.is_meta:
            (HERE / "weights").read_text()

    @staticmethod
    def missing(weights, **others):
        return ("weights of the network",) if weights and not (HERE / "weights").is_file() else ()

    @classmethod
    def prepare(cls, weights, **others):
        if cls.missing(weights):
            get("weights")

    def forward(self, noisy, sigma):
        return noisy * self.scale


@gahbench.hookimpl
def register_datasets(register):
    register("set", Set)
    register("around", Wrapper)

@gahbench.hookimpl
def register_bases(register): register("tables", Tables)

@gahbench.hookimpl
def register_metrics(register): register("sharpness", Sharpness)

@gahbench.hookimpl
def register_architectures(register): register("weighted", Weighted)
"""
SUITE = """
name: remote
datasets: {datasets}
entrants: {entrants}
scoring: {{sigmas: [0.1], images: 2, metrics: {metrics}}}
"""
FILES = ("images.npy", "other.npy", "table", "inception", "weights")


@pytest.fixture
def remote(tmp_path):
    """Functions that write and load a suite, whose missing files are in the folder remote."""
    here, folder, plugin = (tmp_path / name for name in ("cached", "remote", "remote.py"))
    here.mkdir()
    folder.mkdir()
    for name in FILES:
        (folder / name).write_text(name)
    plugin.write_text(PLUGINS.replace("FOLDER", str(tmp_path)))

    def write(datasets="[set]", entrants="[identity]", metrics="[psnr]"):
        file = tmp_path / "suite.yaml"
        file.write_text(SUITE.format(datasets=datasets, entrants=entrants, metrics=metrics))
        return file

    def load(suite):
        return load_suite(suite, Registry((plugin,)))

    return SimpleNamespace(here=here, folder=folder, plugin=plugin, suite=write, load=load)


def test_everything_that_a_suite_misses_is_listed_and_prepared_once(remote):
    entrants = '[weighted, "oracle-threshold[tables]", "threshold[tables]"]'
    suite = remote.suite(entrants=entrants, metrics="[psnr, sharpness]")
    missing = [
        ("dataset 'set'", "the file images.npy"),
        ("architecture 'weighted'", "weights of the network"),
        ("basis 'tables'", "the file table"),
        ("metric 'sharpness'", "the file inception"),
    ]
    listed = "; ".join(f"{plugin}: {text}" for plugin, text in missing)
    with pytest.raises(DataError, match=rf"the units of set cannot be planned .*: {re.escape(listed)}$"):
        find_missing(remote.load(suite))
    # Asking what is missing fetches nothing.
    assert list(remote.here.iterdir()) == []
    outcomes = list(prepare(remote.load(suite)))
    assert [(outcome.plugin, outcome.fetched, outcome.error) for outcome in outcomes] == [
        (plugin, (text,), None) for plugin, text in missing
    ]
    assert find_missing(remote.load(suite)) == []
    assert [outcome.fetched for outcome in prepare(remote.load(suite))] == [(), (), (), ()]
    # ``prepare`` is called once for each plugin in each call, even if nothing is missing.
    log = (remote.here / "log").read_text().split()
    assert sorted(log) == sorted(2 * ["images.npy", "table", "inception"])


def test_a_suite_can_be_planned_once_its_images_are_present(remote, command):
    # The constructor of "around" reads the images of "set".
    suite = remote.suite(datasets="[around, set]", entrants="[weighted]")
    options = ("-p", remote.plugin)
    status, printed, errors = command("plan")(suite, *options)
    assert (status, printed) == (2, "")
    assert f"{suite}: the units of around, set cannot be planned" in errors
    assert "dataset 'set': the file images.npy" in errors
    for outcome in ("got the file images.npy", "already available"):
        status, printed, _ = command("prepare")(suite, *options)
        assert (status, printed.splitlines()[0]) == (0, f"dataset 'set': {outcome}")
    (remote.here / "weights").unlink()
    # Missing weights do not matter, since networks are tried out on the meta device; the plan names the command.
    assert [row["dataset"] for row in plan_suite(suite, plugins=[remote.plugin]).datasets] == ["around", "set"]
    status, printed, _ = command("plan")(suite, *options)
    line = f"architecture 'weighted': weights of the network; to get it: gahbench prepare {suite} -p {options[1]}"
    assert (status, f"missing: {line}" in printed.splitlines()) == (0, True)
    assert "nothing to prepare" in command("prepare")(remote.suite(datasets="['discs[size=8]']"))[1]


def test_plugins_that_cannot_be_prepared_are_reported_and_others_are_prepared(remote, command):
    (remote.folder / "images.npy").unlink()
    suite = remote.suite(datasets="[around, 'set[name=other.npy]']", metrics="[psnr, sharpness]")
    failed, *prepared = prepare(remote.load(suite))
    assert failed.plugin == "dataset 'set'"
    assert failed.error.startswith("FileNotFoundError: ")
    assert [outcome.error for outcome in prepared] == [None, None]
    remote.folder.rename(remote.here.parent / "gone")
    assert next(prepare(remote.load(suite))).error == f"remote/images.npy cannot be reached; put it into {remote.here}"
    status, printed, _ = command("prepare")(suite, "-p", remote.plugin)
    assert (status, printed.splitlines()[-1]) == (1, f"suite {suite}: 1 of 3 could not be obtained")
