"""Units in a process that is for nothing else: what is loaded for them, reported, and left behind."""

import pytest
import torch

import gahbench
from gahbench.runs.unit_process import UnitProcess
from gahbench.store.store import Store

pytestmark = pytest.mark.usefixtures("dry_runs_here", "figures_not_rendered")


def fit_of(plan, entrant):
    (unit,) = [unit for unit in plan.units if unit.kind == "fit" and unit.entrant == entrant]
    return unit


def process_in(folder):
    """Return a process, and the messages that it sends; made in the test, whose phase is in the environment."""
    sent = []
    return UnitProcess(Store(folder / "out"), torch.device("cpu"), sent.append, lambda: False), sent


def test_a_unit_that_does_no_harm_leaves_its_process_as_it_found_it(tmp_path, write_suite, write_plugin):
    file = write_plugin("mine", "return noisy - self.noise(noisy)")
    plan = gahbench.plan_suite(write_suite(), entrants=["mine"], plugins=[file])
    process, sent = process_in(tmp_path)
    end = process.do(fit_of(plan, "mine"), (file,), [])
    assert (end["event"], end["moved"]) == ("finished", [])
    said = [message["what"] for message in sent if message["event"] == "constructing"]
    assert said[:2] == ["importing mine.py", None]
    assert said[2:4] == ["constructing architecture 'mine'", None]


def test_what_a_unit_has_moved_is_named(tmp_path, write_suite, write_plugin):
    body = (
        "if noisy.device.type != 'meta':\n    torch.set_default_dtype(torch.float64)\nreturn noisy - self.noise(noisy)"
    )
    file = write_plugin("moves", body)
    plan = gahbench.plan_suite(write_suite(), entrants=["moves"], plugins=[file])
    process, _ = process_in(tmp_path)
    try:
        assert process.do(fit_of(plan, "moves"), (file,), [])["moved"] == ["default dtype"]
    finally:
        torch.set_default_dtype(torch.float32)


def test_units_of_built_in_plugins_load_and_report_nothing_from_outside(tmp_path, write_suite):
    plan = gahbench.plan_suite(write_suite())
    process, sent = process_in(tmp_path)
    end = process.do(fit_of(plan, "unet[width=2,levels=1]"), (), [])
    assert (end["event"], end["moved"]) == ("finished", [])
    assert {message["event"] for message in sent} <= {"progress", "note"}
