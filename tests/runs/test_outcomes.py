"""How a unit ends: what a plugin raises is a failure with its reason, and what it pretends is not believed."""

import errno
import json
import threading
import time
from pathlib import Path

import pytest

import gahbench
from gahbench._util.errors import ResultsError
from gahbench._util.files import StorageError
from gahbench.devices.hardware import hardware
from gahbench.planning.plan import make_plan
from gahbench.planning.suite import load_suite
from gahbench.registry.registry import Registry
from gahbench.runs import engine_tools
from gahbench.runs.protocol import NOT_HELD
from gahbench.runs.queue import Queue
from gahbench.runs.supervisor import _Supervisor
from gahbench.runs.worker import do_unit
from gahbench.store.claims import Claims
from gahbench.store.finished import DamagedError
from gahbench.store.plan_file import RecordedPlan, RecordedUnit, write_plan
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


def out_of_reach():
    """Return the error of a file of a finished unit that cannot be read now."""
    error = ResultsError("done.json: cannot be read")
    error.__cause__ = OSError(errno.ESTALE, "stale file handle")
    return error


@pytest.mark.parametrize("error", [StorageError(errno.EPERM, "not permitted", "a/b"), out_of_reach()])
def test_a_results_folder_that_fails_is_no_failure_of_a_unit(job, error):
    with pytest.raises(StorageError, match=r"a/b|done\.json"):
        ended(error, job[0])


@pytest.mark.parametrize("error", [PermissionError(errno.EPERM, "not permitted"), DamagedError("changed")])
def test_other_errors_of_files_are_failures(job, error):
    """A plugin's own, and those of files that can be read and are not what was written."""
    assert ended(error, job[0])["event"] == "failed"


def test_a_file_system_that_fails_ends_a_run_in_this_process_and_fails_no_unit(job, monkeypatch):
    job, _ = job

    def refuse(folder, *arguments, **options):
        raise OSError(errno.EPERM, "Operation not permitted", str(folder))

    monkeypatch.setattr(Path, "rename", refuse)
    runner = gahbench.UnitRunner(job)
    with pytest.raises(OSError, match="Operation not permitted"):
        runner.run(runner.next())
    assert job.store.failed() == set()
    assert Claims(job.store.claims).names() == set()


def test_a_checkpoint_that_is_not_what_it_says_is_kept_with_a_note(job):
    job, events = job
    fit = next(unit for unit in job.units if unit.kind == "fit")
    (job.store.begin(fit).folder / "checkpoint-5.pt").write_bytes(b"rubbish")
    assert gahbench.UnitRunner(job).run(fit) == "finished"
    (note,) = [event.details["text"] for event in events if event.kind == "note"]
    place = job.store.folder / "damaged" / f"{fit.folder}.partial-checkpoint-5.pt"
    assert note.startswith("checkpoint-5.pt cannot be resumed from, as its content does not agree with its digest; the")
    assert note.endswith(str(place))
    assert place.read_bytes() == b"rubbish"
    write_plan(job.store.folder, RecordedPlan("tiny", (RecordedUnit(fit),)))
    assert gahbench.status(job.store.folder).damaged == 0


def test_what_the_store_does_not_hold_has_not_finished(job, monkeypatch):
    job, events = job
    monkeypatch.setattr(engine_tools, "do_unit", lambda *arguments: {"event": "finished", "seconds": 0.0})
    assert gahbench.UnitRunner(job).run(job.units[0]) == "failed"
    assert job.store.failure(job.units[0]) == NOT_HELD
    assert [event.kind for event in events] == ["started", "failed"]


GONE = RuntimeError("CUDA error: an illegal memory access was encountered")


def test_a_unit_whose_device_was_lost_has_neither_finished_nor_failed(job):
    end = ended(GONE, job[0])
    assert (end["event"], end["error"]) == ("lost", f"its device was lost: RuntimeError: {GONE}")


def test_a_lost_device_is_noticed_at_the_end_of_a_unit_that_hid_its_error(job, monkeypatch):
    """An audit takes any error of a denoiser for a mark."""
    job, events = job

    def fail(device):
        raise GONE

    monkeypatch.setattr("gahbench.devices.hardware.Cpu.synchronise", fail)
    runner = gahbench.UnitRunner(job)
    unit = runner.next()
    assert unit.kind == "score"
    with pytest.raises(gahbench.GahbenchError, match=r"its device was lost: .*illegal memory access.*; run again"):
        runner.run(unit)
    assert (job.store.finished(), job.store.failed()) == (set(), set())
    assert [event.kind for event in events] == ["started"]
    monkeypatch.undo()
    assert gahbench.UnitRunner(job).run(unit) == "finished"


TIGHT = """
import gahbench

@gahbench.hookimpl
def register_references(register):
    register("tight", Tight)

class Tight(gahbench.Reference):
    "Has memory for one image."
    def denoise(self, noisy, sigma, truth):
        if len(noisy) > 1:
            raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return noisy
"""


