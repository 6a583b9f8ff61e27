"""Leases: one of many has a unit, and whoever dies loses it."""

import multiprocessing
import os
import subprocess
import sys
import time

import pytest
from cut_off_runs import wait_for

from gahbench.store.leases import LeaseRecord, Leases, has_ended, own_record

DEAD = "from gahbench.store.leases import own_record; print(own_record().model_dump_json())"


@pytest.fixture(scope="module")
def dead():
    """Return the record of a process that has ended."""
    done = subprocess.run([sys.executable, "-c", DEAD], capture_output=True, text=True, check=True)
    return LeaseRecord.model_validate_json(done.stdout)


def test_one_has_a_unit_until_it_gives_it_up(tmp_path):
    one, two = Leases(tmp_path), Leases(tmp_path)
    lease = one.take("fit-a")
    assert two.take("fit-a") is None
    assert two.names() == {"fit-a"}
    assert not two.seen("fit-a").is_stale
    assert two.seen("fit-none") is None
    one.release(lease)
    assert two.names() == set()
    assert two.take("fit-a") is not None


def test_a_lease_is_lost_by_silence_and_kept_by_beats(tmp_path):
    one, two = Leases(tmp_path, 0.3), Leases(tmp_path, 0.3)
    kept = one.take("fit-kept")
    time.sleep(0.6)
    assert not two.seen("fit-kept").is_stale
    one._closed.set()
    time.sleep(0.6)
    assert two.clear(seen := two.seen("fit-kept"))
    assert seen.is_stale
    taken = two.take("fit-kept", losses=1)
    # Who had it must not take it from its new holder.
    one.release(kept)
    assert two.seen("fit-kept").record.token == taken.record.token
    assert two.seen("fit-kept").record.losses == 1


def test_a_holder_notices_that_its_lease_was_taken_over(tmp_path):
    one, two = Leases(tmp_path, 1.0), Leases(tmp_path, 1.0)
    lease = one.take("fit-a")
    assert two.clear(two.seen("fit-a"))
    two.take("fit-a")
    wait_for(lambda: lease.is_lost, 5)


def test_a_fresh_lease_is_not_cleared_by_a_look_at_an_old_one(tmp_path):
    one, two, three = (Leases(tmp_path) for _ in range(3))
    one.take("fit-a")
    old = three.seen("fit-a")
    assert two.clear(two.seen("fit-a"))
    fresh = two.take("fit-a")
    assert not three.clear(old)
    assert three.seen("fit-a").record.token == fresh.record.token


def test_a_lease_of_a_process_that_has_ended_is_stale_at_once(tmp_path, dead):
    assert has_ended(dead)
    assert not has_ended(own_record())
    # Another process of the same number is not the one that has the lease, nor is one of another machine.
    assert has_ended(own_record().model_copy(update={"born": "1"}))
    assert not has_ended(dead.model_copy(update={"machine": "another"}))
    (tmp_path / "fit-a").write_text(dead.model_dump_json())
    assert Leases(tmp_path).seen("fit-a").is_stale


def test_processes_of_other_users_may_be_hidden(dead, monkeypatch):
    monkeypatch.setattr(os, "getuid", lambda: 12345)
    assert not has_ended(dead)
    assert has_ended(dead.model_copy(update={"user": 12345}))


@pytest.mark.parametrize("seconds", [300.0, 1e8])
def test_processes_may_differ_in_how_often_they_refresh_leases(tmp_path, seconds):
    Leases(tmp_path, seconds).take("fit-a")
    old = time.time() - 100
    os.utime(tmp_path / "fit-a", (old, old))
    assert not Leases(tmp_path, 10.0).seen("fit-a").is_stale


def test_what_was_left_in_the_folder_is_swept(tmp_path):
    leases = Leases(tmp_path)
    for name in ("fit-a", "fit-b", "fit-tried-again"):
        leases.take(name)
    leases.lose(leases.take("fit-failed"), "it crashed")
    for name in (".new", ".old"):
        (tmp_path / name).touch()
    old = time.time() - 1000
    os.utime(tmp_path / ".old", (old, old))
    leases.sweep(["fit-a", "fit-c"], ["fit-failed", "fit-tried-again"])
    assert {file.name for file in tmp_path.iterdir()} == {".new", "fit-b", "fit-tried-again"}


def test_a_unit_lost_with_its_worker_may_be_taken_at_once(tmp_path):
    one, two = Leases(tmp_path), Leases(tmp_path)
    one.lose(one.take("fit-a", losses=1), "it crashed")
    seen = two.seen("fit-a")
    assert (seen.is_stale, seen.record.losses, seen.record.lost) == (True, 1, "it crashed")


def test_leases_work_without_hard_links(tmp_path, monkeypatch):
    def refuse(*names):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    one, two = Leases(tmp_path), Leases(tmp_path)
    lease = one.take("fit-a")
    assert lease is not None
    assert two.take("fit-a") is None
    one.release(lease)
    assert two.take("fit-a") is not None


def test_ages_are_by_the_clock_of_the_file_server(tmp_path, monkeypatch):
    """A machine whose own clock is a day off sees the same ages."""
    Leases(tmp_path).take("fit-a")
    monkeypatch.setattr(time, "time", lambda: 1e9)
    assert abs(Leases(tmp_path).seen("fit-a").age) < 5


def _race(folder, barrier, count, taken):
    leases = Leases(folder)
    for number in range(count):
        barrier.wait()
        if leases.take(f"score-{number}") is not None:
            taken.put(number)


def test_of_processes_that_claim_at_once_one_gets_each_unit(tmp_path):
    context, processes, count = multiprocessing.get_context("spawn"), 3, 50
    barrier, taken = context.Barrier(processes), context.Queue()
    started = [context.Process(target=_race, args=(tmp_path, barrier, count, taken)) for _ in range(processes)]
    for process in started:
        process.start()
    found = sorted(taken.get(timeout=60) for _ in range(count))
    for process in started:
        process.join()
    assert found == list(range(count))
    assert taken.empty()


@pytest.mark.parametrize(
    "content",
    [
        "", "[]", "{", "null", "[" * 100_000, '{"lease": 1e300}', '{"lease": -1}', '{"lease": NaN}', '{"since": {}}',
        '{"losses": 1e400}', '{"pid": 1e9}', '{"pid": -5}', '{"host": "\\ud800"}',
    ],
)  # fmt: skip
def test_leases_of_any_content_grow_old(tmp_path, content):
    leases = Leases(tmp_path, 60.0)
    (tmp_path / "u").write_text(content)
    seen = leases.seen("u")
    assert (seen.record, seen.is_stale) == (LeaseRecord(), False)
    assert leases.take("u") is None
    os.utime(tmp_path / "u", (0, 0))
    assert leases.seen("u").is_stale
    assert leases.clear(leases.seen("u"))
    assert leases.take("u") is not None
    leases.close()


@pytest.mark.parametrize(
    "make", [os.mkfifo, os.mkdir, lambda file: file.symlink_to(file)], ids=["FIFO", "folder", "loop"]
)
def test_what_is_no_file_is_nobodys_lease(tmp_path, make):
    leases = Leases(tmp_path)
    make(tmp_path / "u")
    assert leases.take("u") is None
    assert leases.seen("u").is_stale
    assert leases.clear(leases.seen("u"))
    assert leases.take("u") is not None
    leases.close()
    make(tmp_path / "v")
    leases.sweep(["v"])
    assert leases.names() == set()
