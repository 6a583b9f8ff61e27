"""Tests of worker processes: the external code of units, the units that share a process, and messages."""

import errno
import importlib.metadata
import os
import queue
import random
import shutil
import threading
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from sample_files import HALF
from tiny_runs import plan_suite

from gahbench._util.origins import PluginFiles, packages_of
from gahbench.registry.registry import Registry
from gahbench.runs.worker_process import run_units, seed_generators

pytestmark = pytest.mark.usefixtures("dry_runs_here", "figures_not_rendered")

METRICS = ("metrics: [psnr, slope]", "metrics: [psnr, peak, 'distance[to=half]']")
ENTRANTS = ["mine", "cycle-spin[half,shifts=1]"]


@pytest.fixture
def planned(write_class, write_suite, write_plugin):
    """A plan with an external architecture, reference and metric, and the folder of their files."""
    folder = write_plugin("mine", "return noisy - self.noise(noisy)").parent
    (folder / "half.py").write_text(HALF)
    write_class("metric", "def score(self, evaluation): return gahbench.Scores([1.0])", "peak").rename(
        folder / "peak.py"
    )
    return plan_suite(write_suite(METRICS), entrants=ENTRANTS, plugins=[folder]), folder


def unit_and_files(plan, entrant, metric):
    """Return a score unit and the names of the plugin files that it names."""
    (unit,) = [unit for unit in plan.units if (unit.entrant, unit.metric) == (entrant, metric)]
    return unit, sorted(origin.split()[0] for origin in unit.origins)


def test_units_name_the_files_of_their_plugins_and_nested_plugins(planned):
    plan, _ = planned
    assert unit_and_files(plan, "identity", "psnr")[1] == []
    assert unit_and_files(plan, "mine", "psnr")[1] == ["mine.py"]
    assert unit_and_files(plan, "identity", "peak")[1] == ["peak.py"]
    assert unit_and_files(plan, "mine", "peak")[1] == ["mine.py", "peak.py"]
    assert unit_and_files(plan, "cycle-spin[half,shifts=1]", "psnr")[1] == ["half.py"]
    assert unit_and_files(plan, "identity", "distance[half]")[1] == ["half.py"]
    assert [unit.origins for unit in plan.units if unit.kind == "fit" and unit.entrant != "mine"] == [frozenset()]


def test_units_share_a_process_if_their_external_plugins_are_the_same(planned):
    plan, _ = planned

    def key(entrant, metric):
        return unit_and_files(plan, entrant, metric)[0].isolation_key

    assert key("identity", "psnr") == key("oracle-threshold[haar]", "psnr") == ""
    assert key("identity", "peak") == key("oracle-threshold[haar]", "peak") != ""
    (fit,) = [unit for unit in plan.units if unit.kind == "fit" and unit.entrant == "mine"]
    assert fit.isolation_key == key("mine", "psnr")
    different_keys = {
        key("identity", "peak"),
        key("mine", "psnr"),
        key("mine", "peak"),
        key("identity", "distance[half]"),
    }
    assert len(different_keys) == 4


def test_the_files_of_a_unit_are_found_after_they_were_copied(planned, tmp_path):
    plan, folder = planned
    unit, _ = unit_and_files(plan, "mine", "peak")
    elsewhere = tmp_path / "elsewhere"
    shutil.copytree(folder, elsewhere)
    (elsewhere / "other").mkdir()
    # Another file with the same name does not belong to the unit.
    (elsewhere / "other" / "mine.py").write_text("1 / 0")
    files = PluginFiles(Registry((elsewhere, elsewhere / "other")).files).find(unit.origins)
    assert [file.name for file in files] == ["mine.py", "peak.py"]
    assert files[0].parent == elsewhere
    assert packages_of(unit.origins) == ()
    # An edited file is found, too; its unit then refuses the file.
    (elsewhere / "mine.py").write_text((elsewhere / "mine.py").read_text() + "# edited\n")
    assert PluginFiles(Registry((elsewhere,)).files).find(unit.origins) == files


def test_the_location_of_plugin_files_is_not_part_of_a_key(planned, write_suite, tmp_path):
    plan, folder = planned
    moved = tmp_path / "moved"
    shutil.copytree(folder, moved)
    (moved / "mine.py").write_text((moved / "mine.py").read_text() + "# edited\n")
    suite = write_suite(METRICS, ("baseline:", "limits: {unit: 7}\nbaseline:"))
    again = plan_suite(suite, entrants=ENTRANTS, plugins=[moved])
    assert [unit.key for unit in again.units] == [unit.key for unit in plan.units]
    assert again.suite.limits.unit == 7


