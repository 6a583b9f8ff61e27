"""Tests of the supervisor: numbers of workers, and handling of their messages, losses and failed starts."""

import errno
import time
from dataclasses import replace

import pytest
from fake_hardware import GIB, Fake, add_fake_devices

import gahbench
from gahbench.contracts.unit import Unit
from gahbench.devices.hardware import hardware
from gahbench.runs.protocol import NOT_STORED
from gahbench.runs.queue import Queue
from gahbench.runs.supervisor import FILLING_WORK, _Supervisor, worker_devices, workers_per_device
from gahbench.store.leases import Leases
from gahbench.store.store import Store


class Worker:
    """A stand-in for a worker process."""

    slot, key, is_ready, last = 0, "", True, None

    def __init__(self, unit):
        self.unit, self.is_killed = unit, False

    def observe(self, message, now):
        pass

    def clear_unit(self):
        self.unit = None

    def output(self):
        return "output of the worker"

    def describe_exit(self):
        return "exited with status 3"

    def kill(self):
        self.is_killed = True


@pytest.fixture
def supervised(job, events):
    """A supervisor whose only worker runs the first unit, that worker, and the reported events."""
    supervisor = _Supervisor(job, [hardware("cpu")])
    assert supervisor.queue.claim(job.units[0])
    worker = Worker(job.units[0])
    supervisor.children = {0: worker}
    yield supervisor, worker, events
    supervisor.queue.close()


def finished_message(unit):
    return {"event": "finished", "unit": unit.folder, "seconds": 1.0}


def kinds(events):
    return [event.kind for event in events]


def test_a_unit_reported_as_finished_but_not_stored_has_failed(supervised):
    supervisor, worker, events = supervised
    unit = worker.unit
    supervisor._handle(worker, finished_message(supervisor.job.units[1]))
    assert (worker.unit, events) == (unit, [])  # A message about another unit is ignored.
    supervisor._handle(worker, finished_message(unit))
    assert worker.unit is None
    assert supervisor.job.store.failure(unit) == NOT_STORED
    assert kinds(events) == ["failed"]


def test_a_stopped_unit_has_not_failed(supervised):
    supervisor, worker, events = supervised
    unit = worker.unit
    supervisor.job.stop.set()
    supervisor._handle(worker, {"event": "stopped", "unit": unit.folder})
    assert supervisor.job.store.failed() == set()
    assert kinds(events) == ["stopped"]


@pytest.mark.parametrize(("seconds", "reported"), [(1.5, 1.5), (-1.0, 0.0), (float("nan"), 0.0), (float("inf"), 0.0)])
def test_invalid_seconds_of_a_unit_are_reported_as_zero(supervised, monkeypatch, seconds, reported):
    supervisor, worker, events = supervised
    monkeypatch.setattr(Store, "is_done", lambda store, unit: True)
    supervisor._handle(worker, {**finished_message(worker.unit), "seconds": seconds})
    assert [event.details["seconds"] for event in events] == [reported]


def unstored_message(unit, number):
    return {"event": "unstored", "unit": unit.folder, "error": "refused: units/x", "number": number}


@pytest.mark.parametrize("number", [errno.EPERM, errno.ESTALE])
def test_a_unit_that_cannot_be_stored_is_tried_again_later(supervised, number):
    supervisor, worker, events = supervised
    unit = worker.unit
    supervisor._handle(worker, unstored_message(unit, number))
    assert (worker.unit, supervisor.job.store.failed()) == (None, set())
    assert kinds(events) == ["note", "stopped"]
    assert events[0].details["text"] == "refused: units/x; the unit will be tried again"
    assert supervisor.waits_until > time.monotonic() + 1
    assert supervisor.queue.take() is not None


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS])
def test_a_full_disk_in_a_worker_ends_the_run_and_fails_no_unit(supervised, number):
    supervisor, worker, events = supervised
    supervisor.pending.append((worker, unstored_message(worker.unit, number)))
    with pytest.raises(OSError, match="refused") as caught:
        supervisor._handle_pending()
    assert (caught.value.errno, worker.unit, events) == (number, None, [])
    assert supervisor.job.store.failed() == set()


@pytest.mark.parametrize("how", ["exit", "device"])
def test_a_unit_fails_at_the_third_loss_of_its_worker_or_device(supervised, how):
    supervisor, worker, events = supervised
    unit = worker.unit
    lost = {"event": "lost", "unit": unit.folder, "error": "its device was lost: gone", "traceback": "where"}
    for _ in range(3):
        assert supervisor.job.store.failed() == set()
        worker.unit, worker.is_killed, supervisor.children = unit, False, {0: worker}
        assert supervisor.queue.claim(unit)
        if how == "exit":
            supervisor._on_worker_exit(worker)
        else:
            supervisor._handle(worker, dict(lost))
        # The process is not used for other units.
        assert (worker.is_killed, supervisor.children) == (True, {})
    reason = supervisor.job.store.failure(unit)
    assert "lost 3 times" in reason
    assert ("the worker process exited with status 3" if how == "exit" else "its device was lost: gone") in reason
    assert kinds(events) == ["note", "stopped", "note", "stopped", "failed"]


