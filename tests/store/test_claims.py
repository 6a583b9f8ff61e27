"""Claims: one of many has a unit, and whoever dies loses it."""

import json
import multiprocessing
import os
import subprocess
import sys
import time

import pytest

from gahbench.store.claims import Claims
from gahbench.store.holder import has_ended, own_name, own_record

DEAD = "import json; from gahbench.store.holder import own_record; print(json.dumps(own_record()))"


def test_one_has_a_unit_until_it_gives_it_up(tmp_path):
    one, two = Claims(tmp_path), Claims(tmp_path)
    claim = one.take("fit-a")
    assert two.take("fit-a") is None
    assert two.names() == {"fit-a"}
    assert not two.seen("fit-a").is_stale
    one.release(claim)
    assert two.names() == set()
    assert two.take("fit-a") is not None


def test_a_claim_is_lost_by_silence_and_kept_by_beats(tmp_path):
    one, two = Claims(tmp_path, lease=0.5), Claims(tmp_path, lease=0.5)
    kept = one.take("fit-kept")
    time.sleep(1.0)
    assert not two.seen("fit-kept").is_stale
    one._closed.set()
    time.sleep(1.0)
    seen = two.seen("fit-kept")
    assert seen.is_stale
    assert two.clear(seen)
    taken = two.take("fit-kept", losses=1)
    # Who had it must not take it from its new holder.
    one.release(kept)
    assert two.seen("fit-kept").record["token"] == taken.token
    assert two.seen("fit-kept").record["losses"] == 1


def test_a_holder_notices_that_its_claim_was_taken_over(tmp_path):
    one, two = Claims(tmp_path, lease=2.0), Claims(tmp_path, lease=2.0)
    claim = one.take("fit-a")
    assert two.clear(two.seen("fit-a"))
    two.take("fit-a")
    end = time.monotonic() + 5
    while not claim.is_lost:
        assert time.monotonic() < end
        time.sleep(0.05)


def test_a_fresh_claim_is_not_cleared_by_a_look_at_an_old_one(tmp_path):
    one, two, three = (Claims(tmp_path) for _ in range(3))
    one.take("fit-a")
    old = three.seen("fit-a")
    assert two.clear(two.seen("fit-a"))
    fresh = two.take("fit-a")
    assert not three.clear(old)
    assert three.seen("fit-a").record["token"] == fresh.token


def test_a_claim_of_a_process_that_has_ended_is_stale_at_once(tmp_path):
    done = subprocess.run([sys.executable, "-c", DEAD], capture_output=True, text=True, check=True)
    record = json.loads(done.stdout)
    assert has_ended(record)
    assert not has_ended(own_record())
    # Another process of the same number is not the one that made the claim, nor is one of another machine.
    assert has_ended({**own_record(), "born": "1"})
    assert not has_ended({**record, "machine": "another"})
    (tmp_path / "fit-a").write_text(json.dumps(record))
    assert Claims(tmp_path).seen("fit-a").is_stale


def test_processes_may_differ_in_how_often_they_keep_claims_alive(tmp_path):
    Claims(tmp_path, lease=300.0).take("fit-a")
    old = time.time() - 100
    os.utime(tmp_path / "fit-a", (old, old))
    assert not Claims(tmp_path, lease=10.0).seen("fit-a").is_stale


def test_processes_of_other_users_may_be_hidden(tmp_path, monkeypatch):
    done = subprocess.run([sys.executable, "-c", DEAD], capture_output=True, text=True, check=True)
    record = json.loads(done.stdout)
    monkeypatch.setattr(os, "getuid", lambda: 12345)
    assert not has_ended(record)
    assert has_ended({**record, "user": 12345})


def test_what_was_left_in_the_folder_is_swept_when_it_is_old(tmp_path):
    claims = Claims(tmp_path)
    claims.take("fit-a")
    claims.take("fit-b")
    for name in (".new", ".old"):
        (tmp_path / name).touch()
    old = time.time() - 1000
    os.utime(tmp_path / ".old", (old, old))
    claims.sweep(["fit-a", "fit-c"])
    assert {file.name for file in tmp_path.iterdir()} == {".new", "fit-b"}


