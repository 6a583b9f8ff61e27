"""Tests of units in this process, as engines run them: events, failures and lost devices."""

import errno
import json
import sys
from pathlib import Path

import pytest
from finished_units import EMPTY_BOARD

import gahbench
from gahbench._util.errors import ResultsError
from gahbench._util.files import StorageError
from gahbench.devices.hardware import Cpu, Cuda, hardware
from gahbench.runs.child import worker_environment
from gahbench.runs.protocol import NOT_STORED
from gahbench.runs.queue import Queue
from gahbench.runs.status import status
from gahbench.runs.worker import Worker
from gahbench.store.finished import DamagedError
from gahbench.store.leases import Leases
from gahbench.store.plan_file import RecordedPlan, write_plan
from gahbench.testing import check_file
from gahbench.training.trainer import Stopped


class Mute(Exception):
    def __str__(self):
        raise RuntimeError("no text")


class Leaves(Exception):
    def __str__(self):
        raise SystemExit(3)


def end_unit(error, job, stopped=False, **options):
    def compute(unit):
        raise error

    worker = Worker(lambda: job.registry, job.store, hardware("cpu"), should_stop=lambda: stopped)
    worker.compute = compute
    return worker.run(job.units[0], **options)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (SystemExit(0), "SystemExit: 0"),
        (GeneratorExit(), "GeneratorExit"),
        (BaseException("boo"), "BaseException: boo"),
        (Mute(), "Mute, whose text is not available: RuntimeError"),
        (Leaves(), "Leaves, whose text is not available: SystemExit"),
        (ValueError("bad \ud800\n text"), "ValueError: bad \\ud800 text"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), "out of memory: DefaultCPUAllocator"),
        (Stopped(), "Stopped: raised without a request to stop"),
    ],
)
def test_any_error_of_a_unit_is_reported_in_one_line(job, error, reason):
    end = end_unit(error, job)
    assert end["event"] == "failed"
    assert end["error"].startswith(reason)
    json.dumps(end).encode()
    end["traceback"].encode()


def test_long_errors_are_shortened_and_stopping_counts_only_on_request(job):
    end = end_unit(ValueError("x" * 20_000_000), job)
    assert len(end["error"]) < 3000
    assert len(end["traceback"]) < 30_000
    assert end_unit(Stopped(), job, stopped=True) == {"event": "stopped"}


def test_an_interrupt_in_a_worker_process_is_a_failure_of_the_unit(job):
    assert end_unit(KeyboardInterrupt(), job, interruptible=False)["error"] == "KeyboardInterrupt"
    with pytest.raises(KeyboardInterrupt):
        end_unit(KeyboardInterrupt(), job)


def test_errors_of_the_results_folder_are_raised_and_not_failures_of_a_unit(job):
    out_of_reach = ResultsError("done.json: cannot be read")
    out_of_reach.__cause__ = OSError(errno.ESTALE, "stale file handle")
    for error in (StorageError(errno.EPERM, "not permitted", "a/b"), out_of_reach):
        with pytest.raises(StorageError, match=r"a/b|done\.json"):
            end_unit(error, job)
    # Errors raised by a plugin, and errors of damaged files, are failures of the unit.
    for error in (PermissionError(errno.EPERM, "not permitted"), DamagedError("changed")):
        assert end_unit(error, job)["event"] == "failed"


def test_an_error_of_the_file_system_ends_an_inline_run_and_fails_no_unit(job, monkeypatch):
    def refuse(folder, *arguments, **options):
        raise OSError(errno.EPERM, "Operation not permitted", str(folder))

    monkeypatch.setattr(Path, "rename", refuse)
    runner = gahbench.UnitRunner(job)
    with pytest.raises(OSError, match="Operation not permitted"):
        runner.run(runner.next())
    assert job.store.failed() == set()
    assert Leases(job.store.leases).names() == set()


def test_a_damaged_checkpoint_is_moved_away_with_a_note(job, events):
    fit = next(unit for unit in job.units if unit.kind == "fit")
    (job.store.begin(fit).folder / "checkpoint-5.pt").write_bytes(b"rubbish")
    assert gahbench.UnitRunner(job).run(fit) == "finished"
    (note,) = [event.details["text"] for event in events if event.kind == "note"]
    moved = job.store.folder / "damaged" / f"{fit.folder}.partial-checkpoint-5.pt"
    assert note.startswith("cannot resume from checkpoint-5.pt: its content does not match its digest; the")
    assert note.endswith(str(moved))
    assert moved.read_bytes() == b"rubbish"
    write_plan(job.store.folder, RecordedPlan("tiny", (fit,), EMPTY_BOARD))
    assert status(job.store.folder).damaged == 0


def test_a_unit_that_the_store_does_not_hold_has_failed(job, events, monkeypatch):
    monkeypatch.setattr(Worker, "run", lambda worker, unit: {"event": "finished", "seconds": 0.0})
    assert gahbench.UnitRunner(job).run(job.units[0]) == "failed"
    assert job.store.failure(job.units[0]) == NOT_STORED
    assert [event.kind for event in events] == ["started", "failed"]


GONE = RuntimeError("CUDA error: an illegal memory access was encountered")


def lose_device(monkeypatch):
    def fail(device):
        raise GONE

    monkeypatch.setattr("gahbench.devices.hardware.Cpu.is_accelerator", True)
    monkeypatch.setattr("gahbench.devices.hardware.Cpu.synchronise", fail)