def test_installed_packages_are_loaded_by_name(monkeypatch):
    loaded = []

    class Entry(str):
        value = property(str)
        dist = property(lambda entry: SimpleNamespace(name=str(entry)))

        def load(self):
            loaded.append(str(self))
            return SimpleNamespace()

    monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: [Entry("one"), Entry("two")])
    for packages, expected in (((), []), (("two",), ["two"]), (None, ["one", "two"])):
        loaded.clear()
        Registry(packages=packages)
        assert loaded == expected


def test_code_named_by_a_parameter_counts_as_external(write_suite):
    entrant = "module[gahbench_plugins.architectures.bf_cnn:BFCNN,arguments='{width: 4, layers: 2}']"
    plan = plan_suite(write_suite(), entrants=[entrant])
    keys = {unit.entrant: unit.isolation_key for unit in plan.units}
    assert [name for name, key in keys.items() if key] == [name for name in keys if name.startswith("module")] != []


class Link:
    """A stand-in for the link to a parent that sends some units, and then asks to stop."""

    def __init__(self, units, files=()):
        self.inbox, self.stop, self.sent, self.left = queue.Queue(), threading.Event(), [], len(units)
        for unit in units:
            self.inbox.put({"unit": unit.record(), "files": [str(file) for file in files], "packages": []})

    def send(self, event, **details):
        self.sent.append({"event": event, **details})
        if event in ("finished", "unstored", "failed"):
            self.left -= 1
            if not self.left:
                self.stop.set()


def run_units_of(folder, plan, entrant, files, monkeypatch):
    """Run the units of an entrant as a worker process does; return the messages."""
    monkeypatch.setattr("gahbench.registry.plugin.watch.report", lambda name: None)
    link = Link([unit for unit in plan.units if unit.entrant == entrant], files)
    run_units(link, folder / "out", torch.get_num_threads(), "cpu")
    return link.sent


def test_a_worker_reports_which_plugins_it_imports_and_builds(tmp_path, write_suite, write_plugin, monkeypatch):
    file = write_plugin("mine", "return noisy - self.noise(noisy)")
    plan = plan_suite(write_suite(), entrants=["mine"], plugins=[file])
    sent = run_units_of(tmp_path, plan, "mine", [file], monkeypatch)
    ends = [message["event"] for message in sent if "unit" in message]
    assert ends == ["finished"] * 3
    assert sent[0] == {"event": "ready"}
    plugins = [message["plugin"] for message in sent if message["event"] == "constructing"]
    assert plugins[:3] == [str(file), "", "architecture 'mine'"]
    assert plugins[-1] == ""
    # The plugin file is loaded once for all units.
    assert plugins.count(str(file)) == 1


def test_units_of_built_in_plugins_load_no_external_code(tmp_path, write_suite, monkeypatch):
    sent = run_units_of(tmp_path, plan_suite(write_suite()), "identity", [], monkeypatch)
    assert {message["event"] for message in sent} <= {"ready", "progress", "note", "finished"}
    assert sent[-1]["event"] == "finished"


def test_a_worker_whose_device_is_lost_at_the_start_does_not_become_ready(tmp_path, write_suite, monkeypatch):
    def fail(device):
        raise RuntimeError("no device")

    link = Link(plan_suite(write_suite()).units)
    monkeypatch.setattr("gahbench.devices.hardware.Cpu.synchronise", fail)
    monkeypatch.setattr("gahbench.registry.plugin.watch.report", lambda name: None)
    with pytest.raises(RuntimeError, match="no device"):
        run_units(link, tmp_path / "out", torch.get_num_threads(), "cpu")
    assert link.sent == []


@pytest.mark.parametrize("call", ["fsync", "rename"])
def test_an_error_of_the_file_system_is_reported_as_unstored(tmp_path, write_suite, monkeypatch, call):
    plan = plan_suite(write_suite())

    def refuse(*arguments):
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(*((os, "fsync") if call == "fsync" else (Path, "rename")), refuse)
    end = run_units_of(tmp_path, plan, "identity", [], monkeypatch)[-1]
    assert (end["event"], end["number"]) == ("unstored", errno.EPERM)
    assert end["error"].startswith(f"Operation not permitted: {tmp_path / 'out' / 'units'}")


def test_seed_generators_makes_random_draws_reproducible():
    def draw():
        seed_generators()
        return torch.rand(()).item(), float(np.random.rand()), random.random()  # noqa: NPY002

    first = draw()
    assert draw() == first
