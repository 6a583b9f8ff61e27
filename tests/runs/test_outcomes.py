"""How a unit ends: what a plugin raises is a failure with its reason, and what it pretends is not believed."""

import errno
import json
import threading

import pytest

import gahbench
from gahbench.planning.plan import make_plan
from gahbench.planning.suite import load_suite
from gahbench.registry.registry import Registry
from gahbench.runs import engine_tools
from gahbench.runs.protocol import NOT_HELD
from gahbench.runs.queue import Queue
from gahbench.runs.supervisor import _Supervisor
from gahbench.runs.worker import do_unit
from gahbench.store.claims import Claims
from gahbench.store.store import Store
from gahbench.training.trainer import Stopped


class Mute(Exception):
    def __str__(self):
        raise RuntimeError("no text")


class Leaves(Exception):
    def __str__(self):
        raise SystemExit(3)


@pytest.fixture
def job(write_suite, tmp_path):
    registry = Registry()
    plan = make_plan(load_suite(write_suite(), registry), registry)
    events = []
    return gahbench.Job(plan.units, Store(tmp_path / "out"), registry, events.append, threading.Event(), 1), events


def ended(error, job, stopped=False, **options):
    def do(unit):
        raise error

    return do_unit(do, job.units[0], job.store, lambda: stopped, **options)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (SystemExit(0), "SystemExit: 0"),
        (GeneratorExit(), "GeneratorExit"),
        (BaseException("boo"), "BaseException: boo"),
        (Mute(), "Mute, whose text cannot be had: RuntimeError"),
        (Leaves(), "Leaves, whose text cannot be had: SystemExit"),
        (ValueError("bad \ud800\n text"), "ValueError: bad \\ud800 text"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), "out of memory: DefaultCPUAllocator"),
        (Stopped(), "Stopped: raised without a request to stop"),
    ],
)
def test_whatever_is_raised_is_a_failure_in_one_line(job, error, reason):
    end = ended(error, job[0])
    assert end["event"] == "failed"
    assert end["error"].startswith(reason)
    json.dumps(end).encode()
    end["traceback"].encode()


def test_long_texts_are_cut(job):
    end = ended(ValueError("x" * 20_000_000), job[0])
    assert len(end["error"]) < 3000
    assert len(end["traceback"]) < 30_000


def test_stopping_counts_if_it_was_asked_for(job):
    assert ended(Stopped(), job[0], stopped=True) == {"event": "stopped"}


def test_an_interrupt_is_a_plugins_own_where_no_other_can_arrive(job):
    assert ended(KeyboardInterrupt(), job[0], interruptible=False)["error"] == "KeyboardInterrupt"
    with pytest.raises(KeyboardInterrupt):
        ended(KeyboardInterrupt(), job[0])


def test_what_the_store_does_not_hold_has_not_finished(job, monkeypatch):
    job, events = job
    monkeypatch.setattr(engine_tools, "do_unit", lambda *arguments: {"event": "finished", "seconds": 0.0})
    assert gahbench.UnitRunner(job).run(job.units[0]) == "failed"
    assert job.store.failure(job.units[0]) == NOT_HELD
    assert [event.kind for event in events] == ["started", "failed"]


class Child:
    """A worker that says whatever a test has it say."""

    place, is_ready, key = 0, True, ""

    def __init__(self, unit):
        self.unit, self.watchdog = unit, type("Watchdog", (), {"heard": 0.0, "began": 0.0, "constructing": None})()

    def take_back(self):
        self.unit = None

    def written(self):
        return "what it wrote"

    def kill(self):
        pass


@pytest.fixture
def supervised(job):
    """A supervisor whose one worker has been given the first unit."""
    job, events = job
    supervisor = _Supervisor(job, [None])
    assert supervisor.queue.claim(job.units[0])
    child = Child(job.units[0])
    supervisor.children = [child]
    yield supervisor, child, events
    supervisor.queue.close()


def finished(unit, **more):
    return {"event": "finished", "unit": unit.folder, "seconds": 1.0, "moved": [], **more}


