"""Tests of leases: one process at a time holds the lease of a unit, and loses it when it dies."""

import multiprocessing
import os
import subprocess
import sys
import time

import pytest
from interrupted_runs import wait_for

from gahbench.store.leases import LeaseRecord, Leases, has_exited, own_record

DEAD = "from gahbench.store.leases import own_record; print(own_record().model_dump_json())"


@pytest.fixture(scope="module")
def dead():
    """Return the record of a process that has ended."""
    done = subprocess.run([sys.executable, "-c", DEAD], capture_output=True, text=True, check=True)
    return LeaseRecord.model_validate_json(done.stdout)


def test_one_process_holds_a_lease_until_it_releases_it(tmp_path):
    first, second = Leases(tmp_path), Leases(tmp_path)
    lease = first.take("fit-a")
    assert second.take("fit-a") is None
    assert second.names() == {"fit-a"}
    assert not second.inspect("fit-a").is_stale
    assert second.inspect("fit-none") is None
    first.release(lease)
    assert second.names() == set()
    assert second.take("fit-a") is not None


def test_a_lease_is_kept_by_refreshes_and_stale_without_them(tmp_path):
    first, second = Leases(tmp_path, 0.3), Leases(tmp_path, 0.3)
    kept_lease = first.take("fit-kept")
    time.sleep(0.6)
    assert not second.inspect("fit-kept").is_stale
    first._closed.set()
    time.sleep(0.6)
    assert second.clear(lease := second.inspect("fit-kept"))
    assert lease.is_stale
    taken = second.take("fit-kept", losses=1)
    # The former holder must not release the lease of the new holder.
    first.release(kept_lease)
    assert second.inspect("fit-kept").record.token == taken.record.token
    assert second.inspect("fit-kept").record.losses == 1


def test_a_holder_notices_that_its_lease_was_taken_over(tmp_path):
    first, second = Leases(tmp_path, 1.0), Leases(tmp_path, 1.0)
    lease = first.take("fit-a")
    assert second.clear(second.inspect("fit-a"))
    second.take("fit-a")
    wait_for(lambda: lease.is_lost, 5)


def test_clearing_a_stale_lease_does_not_remove_a_new_lease(tmp_path):
    first, second, third = (Leases(tmp_path) for _ in range(3))
    first.take("fit-a")
    old = third.inspect("fit-a")
    assert second.clear(second.inspect("fit-a"))
    fresh = second.take("fit-a")
    assert not third.clear(old)
    assert third.inspect("fit-a").record.token == fresh.record.token


def test_the_lease_of_a_process_that_has_exited_is_stale_at_once(tmp_path, dead):
    assert has_exited(dead)
    assert not has_exited(own_record())
    # A later process with the same PID is not the holder. Nothing is known about processes on other machines.
    assert has_exited(own_record().model_copy(update={"born": "1"}))
    assert not has_exited(dead.model_copy(update={"machine": "another"}))
    (tmp_path / "fit-a").write_text(dead.model_dump_json())
    assert Leases(tmp_path).inspect("fit-a").is_stale


def test_processes_of_other_users_are_not_taken_to_have_exited(dead, monkeypatch):
    monkeypatch.setattr(os, "getuid", lambda: 12345)
    assert not has_exited(dead)
    assert has_exited(dead.model_copy(update={"user": 12345}))


@pytest.mark.parametrize("seconds", [300.0, 1e8])
def test_the_recorded_duration_of_a_lease_counts(tmp_path, seconds):
    Leases(tmp_path, seconds).take("fit-a")
    old = time.time() - 100
    os.utime(tmp_path / "fit-a", (old, old))
    assert not Leases(tmp_path, 10.0).inspect("fit-a").is_stale


def test_sweep_removes_leases_of_ended_units_and_old_temporary_files(tmp_path):
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


def test_the_lease_of_a_lost_unit_is_stale_at_once(tmp_path):
    first, second = Leases(tmp_path), Leases(tmp_path)
    first.lose(first.take("fit-a", losses=1), "it crashed")
    lease = second.inspect("fit-a")
    assert (lease.is_stale, lease.record.losses, lease.record.lost) == (True, 1, "it crashed")


def test_leases_work_without_hard_links(tmp_path, monkeypatch):
    def refuse(*names):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    first, second = Leases(tmp_path), Leases(tmp_path)
    lease = first.take("fit-a")
    assert lease is not None
    assert second.take("fit-a") is None
    first.release(lease)
    assert second.take("fit-a") is not None


def test_ages_are_measured_by_the_clock_of_the_file_server(tmp_path, monkeypatch):
    """A machine whose own clock is a day off sees the same ages."""
    Leases(tmp_path).take("fit-a")
    monkeypatch.setattr(time, "time", lambda: 1e9)
    assert abs(Leases(tmp_path).inspect("fit-a").age) < 5


def _race(folder, barrier, count, taken):
    leases = Leases(folder)
    for number in range(count):
        barrier.wait()
        if leases.take(f"score-{number}") is not None:
            taken.put(number)


def test_one_of_several_concurrent_processes_gets_each_lease(tmp_path):
    context, processes, count = multiprocessing.get_context("spawn"), 3, 50
    barrier, taken = context.Barrier(processes), context.Queue()
    started = [context.Process(target=_race, args=(tmp_path, barrier, count, taken)) for _ in range(processes)]
    for process in started:
        process.start()
    numbers = sorted(taken.get(timeout=60) for _ in range(count))
    for process in started:
        process.join()
    assert numbers == list(range(count))
    assert taken.empty()


@pytest.mark.parametrize(
    "content",
    [
        "", "[]", "{", "null", "[" * 100_000, '{"lease": 1e300}', '{"lease": -1}', '{"lease": NaN}', '{"since": {}}',
        '{"losses": 1e400}', '{"pid": 1e9}', '{"pid": -5}', '{"host": "\\ud800"}',
    ],
)  # fmt: skip
def test_a_lease_with_invalid_content_becomes_stale(tmp_path, content):
    leases = Leases(tmp_path, 60.0)
    (tmp_path / "u").write_text(content)
    lease = leases.inspect("u")
    assert (lease.record, lease.is_stale) == (LeaseRecord(), False)
    assert leases.take("u") is None
    os.utime(tmp_path / "u", (0, 0))
    assert leases.inspect("u").is_stale
    assert leases.clear(leases.inspect("u"))
    assert leases.take("u") is not None
    leases.close()


@pytest.mark.parametrize(
    "make", [os.mkfifo, os.mkdir, lambda file: file.symlink_to(file)], ids=["FIFO", "folder", "loop"]
)
def test_a_path_that_is_not_a_file_is_a_stale_lease(tmp_path, make):
    leases = Leases(tmp_path)
    make(tmp_path / "u")
    assert leases.take("u") is None
    assert leases.inspect("u").is_stale
    assert leases.clear(leases.inspect("u"))
    assert leases.take("u") is not None
    leases.close()
    make(tmp_path / "v")
    leases.sweep(["v"])
    assert leases.names() == set()
