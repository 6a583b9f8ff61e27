"""The supervisor of worker processes: how their ends, losses and failed starts are handled."""

import errno
import time

import pytest
from fake_hardware import Fake

import gahbench
from gahbench.devices.hardware import hardware
from gahbench.runs.protocol import NOT_HELD
from gahbench.runs.queue import Queue
from gahbench.runs.supervisor import _Supervisor
from gahbench.store.leases import Leases
from gahbench.store.store import Store


class Worker:
    """A worker process that says whatever a test has it say."""

    place, key, is_ready, last = 0, "", True, None

    def __init__(self, unit):
        self.unit, self.is_killed = unit, False

    def observe(self, message, now):
        pass

    def take_back(self):
        self.unit = None

    def output(self):
        return "what it wrote"

    def ending(self):
        return "exited with status 3"

    def kill(self):
        self.is_killed = True


@pytest.fixture
def supervised(job):
    """A supervisor whose one worker has been given the first unit."""
    job, events = job
    supervisor = _Supervisor(job, [hardware("cpu")])
    assert supervisor.queue.claim(job.units[0])
    worker = Worker(job.units[0])
    supervisor.children = {0: worker}
    yield supervisor, worker, events
    supervisor.queue.close()


def finished(unit):
    return {"event": "finished", "unit": unit.folder, "seconds": 1.0}


def test_a_worker_that_only_says_that_it_has_finished_has_failed(supervised):
    supervisor, worker, events = supervised
    unit = worker.unit
    supervisor._handle(worker, finished(supervisor.job.units[1]))
    assert (worker.unit, events) == (unit, [])  # Not its unit.
    supervisor._handle(worker, finished(unit))
    assert worker.unit is None
    assert supervisor.job.store.failure(unit) == NOT_HELD
    assert [event.kind for event in events] == ["failed"]


def test_a_worker_that_was_asked_to_stop_leaves_its_unit_to_be_done(supervised):
    supervisor, worker, events = supervised
    unit = worker.unit
    supervisor.job.stop.set()
    supervisor._handle(worker, {"event": "stopped", "unit": unit.folder})
    assert supervisor.job.store.failed() == set()
    assert [event.kind for event in events] == ["stopped"]


@pytest.mark.parametrize(("seconds", "reported"), [(1.5, 1.5), (-1.0, 0.0), (float("nan"), 0.0), (float("inf"), 0.0)])
def test_the_seconds_of_a_unit_are_a_duration(supervised, monkeypatch, seconds, reported):
    supervisor, worker, events = supervised
    monkeypatch.setattr(Store, "is_done", lambda store, unit: True)
    supervisor._handle(worker, {**finished(worker.unit), "seconds": seconds})
    assert [event.details["seconds"] for event in events] == [reported]


def unstored(unit, number):
    return {"event": "unstored", "unit": unit.folder, "error": "refused: units/x", "number": number}


@pytest.mark.parametrize("number", [errno.EPERM, errno.ESTALE])
def test_a_unit_that_cannot_be_stored_is_done_again_after_a_while(supervised, number):
    supervisor, worker, events = supervised
    unit = worker.unit
    supervisor._handle(worker, unstored(unit, number))
    assert (worker.unit, supervisor.job.store.failed()) == (None, set())
    assert [event.kind for event in events] == ["note", "stopped"]
    assert events[0].details["text"] == "refused: units/x; it is done again"
    assert supervisor.waits_until > time.monotonic() + 1
    assert supervisor.queue.take() is not None


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS])
def test_a_full_disk_in_a_worker_ends_the_run_and_fails_no_unit(supervised, number):
    supervisor, worker, events = supervised
    supervisor.pending.append((worker, unstored(worker.unit, number)))
    with pytest.raises(OSError, match="refused") as caught:
        supervisor._handle_pending()
    assert (caught.value.errno, worker.unit, events) == (number, None, [])
    assert supervisor.job.store.failed() == set()


@pytest.mark.parametrize("how", ["exit", "device"])
def test_the_third_loss_of_its_worker_or_its_device_fails_a_unit(supervised, how):
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
        # No other unit is done in its process.
        assert (worker.is_killed, supervisor.children) == (True, {})
    reason = supervisor.job.store.failure(unit)
    assert "lost 3 times" in reason
    assert ("the worker process exited with status 3" if how == "exit" else "its device was lost: gone") in reason
    assert [event.kind for event in events] == ["note", "stopped", "note", "stopped", "failed"]