@pytest.mark.usefixtures("dry_runs_here", "figures_not_rendered")
def test_a_row_says_that_its_batches_were_halved(write_suite, tmp_path):
    (tmp_path / "tight.py").write_text(TIGHT)
    suite = write_suite(("  - unet: {width: 2, levels: 1}\n", "  - tight\n"), ("[psnr, slope]", "[psnr]"))
    run = gahbench.run(suite, tmp_path / "out", engine="inline[trusted=true]", plugins=[tmp_path / "tight.py"])
    board = run.leaderboard(full=True).set_index("entrant")
    assert board.loc["tight", "note"] == "out of memory: denoised in batches of 1 image"
    assert board.loc["identity", "note"] == ""


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


@pytest.mark.parametrize("number", [errno.EPERM, errno.EIO, errno.ESTALE])
def test_a_unit_that_cannot_be_stored_is_done_again_after_a_while(supervised, number):
    supervisor, worker, events = supervised
    unit = worker.unit
    supervisor._handle(worker, unstored(unit, number))
    assert (worker.unit, supervisor.job.store.failed()) == (None, set())
    assert [event.kind for event in events] == ["note", "stopped"]
    assert events[0].details["text"] == "refused: units/x; it is done again"
    assert supervisor.waits_until > time.monotonic() + 1
    assert supervisor.queue.take() is not None


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS])
def test_a_full_disk_in_a_worker_ends_the_run_and_fails_no_unit(supervised, number):
    supervisor, worker, events = supervised
    supervisor.pending.append((worker, unstored(worker.unit, number)))
    with pytest.raises(OSError, match="refused") as caught:
        supervisor._handle_pending()
    assert (caught.value.errno, worker.unit, events) == (number, None, [])
    assert supervisor.job.store.failed() == set()


def test_the_third_exit_of_its_worker_fails_a_unit(supervised):
    supervisor, worker, events = supervised
    unit = worker.unit
    for _ in range(3):
        assert supervisor.job.store.failed() == set()
        worker.unit, worker.is_killed, supervisor.children = unit, False, {0: worker}
        assert supervisor.queue.claim(unit)
        supervisor._on_worker_exit(worker)
        assert (worker.is_killed, supervisor.children) == (True, {})
    assert "lost 3 times" in supervisor.job.store.failure(unit)
    assert "the worker process exited with status 3" in supervisor.job.store.failure(unit)
    assert [event.kind for event in events] == ["note", "stopped", "note", "stopped", "failed"]


def test_the_third_loss_of_its_device_fails_a_unit(supervised):
    supervisor, worker, events = supervised
    unit = worker.unit
    message = {"event": "lost", "unit": unit.folder, "error": "its device was lost: gone", "traceback": "where"}
    for _ in range(3):
        assert supervisor.job.store.failed() == set()
        worker.unit, worker.is_killed, supervisor.children = unit, False, {0: worker}
        assert supervisor.queue.claim(unit)
        supervisor._handle(worker, dict(message))
        # No other unit is done in its process.
        assert (worker.is_killed, supervisor.children) == (True, {})
    assert "its device was lost: gone" in supervisor.job.store.failure(unit)
    assert [event.kind for event in events] == ["note", "stopped", "note", "stopped", "failed"]


def test_a_worker_that_exits_before_it_is_ready_is_not_the_fault_of_its_unit(supervised):
    supervisor, worker, events = supervised
    worker.is_ready = False
    supervisor._on_worker_exit(worker)
    assert [event.kind for event in events] == ["stopped"]
    assert supervisor.queue.claims.names() == set()
    worker.unit, supervisor.children = supervisor.job.units[0], {0: worker}
    with pytest.raises(gahbench.GahbenchError, match="cannot start: the worker process exited with status 3\nwhat it"):
        supervisor._on_worker_exit(worker)


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


@pytest.mark.parametrize(
    ("where", "name"), [(Store, "is_done"), (Store, "fail"), (Claims, "release"), (Queue, "finish"), (Queue, "release")]
)
def test_an_end_at_which_the_file_server_is_away_is_recorded_when_it_is_back(supervised, monkeypatch, where, name):
    supervisor, worker, events = supervised
    unit, whole, left = worker.unit, getattr(where, name), []

    def away(*arguments, **keywords):
        if not left:
            left.append(name)
            raise OSError(errno.ESTALE, "stale file handle")
        return whole(*arguments, **keywords)

    monkeypatch.setattr(where, name, away)
    supervisor.pending.append((worker, finished(unit)))
    with pytest.raises(OSError, match="stale"):
        supervisor._handle_pending()
    supervisor._handle_pending()
    assert (worker.unit, list(supervisor.pending)) == (None, [])
    assert supervisor.job.store.failure(unit) == NOT_HELD
    assert supervisor.queue.claims.names() == set()
    assert [event.kind for event in events] == ["failed"]


@pytest.mark.parametrize(("where", "name"), [(Queue, "_losses"), (Claims, "lose")])
def test_a_loss_at_which_the_file_server_is_away_is_recorded_when_it_is_back(supervised, monkeypatch, where, name):
    supervisor, worker, _ = supervised
    unit, whole, left = worker.unit, getattr(where, name), []

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