def test_a_unit_is_not_blamed_for_a_worker_that_exits_before_it_is_ready(supervised):
    supervisor, worker, events = supervised
    worker.is_ready = False
    supervisor._on_worker_exit(worker)
    assert kinds(events) == ["stopped"]
    assert supervisor.queue.leases.names() == set()
    worker.unit, supervisor.children = supervisor.job.units[0], {0: worker}
    with pytest.raises(
        gahbench.GahbenchError, match="cannot start: the worker process exited with status 3\noutput of"
    ):
        supervisor._on_worker_exit(worker)


def test_a_slot_whose_workers_cannot_start_is_removed_and_the_last_ends_the_run(supervised):
    supervisor, worker, events = supervised
    supervisor.devices = {0: Fake("fake:0"), 1: Fake("fake:1")}
    unit = worker.unit

    def fail_to_start(slot):
        worker.slot, worker.unit, worker.is_ready, supervisor.children = slot, unit, False, {slot: worker}
        supervisor._on_worker_exit(worker)

    fail_to_start(0)
    # A worker that becomes ready shows that its device works.
    worker.slot, worker.unit, supervisor.children = 0, unit, {0: worker}
    supervisor._handle(worker, {"event": "ready"})
    fail_to_start(0)
    assert list(supervisor.devices) == [0, 1]
    fail_to_start(0)
    assert list(supervisor.devices) == [1]
    (note,) = [event.details["text"] for event in events if event.kind == "note"]
    assert note.startswith("worker processes cannot start on device fake:0: the worker")
    fail_to_start(1)
    with pytest.raises(gahbench.GahbenchError, match=r"device fake:1: .*no device is left\. .* --device cpu\nou"):
        fail_to_start(1)
    assert supervisor.job.store.failed() == set()


def test_losses_of_ready_workers_do_not_remove_a_slot(supervised):
    supervisor, worker, _ = supervised
    supervisor.devices = {0: Fake("fake:0")}
    for unit in supervisor.job.units[:2]:
        worker.unit, supervisor.children = unit, {0: worker}
        supervisor.queue.claim(unit)
        supervisor._handle(worker, {"event": "lost", "unit": unit.folder, "error": "lost", "traceback": ""})
    assert list(supervisor.devices) == [0]


def test_a_unit_that_was_taken_over_is_abandoned(supervised, monkeypatch):
    supervisor, worker, events = supervised
    monkeypatch.setattr(supervisor, "_listen", lambda: [])
    monkeypatch.setattr(supervisor.queue, "is_own", lambda unit: False)
    monkeypatch.setattr(supervisor.queue, "take", lambda last: None)
    supervisor._turn()
    assert (worker.is_killed, supervisor.children) == (True, {})
    assert supervisor.job.store.failed() == set()
    assert kinds(events) == ["note", "stopped"]
    assert events[0].details["text"] == "taken over by another process"


@pytest.fixture
def fail_once(monkeypatch):
    """A function that makes the first call of a method fail, as if the file server did not respond."""

    def patch(owner, name):
        original, failed = getattr(owner, name), []

        def fail_first_call(*arguments, **keywords):
            if not failed:
                failed.append(name)
                raise OSError(errno.ESTALE, "stale file handle")
            return original(*arguments, **keywords)

        monkeypatch.setattr(owner, name, fail_first_call)

    return patch


@pytest.mark.parametrize(
    ("owner", "name"), [(Store, "is_done"), (Store, "fail"), (Leases, "release"), (Queue, "finish"), (Queue, "release")]
)
def test_the_end_of_a_unit_is_recorded_after_an_error_of_the_file_server(supervised, fail_once, owner, name):
    supervisor, worker, events = supervised
    unit = worker.unit
    fail_once(owner, name)
    supervisor.pending.append((worker, finished_message(unit)))
    with pytest.raises(OSError, match="stale"):
        supervisor._handle_pending()
    supervisor._handle_pending()
    assert (worker.unit, list(supervisor.pending)) == (None, [])
    assert supervisor.job.store.failure(unit) == NOT_STORED
    assert supervisor.queue.leases.names() == set()
    assert kinds(events) == ["failed"]


@pytest.mark.parametrize(("owner", "name"), [(Queue, "_count_losses"), (Leases, "lose")])
def test_the_loss_of_a_unit_is_recorded_after_an_error_of_the_file_server(supervised, fail_once, owner, name):
    supervisor, worker, _ = supervised
    fail_once(owner, name)
    with pytest.raises(OSError, match="stale"):
        supervisor.queue.lose(worker.unit, "it died", "")
    assert supervisor.queue.lose(worker.unit, "it died", "") is False
    # Any process may take the unit over at once.
    assert supervisor.queue.leases.inspect(worker.unit.folder).is_stale


def fit(step_work, steps=100):
    payload = {"training": {"steps": steps}}
    work = step_work * (steps if isinstance(steps, int) else 1)
    return Unit("fit", "k", "d", "e", "architecture", 0, None, None, None, None, work, payload)


