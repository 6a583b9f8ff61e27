"""What engines run units with."""

import sys
import threading

import pytest

import gahbench
from gahbench._util.errors import ParameterError
from gahbench.contracts.engines import Job
from gahbench.devices.hardware import Cpu, Cuda
from gahbench.registry.registry import Registry
from gahbench.runs.child import environment
from gahbench.runs.queue import Queue
from gahbench.store.store import Store
from gahbench.testing import check_file

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


def fit_of(job):
    return next(unit for unit in job.units if unit.kind == "fit")


def test_a_unit_reports_its_start_its_progress_and_its_end_if_no_other_process_does_it(job):
    job, events = job
    runner, fit, other = gahbench.UnitRunner(job), fit_of(job), Queue(job.units, job.store)
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


def test_a_unit_that_is_stopped_is_still_to_be_done(job):
    job, events = job
    job.stop.set()
    fit = fit_of(job)
    assert gahbench.UnitRunner(job).run(fit) == "stopped"
    assert [event.kind for event in events] == ["started", "stopped"]
    assert not job.store.is_done(fit)


def test_an_engine_can_be_written_with_what_is_public(tmp_path):
    file = tmp_path / "threads.py"
    file.write_text(ENGINE)
    (report,) = check_file(file)
    assert report.passed, str(report)


def test_units_come_when_what_they_need_is_done(job):
    job, _ = job
    runner, done = gahbench.UnitRunner(job), []
    while runner.left:
        unit = runner.next()
        assert set(unit.needs) <= {other.key for other in done}
        assert runner.run(unit) == "finished"
        done.append(unit)
    assert {unit.folder for unit in done} == job.store.whole(job.units) == {unit.folder for unit in job.units}
    assert runner.next() is None


def test_the_command_of_engines_names_the_folder_and_the_device(job):
    job, _ = job
    job.device = "cpu"
    command = gahbench.work_command(job)
    assert command[0] == sys.executable
    assert command[-4:] == ["work", str(job.store.folder.resolve()), "--device", "cpu"]


def test_a_worker_gets_its_threads_and_its_gpu(monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    variables = environment(3, Cuda("cuda:1").environment)
    assert variables["OMP_NUM_THREADS"] == variables["MKL_NUM_THREADS"] == "3"
    assert variables["CUDA_VISIBLE_DEVICES"] == "1"
    assert "CUDA_VISIBLE_DEVICES" not in environment(3, Cpu("cpu").environment)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-a,GPU-b")
    assert environment(3, Cuda("cuda:1").environment)["CUDA_VISIBLE_DEVICES"] == "GPU-b"


def test_jobs_refuse_other_devices(tmp_path):
    arguments = ((), Store(tmp_path), Registry(), lambda event: None, threading.Event(), 1)
    with pytest.raises(ParameterError, match=r"device 'foo' is not accepted; accepted are auto, cpu, cuda"):
        Job(*arguments, device="foo")