def test_a_worker_that_exits_before_it_is_ready_is_not_the_fault_of_its_unit(supervised):
    supervisor, worker, events = supervised
    worker.is_ready = False
    supervisor._on_worker_exit(worker)
    assert [event.kind for event in events] == ["stopped"]
    assert supervisor.queue.leases.names() == set()
    worker.unit, supervisor.children = supervisor.job.units[0], {0: worker}
    with pytest.raises(gahbench.GahbenchError, match="cannot start: the worker process exited with status 3\nwhat it"):
        supervisor._on_worker_exit(worker)


def test_a_place_whose_workers_cannot_start_is_removed_and_the_last_ends_the_run(supervised):
    supervisor, worker, events = supervised
    supervisor.places = {0: Fake("fake:0"), 1: Fake("fake:1")}
    unit = worker.unit

    def fail_to_start(place):
        worker.place, worker.unit, worker.is_ready, supervisor.children = place, unit, False, {place: worker}
        supervisor._on_worker_exit(worker)

    fail_to_start(0)
    # A worker that becomes ready shows that its device works.
    worker.place, worker.unit, supervisor.children = 0, unit, {0: worker}
    supervisor._handle(worker, {"event": "ready"})
    fail_to_start(0)
    assert list(supervisor.places) == [0, 1]
    fail_to_start(0)
    assert list(supervisor.places) == [1]
    (note,) = [event.details["text"] for event in events if event.kind == "note"]
    assert note.startswith("worker processes cannot start on device fake:0: the worker")
    fail_to_start(1)
    with pytest.raises(gahbench.GahbenchError, match=r"device fake:1: .*no device is left\. .* --device cpu\nwh"):
        fail_to_start(1)
    assert supervisor.job.store.failed() == set()


def test_losses_of_ready_workers_cost_no_place(supervised):
    supervisor, worker, _ = supervised
    supervisor.places = {0: Fake("fake:0")}
    for unit in supervisor.job.units[:2]:
        worker.unit, supervisor.children = unit, {0: worker}
        supervisor.queue.claim(unit)
        supervisor._handle(worker, {"event": "lost", "unit": unit.folder, "error": "lost", "traceback": ""})
    assert list(supervisor.places) == [0]


def test_a_unit_that_was_taken_over_is_abandoned(supervised, monkeypatch):
    supervisor, worker, events = supervised
    monkeypatch.setattr(supervisor, "_listen", lambda: [])
    monkeypatch.setattr(supervisor.queue, "is_own", lambda unit: False)
    monkeypatch.setattr(supervisor.queue, "take", lambda last: None)
    supervisor._turn()
    assert (worker.is_killed, supervisor.children) == (True, {})
    assert supervisor.job.store.failed() == set()
    assert [event.kind for event in events] == ["note", "stopped"]
    assert events[0].details["text"] == "taken over by another process"


@pytest.fixture
def away_once(monkeypatch):
    """Let a method fail when it is first called, as if the file server were away."""

    def patch(where, name):
        whole, left = getattr(where, name), []

        def away(*arguments, **keywords):
            if not left:
                left.append(name)
                raise OSError(errno.ESTALE, "stale file handle")
            return whole(*arguments, **keywords)

        monkeypatch.setattr(where, name, away)

    return patch


@pytest.mark.parametrize(
    ("where", "name"), [(Store, "is_done"), (Store, "fail"), (Leases, "release"), (Queue, "finish"), (Queue, "release")]
)
def test_an_end_at_which_the_file_server_is_away_is_recorded_when_it_is_back(supervised, away_once, where, name):
    supervisor, worker, events = supervised
    unit = worker.unit
    away_once(where, name)
    supervisor.pending.append((worker, finished(unit)))
    with pytest.raises(OSError, match="stale"):
        supervisor._handle_pending()
    supervisor._handle_pending()
    assert (worker.unit, list(supervisor.pending)) == (None, [])
    assert supervisor.job.store.failure(unit) == NOT_HELD
    assert supervisor.queue.leases.names() == set()
    assert [event.kind for event in events] == ["failed"]


@pytest.mark.parametrize(("where", "name"), [(Queue, "_losses"), (Leases, "lose")])
def test_a_loss_at_which_the_file_server_is_away_is_recorded_when_it_is_back(supervised, away_once, where, name):
    supervisor, worker, _ = supervised
    away_once(where, name)
    with pytest.raises(OSError, match="stale"):
        supervisor.queue.lose(worker.unit, "it died", "")
    assert supervisor.queue.lose(worker.unit, "it died", "") is False
    # Anyone may take it over at once.
    assert supervisor.queue.leases.seen(worker.unit.folder).is_stale