def test_a_worker_that_only_says_that_it_has_finished_has_failed(supervised):
    supervisor, child, events = supervised
    unit = child.unit
    supervisor._handle(child, finished(supervisor.job.units[1]))
    assert (child.unit, events) == (unit, [])  # Not its unit.
    supervisor._handle(child, finished(unit))
    assert child.unit is None
    assert supervisor.job.store.failure(unit) == NOT_HELD
    assert [event.kind for event in events] == ["failed"]


def test_a_worker_that_stops_unasked_has_failed(supervised):
    supervisor, child, events = supervised
    unit = child.unit
    supervisor._handle(child, {"event": "stopped", "unit": unit.folder, "moved": []})
    assert "was not asked to" in supervisor.job.store.failure(unit)
    assert [event.kind for event in events] == ["failed"]


def test_a_worker_that_was_asked_to_stop_leaves_its_unit_to_be_done(supervised):
    supervisor, child, events = supervised
    unit = child.unit
    supervisor.job.stop.set()
    supervisor._handle(child, {"event": "stopped", "unit": unit.folder, "moved": []})
    assert supervisor.job.store.failed() == set()
    assert [event.kind for event in events] == ["stopped"]


def test_the_end_of_a_unit_is_known_though_its_message_was_spoilt(supervised, monkeypatch):
    supervisor, child, events = supervised
    unit = child.unit
    monkeypatch.setattr(Store, "is_done", lambda store, one: one is unit)
    supervisor._handle(child, {"event": "alive", "ended": "another"})
    assert child.unit is unit
    supervisor._handle(child, {"event": "alive", "ended": unit.folder})
    assert [event.kind for event in events] == ["finished"]


def test_other_things_in_the_pipe_of_a_worker_are_noted(supervised):
    supervisor, child, events = supervised
    unit = child.unit
    supervisor._handle(child, {})
    assert (child.unit, [event.kind for event in events]) == (unit, ["note"])


def test_a_worker_whose_state_has_moved_is_replaced_and_a_note_says_which(supervised, monkeypatch):
    supervisor, child, events = supervised
    unit = child.unit
    monkeypatch.setattr(Store, "is_done", lambda store, one: one is unit)
    monkeypatch.setattr(supervisor, "_start", lambda place: "another")
    supervisor._handle(child, finished(unit, moved=["default dtype"]))
    assert supervisor.children == ["another"]
    assert [event.kind for event in events] == ["finished", "note"]
    assert "default dtype" in events[1].details["text"]


@pytest.mark.parametrize(
    ("where", "name"), [(Store, "is_done"), (Store, "fail"), (Claims, "release"), (Queue, "finish"), (Queue, "release")]
)
def test_an_end_at_which_the_file_server_is_away_is_recorded_when_it_is_back(supervised, monkeypatch, where, name):
    supervisor, child, events = supervised
    unit, whole, left = child.unit, getattr(where, name), []

    def away(*arguments, **keywords):
        if not left:
            left.append(name)
            raise OSError(errno.ESTALE, "stale file handle")
        return whole(*arguments, **keywords)

    monkeypatch.setattr(where, name, away)
    supervisor.pending.append((child, finished(unit)))
    with pytest.raises(OSError, match="stale"):
        supervisor._handle_pending()
    supervisor._handle_pending()
    assert (child.unit, list(supervisor.pending)) == (None, [])
    assert supervisor.job.store.failure(unit) == NOT_HELD
    assert supervisor.queue.claims.names() == set()
    assert [event.kind for event in events] == ["failed"]


@pytest.mark.parametrize(("where", "name"), [(Queue, "_losses"), (Claims, "lose")])
def test_a_loss_at_which_the_file_server_is_away_is_recorded_when_it_is_back(supervised, monkeypatch, where, name):
    supervisor, child, _ = supervised
    unit, whole, left = child.unit, getattr(where, name), []

    def away(*arguments):
        if not left:
            left.append(name)
            raise OSError(errno.EIO, "input/output error")
        return whole(*arguments)

    monkeypatch.setattr(where, name, away)
    with pytest.raises(OSError, match="input"):
        supervisor.queue.lose(unit, "it died", "")
    assert supervisor.queue.lose(unit, "it died", "") is False
    # Anyone may take it over at once.
    assert supervisor.queue.claims.seen(unit.folder).is_stale