def test_claims_of_failed_units_are_swept_once_they_are_stale(tmp_path):
    claims = Claims(tmp_path)
    claims.take("fit-tried-again")
    claims.lose(claims.take("fit-a"), "it crashed")
    claims.sweep([], ["fit-a", "fit-tried-again"])
    assert claims.names() == {"fit-tried-again"}


def test_a_unit_lost_with_its_worker_may_be_taken_at_once(tmp_path):
    one, two = Claims(tmp_path), Claims(tmp_path)
    one.lose(one.take("fit-a", losses=1), "it crashed")
    seen = two.seen("fit-a")
    assert (seen.is_stale, seen.record["losses"], seen.record["lost"]) == (True, 1, "it crashed")


def test_a_damaged_claim_grows_old(tmp_path):
    (tmp_path / "fit-a").write_text("{")
    assert not Claims(tmp_path).seen("fit-a").is_stale
    old = time.time() - 1000
    os.utime(tmp_path / "fit-a", (old, old))
    assert Claims(tmp_path).seen("fit-a").is_stale
    assert Claims(tmp_path).seen("fit-none") is None


def test_claims_work_without_hard_links(tmp_path, monkeypatch):
    def refuse(*names):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    one, two = Claims(tmp_path), Claims(tmp_path)
    claim = one.take("fit-a")
    assert claim is not None
    assert two.take("fit-a") is None
    one.release(claim)
    assert two.take("fit-a") is not None


def test_ages_are_by_the_clock_of_the_file_server(tmp_path, monkeypatch):
    """A machine whose own clock is a day off sees the same ages."""
    Claims(tmp_path).take("fit-a")
    monkeypatch.setattr(time, "time", lambda: 1e9)
    assert abs(Claims(tmp_path).seen("fit-a").age) < 5


def _race(folder, barrier, count, taken):
    claims = Claims(folder)
    for number in range(count):
        barrier.wait()
        if claims.take(f"score-{number}") is not None:
            taken.put(number)


@pytest.mark.parametrize("processes", [2, 4])
def test_of_processes_that_claim_at_once_one_gets_each_unit(tmp_path, processes):
    context = multiprocessing.get_context("spawn")
    barrier, taken, count = context.Barrier(processes), context.Queue(), 50
    started = [context.Process(target=_race, args=(tmp_path, barrier, count, taken)) for _ in range(processes)]
    for process in started:
        process.start()
    found = sorted(taken.get(timeout=60) for _ in range(count))
    for process in started:
        process.join()
    assert found == list(range(count))
    assert taken.empty()


def test_names_of_attempts_differ():
    assert len({own_name() for _ in range(1000)}) == 1000
    assert all("/" not in name and name for name in [own_name()])


@pytest.mark.parametrize(
    "content",
    [
        "", "[]", "{", "null", "[" * 100_000, '{"lease": "x"}', '{"lease": 1e300}', '{"lease": -1}', '{"lease": NaN}',
        '{"since": {}, "losses": [], "progress": "y", "pid": 1e9, "host": 3, "token": []}',
        '{"losses": 1e400, "pid": -5, "lost": {"a": 1}, "machine": [1]}', '{"host": "\\ud800", "token": null}',
    ],
)  # fmt: skip
def test_claims_of_any_content_grow_old(tmp_path, content):
    claims = Claims(tmp_path, lease=60.0)
    (tmp_path / "u").write_text(content)
    seen = claims.seen("u")
    assert (seen.record, seen.is_stale) == ({}, False)
    assert claims.take("u") is None
    os.utime(tmp_path / "u", (0, 0))
    assert claims.seen("u").is_stale
    assert claims.clear(claims.seen("u"))
    assert claims.take("u") is not None
    claims.close()


@pytest.mark.parametrize(
    "make", [os.mkfifo, os.mkdir, lambda file: file.symlink_to(file)], ids=["FIFO", "folder", "loop"]
)
def test_what_is_no_file_is_nobodys_claim(tmp_path, make):
    claims = Claims(tmp_path)
    make(tmp_path / "u")
    assert claims.take("u") is None
    assert claims.seen("u").is_stale
    assert claims.clear(claims.seen("u"))
    assert claims.take("u") is not None
    claims.close()
    make(tmp_path / "v")
    claims.sweep(["v"])
    assert claims.names() == set()