def test_a_unit_whose_device_was_lost_counts_neither_as_finished_nor_as_failed(job, monkeypatch):
    # Neither the text of an error nor its cause decides whether the device was lost.
    circular = ValueError("could not denoise")
    circular.__cause__ = circular
    for error in (GONE, circular):
        assert end_unit(error, job)["event"] == "failed"
    lose_device(monkeypatch)
    for error in (GONE, circular):
        end = end_unit(error, job)
        assert end["event"] == "lost"
        assert end["error"] == f"its device was lost: {type(error).__name__}: {error}"


def test_memory_is_freed_after_a_unit_unless_its_device_was_lost(job, monkeypatch):
    freed = []
    monkeypatch.setattr("gahbench.runs.worker.trim_heap", lambda: freed.append("heap"))
    monkeypatch.setattr("gahbench.runs.worker.release_memory", lambda: freed.append("device"))
    end_unit(ValueError(), job)
    assert freed == ["heap", "device"]
    lose_device(monkeypatch)
    end_unit(GONE, job)
    assert freed == ["heap", "device", "heap"]


def test_a_lost_device_is_noticed_even_if_the_unit_caught_its_error(job, events, monkeypatch):
    """An audit turns any error of a denoiser into a flag."""
    lose_device(monkeypatch)
    runner = gahbench.UnitRunner(job)
    unit = runner.next()
    assert unit.kind == "score"
    with pytest.raises(gahbench.GahbenchError, match=r"its device was lost: .*illegal memory access.*; run again"):
        runner.run(unit)
    assert (job.store.finished(), job.store.failed()) == (set(), set())
    assert [event.kind for event in events] == ["started"]
    monkeypatch.undo()
    assert gahbench.UnitRunner(job).run(unit) == "finished"


def test_notes_about_reduced_batches_are_recorded_with_the_unit(job, monkeypatch):
    monkeypatch.setattr("gahbench.runs.worker.take_memory_notes", lambda: ["out of memory: computed in batches of 1"])
    runner = gahbench.UnitRunner(job)
    for unit in (runner.next(), next(unit for unit in job.units if unit.kind == "fit")):
        assert runner.run(unit) == "finished"
        assert "out of memory: computed in batches of 1" in job.store.done_record(unit)["notes"]


ENGINE = """
import threading
import gahbench

@gahbench.hookimpl
def register_engines(register):
    register("threads", Threads)

class Threads(gahbench.Engine):
    "One thread, which is not the main one."
    def run(self, job):
        thread = threading.Thread(target=self._run, args=(job,))
        thread.start()
        thread.join()
    def _run(self, job):
        runner, done = gahbench.UnitRunner(job), set()
        for unit in job.units:
            if job.stop.is_set():
                return
            if runner.run(unit) == "finished":
                done.add(unit.key)
"""


def test_a_runner_reports_events_unless_another_process_runs_the_unit(job, events):
    runner, fit, other = gahbench.UnitRunner(job), job.units[0], Queue(job.units, job.store)
    assert fit.kind == "fit"
    assert other.claim(fit)
    assert runner.run(fit) == "elsewhere"
    assert events == []
    other.release(fit)
    assert runner.run(fit) == "finished"
    kinds = [event.kind for event in events]
    assert (kinds[0], kinds[-1]) == ("started", "finished")
    assert set(kinds[1:-1]) <= {"progress", "note"}
    assert "progress" in kinds
    assert {event.unit for event in events} == {fit}
    assert job.store.is_done(fit)
    assert gahbench.UnitRunner(job).run(fit) == "elsewhere"


def test_a_stopped_unit_is_not_done(job, events):
    job.stop.set()
    assert gahbench.UnitRunner(job).run(job.units[0]) == "stopped"
    assert [event.kind for event in events] == ["started", "stopped"]
    assert not job.store.is_done(job.units[0])


def test_an_engine_can_be_written_with_the_public_interface(tmp_path):
    file = tmp_path / "threads.py"
    file.write_text(ENGINE)
    (report,) = check_file(file)
    assert report.passed, str(report)


def test_next_returns_only_units_whose_needs_are_done(job):
    runner, done = gahbench.UnitRunner(job), []
    while runner.left:
        unit = runner.next()
        assert set(unit.needs) <= {other.key for other in done}
        assert runner.run(unit) == "finished"
        done.append(unit)
    assert {unit.folder for unit in done} == job.store.undamaged(job.units) == {unit.folder for unit in job.units}
    assert runner.next() is None


def test_watch_reports_units_that_other_processes_run(job, events):
    watch, other, (fit, *_, score) = gahbench.Watch(job), Queue(job.units, job.store), job.units
    assert other.claim(fit)
    assert watch.update() == len(job.units)
    job.store.fail(fit, "no luck", "")
    job.store.fail(score, "no luck either", "")
    # Two scores need the fit.
    assert watch.update() == watch.update() == len(job.units) - 4
    ends = [("started", fit), ("failed", fit), ("started", score), ("failed", score)]
    assert [(event.kind, event.unit) for event in events] == ends
    other.close()


def test_the_work_command_names_the_folder_and_the_device(job):
    job.device = "cpu"
    command = gahbench.work_command(job)
    assert command[0] == sys.executable
    assert command[-4:] == ["work", str(job.store.folder.resolve()), "--device", "cpu"]


def test_the_environment_of_a_worker_sets_its_threads_and_gpu(monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    variables = worker_environment(3, Cuda("cuda:1").environment)
    assert variables["OMP_NUM_THREADS"] == variables["MKL_NUM_THREADS"] == "3"
    assert variables["CUDA_VISIBLE_DEVICES"] == "1"
    assert "CUDA_VISIBLE_DEVICES" not in worker_environment(3, Cpu("cpu").environment)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-a,GPU-b")
    assert worker_environment(3, Cuda("cuda:1").environment)["CUDA_VISIBLE_DEVICES"] == "GPU-b"
