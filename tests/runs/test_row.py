"""Tests of rows in this process: failures of units, errors of the folder, lost devices, notes and costs."""

import dataclasses
import errno
import json
import random
import threading
import time

import numpy as np
import pytest
import torch

import gahbench
from gahbench._util.errors import ResultsError
from gahbench._util.files import StorageError
from gahbench.evaluation import Evaluation
from gahbench.runs.row import measure_cost, run_row
from gahbench.store.store import Store
from gahbench.store.units import DamagedError
from gahbench.training.hardware import multiply_adds
from gahbench.training.trainer import Stopped


class Mute(Exception):
    def __str__(self):
        raise RuntimeError("no text")


@pytest.fixture
def end_first_unit(row, monkeypatch):
    """Run a row whose first unit ends with an error; return its failure record."""

    def end(error, stop=None):
        def compute(runner, unit):
            raise error

        monkeypatch.setattr("gahbench.runs.row._Runner._compute", compute)
        first = dataclasses.replace(row, units=row.units[:1])
        run_row(first, stop)
        return Store(row.folder).failure_record(row.units[0].folder)

    return end


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (SystemExit(0), "SystemExit: 0"),
        (GeneratorExit(), "GeneratorExit"),
        (BaseException("boo"), "BaseException: boo"),
        (Mute(), "Mute, whose text is not available: RuntimeError"),
        (ValueError("bad \ud800\n text"), "ValueError: bad \\ud800 text"),
        (Stopped(), "Stopped"),
        (PermissionError(errno.EPERM, "not permitted"), "PermissionError"),
        (DamagedError("changed"), "DamagedError: changed"),
        (ValueError("x" * 20_000_000), "ValueError: xxx"),
    ],
)
def test_any_error_of_a_unit_is_recorded_in_one_short_line_with_its_traceback(end_first_unit, error, reason):
    record = end_first_unit(error)
    assert record["error"].startswith(reason)
    assert len(record["error"]) < 3000
    assert "\n" not in record["error"]
    assert "compute" in record["traceback"] or len(record["traceback"]) > 10_000


def test_a_unit_that_stops_on_request_has_not_failed(end_first_unit, monkeypatch):
    stop = threading.Event()
    monkeypatch.setattr("gahbench.runs.row._seed_generators", stop.set)
    assert end_first_unit(Stopped(), stop) == {}


def test_errors_of_the_results_folder_are_raised_and_not_failures_of_a_unit(end_first_unit, row):
    out_of_reach = ResultsError("done.json: cannot be read")
    out_of_reach.__cause__ = OSError(errno.ESTALE, "stale file handle")
    for error in (StorageError(errno.EPERM, "not permitted", "a/b"), out_of_reach):
        with pytest.raises(StorageError, match=r"a/b|done\.json"):
            end_first_unit(error)
    with pytest.raises(KeyboardInterrupt):
        end_first_unit(KeyboardInterrupt())
    assert Store(row.folder).failed() == set()


def test_a_row_runs_again_only_what_is_left(row):
    store, (fit, *scores) = Store(row.folder), row.units
    store.fail(fit, "no luck", "")
    run_row(row)
    # The scores of the failed network are not started.
    assert store.finished() == {unit.folder for unit in scores if not unit.needs}
    before = {path: path.stat().st_mtime_ns for path in store.units.iterdir()}
    store.forget_failure(fit)
    run_row(row)
    assert store.finished() == {unit.folder for unit in row.units}
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_a_row_leaves_the_state_of_its_process_as_it_was(row):
    torch.manual_seed(5)
    state, threads = torch.get_rng_state(), torch.get_num_threads()
    draws = random.getstate(), np.random.get_state()[1].tolist()  # noqa: NPY002
    run_row(dataclasses.replace(row, threads=threads + 1))
    assert torch.get_rng_state().equal(state)
    assert (random.getstate(), np.random.get_state()[1].tolist()) == draws  # noqa: NPY002
    assert torch.get_num_threads() == threads
    (fit,) = Store(row.folder).units.glob("fit-*/done.json")
    assert json.loads(fit.read_bytes())["environment"]["threads"] == threads + 1