@pytest.mark.parametrize(
    ("units", "gigabytes", "processors", "count"),
    [
        ([fit(FILLING_WORK / 3)], 80, 16, 3),
        ([fit(FILLING_WORK / 100)], 80, 16, 4),
        ([fit(FILLING_WORK / 100)], 16, 16, 2),
        ([fit(FILLING_WORK / 100)], 80, 2, 2),
        ([fit(FILLING_WORK / 100)], 4, 16, 1),
        # The largest network decides.
        ([fit(FILLING_WORK / 100), fit(FILLING_WORK)], 80, 16, 1),
        # The work of a step is unknown: a time budget, steps that depend on the images, or no networks.
        ([fit(float("inf"))], 80, 16, 1),
        ([fit(1.0, None)], 80, 16, 1),
        ([fit(1.0, {"per_image": 2.0, "minimum": 1})], 80, 16, 1),
        ([], 80, 16, 1),
    ],
)
def test_small_networks_share_a_gpu_as_far_as_memory_and_processors_allow(units, gigabytes, processors, count):
    assert workers_per_device(units, gigabytes * GIB, processors) == count


@pytest.fixture
def small_job(job, monkeypatch):
    """A job of a small network on a machine of 16 processors."""
    monkeypatch.setattr("gahbench.runs.supervisor.cpu_count", lambda: 16)
    return replace(job, units=[fit(FILLING_WORK / 100)], threads=2)


def visible_devices(devices):
    return [device.environment.get("FAKE_VISIBLE_DEVICES") for device in devices]


def test_each_device_gets_as_many_workers_as_its_memory_allows(small_job, monkeypatch):
    job = small_job
    add_fake_devices(monkeypatch, 16 * GIB, 8 * GIB)
    assert visible_devices(worker_devices(job)) == ["0", "1", "0"]
    assert visible_devices(worker_devices(job, workers_per_gpu=2)) == ["0", "1", "0", "1"]
    # A smaller number of workers is spread over the devices.
    assert visible_devices(worker_devices(job, workers=2)) == ["0", "1"]
    assert visible_devices(worker_devices(job, workers=5)) == ["0", "1", "0", "0", "1"]


def test_without_devices_workers_share_the_processors(small_job, monkeypatch):
    job = replace(small_job, device="cpu")
    assert visible_devices(worker_devices(job)) == [None] * 8
    assert len(worker_devices(job, workers=3)) == 3
    job.device = "cuda"
    monkeypatch.setattr("gahbench.devices.hardware.Cuda.devices", classmethod(lambda cls: []))
    with pytest.raises(gahbench.GahbenchError, match="device 'cuda' was requested, but this machine has none"):
        worker_devices(job)


#: References that wait until two devices were used; the device of the first reference is lost at its first call.
PLUGIN = """
import os, pathlib, time
import gahbench
from gahbench.devices import hardware

@gahbench.hookimpl
def register_references(register):
    register("waiting", Waiting)

def gone(device):
    raise RuntimeError("an illegal memory access was encountered")

class Waiting(gahbench.Reference):
    "Returns the noisy image."
    def __init__(self, number: int = 0):
        self.number = number
    def denoise(self, noisy, sigma, truth):
        folder = pathlib.Path(os.environ["CALLS"])
        (folder / f"{self.number} {os.environ['FAKE_VISIBLE_DEVICES']} {os.getpid()}").touch()
        if self.number == 0 and len(list(folder.glob("0 *"))) == 1:
            hardware.Cpu.is_accelerator, hardware.Cpu.synchronise = True, gone
            gone(None)
        end = time.monotonic() + 30
        while time.monotonic() < end and len({file.name.split()[1] for file in folder.iterdir()}) < 2:
            time.sleep(0.05)
        return noisy
"""
SUITE = """
name: two-devices
datasets: [discs: {size: 16}]
entrants: [waiting: {number: [0, 1, 2, 3]}, identity]
baseline: identity
scoring: {sigmas: [0.1], images: 2, metrics: [psnr]}
"""


@pytest.mark.processes
def test_two_devices_are_used_and_a_lost_device_affects_one_unit(tmp_path, monkeypatch, figures_not_rendered):
    add_fake_devices(monkeypatch)
    (tmp_path / "calls").mkdir()
    monkeypatch.setenv("CALLS", str(tmp_path / "calls"))
    (tmp_path / "waiting.py").write_text(PLUGIN)
    (tmp_path / "suite.yaml").write_text(SUITE)
    notes = []

    def report(event):
        if event.kind == "note":
            notes.append(event.details["text"])

    run = gahbench.run(
        tmp_path / "suite.yaml", tmp_path / "out", plugins=[tmp_path / "waiting.py"], report=report, threads=1
    )
    assert (run.done, run.failed) == (5, 0)
    calls = [file.name.split() for file in (tmp_path / "calls").iterdir()]
    assert {device for _, device, _ in calls} == {"0", "1"}
    # Each process used one device.
    assert len({process for _, _, process in calls}) == len({(device, process) for _, device, process in calls})
    lost, again = (process for number, _, process in calls if number == "0")
    assert lost != again
    assert any("its device was lost: RuntimeError: an illegal" in text for text in notes)
