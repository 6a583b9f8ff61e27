"""Units in a worker process: what is loaded for them, and what it reports."""

import errno
import os
import queue
import random
import threading
from pathlib import Path

import numpy as np
import pytest
import torch

from gahbench.runs.running import plan_suite
from gahbench.runs.worker_process import do_units, seed_generators

pytestmark = pytest.mark.usefixtures("dry_runs_here", "figures_not_rendered")


class Link:
    """A link to a parent that has some units done, and then asks to stop."""

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


def done(folder, plan, entrant, files, monkeypatch):
    """Do the units of an entrant as a worker process does; return the messages."""
    monkeypatch.setattr("gahbench.registry.plugin.watch.report", lambda name: None)
    link = Link([unit for unit in plan.units if unit.entrant == entrant], files)
    do_units(link, folder / "out", torch.get_num_threads(), "cpu")
    return link.sent


def test_a_process_says_what_of_a_plugin_is_imported_and_built(tmp_path, write_suite, write_plugin, monkeypatch):
    file = write_plugin("mine", "return noisy - self.noise(noisy)")
    plan = plan_suite(write_suite(), entrants=["mine"], plugins=[file])
    sent = done(tmp_path, plan, "mine", [file], monkeypatch)
    ends = [message["event"] for message in sent if "unit" in message]
    assert ends == ["finished"] * 3
    assert sent[0] == {"event": "ready"}
    said = [message["what"] for message in sent if message["event"] == "constructing"]
    assert said[:3] == [str(file), "", "architecture 'mine'"]
    assert said[-1] == ""
    # It is loaded once for all.
    assert said.count(str(file)) == 1


def test_units_of_built_in_plugins_load_and_report_nothing_from_outside(tmp_path, write_suite, monkeypatch):
    sent = done(tmp_path, plan_suite(write_suite()), "identity", [], monkeypatch)
    assert {message["event"] for message in sent} <= {"ready", "progress", "note", "finished"}
    assert sent[-1]["event"] == "finished"


def test_a_process_whose_device_is_lost_at_its_start_is_never_ready(tmp_path, write_suite, monkeypatch):
    def fail(device):
        raise RuntimeError("no device")

    link = Link(plan_suite(write_suite()).units)
    monkeypatch.setattr("gahbench.devices.hardware.Cpu.synchronise", fail)
    monkeypatch.setattr("gahbench.registry.plugin.watch.report", lambda name: None)
    with pytest.raises(RuntimeError, match="no device"):
        do_units(link, tmp_path / "out", torch.get_num_threads(), "cpu")
    assert link.sent == []


@pytest.mark.parametrize("call", ["fsync", "rename"])
def test_a_file_system_that_fails_is_reported_as_such(tmp_path, write_suite, monkeypatch, call):
    plan = plan_suite(write_suite())

    def refuse(*arguments):
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(*((os, "fsync") if call == "fsync" else (Path, "rename")), refuse)
    end = done(tmp_path, plan, "identity", [], monkeypatch)[-1]
    assert (end["event"], end["number"]) == ("unstored", errno.EPERM)
    assert end["error"].startswith(f"Operation not permitted: {tmp_path / 'out' / 'units'}")


def test_units_draw_the_same_whatever_was_drawn_before():
    def drawn():
        seed_generators()
        return torch.rand(()).item(), float(np.random.rand()), random.random()  # noqa: NPY002

    first = drawn()
    assert drawn() == first