def test_a_row_of_other_code_is_refused_in_one_line(row):
    fit = row.units[0]
    changed = dataclasses.replace(fit, document={**fit.document, "code": "other"})
    run_row(dataclasses.replace(row, units=(changed,)))
    message = "PluginError: the code of gahbench has changed since this run was planned; run again"
    assert Store(row.folder).failure_of(fit.folder) == message


def test_a_damaged_checkpoint_is_deleted_with_a_note(row):
    store, fit = Store(row.folder), row.units[0]
    (store.begin(fit).folder / "checkpoint-5.pt").write_bytes(b"rubbish")
    run_row(dataclasses.replace(row, units=(fit,)))
    assert store.examine([fit]).undamaged
    note = store.done_record(fit)["notes"][0]
    assert "checkpoint-5.pt" in note


def test_a_unit_whose_device_was_lost_counts_neither_as_finished_nor_as_failed(end_first_unit, row, monkeypatch):
    gone = RuntimeError("CUDA error: an illegal memory access was encountered")

    def fail(device):
        raise gone

    score = next(unit for unit in row.units if not unit.needs and unit.kind == "score")
    store, only_score = Store(row.folder), dataclasses.replace(row, units=(score,))
    with monkeypatch.context() as patch:
        patch.setattr("gahbench.devices.hardware.Hardware.is_accelerator", True)
        patch.setattr("gahbench.devices.hardware.Hardware.synchronise", fail)
        # The loss is noticed even if the unit caught its error, since an audit turns any error into a flag.
        with pytest.raises(gahbench.GahbenchError, match=r"its device was lost: .*illegal memory access"):
            run_row(only_score)
        # Neither the text of an error nor its cause decides whether the device was lost.
        for error in (gone, ValueError("could not denoise")):
            with pytest.raises(gahbench.GahbenchError, match=f"its device was lost: {type(error).__name__}"):
                end_first_unit(error)
    assert (store.finished(), store.failed()) == (set(), set())


def test_notes_about_reduced_batches_are_recorded_with_the_unit(row, monkeypatch):
    monkeypatch.setattr("gahbench.runs.row.take_memory_notes", lambda: ["out of memory: computed in batches of 1"])
    run_row(row)
    records = [Store(row.folder).done_record(unit) for unit in row.units]
    assert all("out of memory: computed in batches of 1" in record["notes"] for record in records)


class Slow(gahbench.Reference):
    """A denoiser that takes 20 ms for each batch, or fails."""

    kind = "classical"

    def __init__(self, fails):
        self.fails = fails

    def denoise(self, noisy, sigma, truth):
        time.sleep(0.02)
        if self.fails:
            raise RuntimeError("no luck")
        return noisy


def test_seconds_are_per_megapixel_of_a_batch_and_a_failing_denoiser_has_no_cost():
    images = gahbench.create("dataset", "discs", size=12).images("test", 3)
    cost = measure_cost(Evaluation(Slow(fails=False), images, [0.1, 0.2]))
    assert cost == {"seconds": pytest.approx(0.02 / (3 * 12 * 12) * 1e6, rel=0.5)}
    assert measure_cost(Evaluation(Slow(fails=True), images, [0.1, 0.2])) == {}


def test_a_run_measures_the_cost_of_its_denoisers(kept_run):
    costs = gahbench.load_results(kept_run).costs.set_index("entrant")
    kinds = gahbench.load_results(kept_run).scores.groupby("entrant")["kind"].first()
    practical = {label for label, kind in kinds.items() if kind in ("trained", "classical")}
    assert set(costs.index) == practical
    assert (costs["seconds"] > 0).all()
    assert costs["machine"].nunique() == 1
    (label,) = (label for label in practical if kinds[label] == "trained")
    network = gahbench.create("architecture", label, channels=1).to("meta")
    assert costs.loc[label, "multiply_adds"] == multiply_adds(network, (1, 16, 16)) / 16**2
    assert costs["multiply_adds"].notna().sum() == costs["training_images"].notna().sum() == 1
