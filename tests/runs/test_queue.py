"""Tests of the queue of units: claims, priorities and losses."""

import shutil
import time
from dataclasses import replace

import pytest

from gahbench.contracts.unit import Unit
from gahbench.runs.queue import Queue
from gahbench.store.leases import MAX_LOSSES, Leases
from gahbench.store.store import Store


def fit(key, work=1.0):
    return Unit("fit", key, "d", f"e-{key}", "architecture", 0, None, None, None, None, work, {})


def score(key, needs=None, entrant="e"):
    return Unit("score", key, "d", entrant, "reference", None, "test", "psnr", needs, None, 0.0, {})


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path)


def finish(store, unit):
    store.begin(unit).finish({}, keep=())


def take(queue, last=None):
    """List the store again, and take a unit."""
    queue.refresh()
    return queue.take(last)


def test_each_unit_is_taken_once_the_longest_fits_first_and_scores_after_their_fit(store):
    units = [fit("short", 1.0), fit("long", 5.0), score("s", "long")]
    queue, other = Queue(units, store), Queue(units, store)
    first = take(queue)
    assert (first.key, take(other).key) == ("long", "short")
    assert (take(queue), take(other)) == (None, None)
    assert queue.left == 3
    finish(store, first)
    queue.finish(first)
    assert take(other).key == "s"
    assert other.left == 2


def test_references_come_first_by_dataset_and_the_psnr_of_a_network_before_the_next_fit(store):
    references = [
        replace(score(f"{dataset}-{entrant}-{metric}", entrant=entrant), dataset=dataset, metric=metric)
        for dataset in "dz"
        for entrant in ("wiener", "oracle")
        for metric in ("psnr", "ssim")
    ]
    fits = [fit("long", 5.0), fit("short", 1.0)]
    scores = [
        replace(score(f"{unit.key}-{metric}", unit.key, entrant=unit.entrant), metric=metric, seed=0)
        for unit in fits
        for metric in ("ssim", "psnr")
    ]
    queue, last, order = Queue([*fits, *scores, *references], store), None, []
    while (unit := take(queue, last)) is not None:
        finish(store, unit)
        queue.finish(unit)
        order.append(unit.key)
        last = unit
    assert sorted(order[:4]) == sorted(unit.key for unit in references[:4])
    assert sorted(order[4:8]) == sorted(unit.key for unit in references[4:])
    assert order[8:] == ["long", "long-psnr", "short", "short-psnr", "short-ssim", "long-ssim"]
    # Scores of the same entrant come one after the other, since they share objects in memory.
    entrants = [key.split("-")[1] for key in order[:8]]
    assert all(entrants[index] == entrants[index + 1] for index in range(0, 8, 2))


def test_a_unit_finished_between_the_listing_and_the_claim_is_not_recomputed(store):
    queue = Queue([score("a"), score("b")], store)
    queue.refresh()
    finish(store, score("a"))
    finish(store, score("b"))
    assert queue.take() is None
    assert queue.leases.names() == set()


def test_scores_of_the_network_in_memory_come_first_and_other_processes_avoid_them(store):
    units = [score(f"{entrant}{number}", entrant=entrant) for entrant in "abc" for number in range(3)]
    first_queue, second_queue = Queue(units, store), Queue(units, store)
    first = take(first_queue)
    assert take(first_queue, first).entrant == first.entrant
    other = take(second_queue)
    while other.entrant == first.entrant:
        other = take(second_queue, score("none", entrant="none"))
    assert take(second_queue, other).entrant == other.entrant


def test_scores_of_one_split_follow_one_another_since_they_share_jacobians(store):
    units = [
        replace(score(f"{split}{number}"), split=split, metric=f"m{number}")
        for split in ("test", "train")
        for number in range(4)
    ]
    queue, last, splits = Queue(units, store), None, []
    for _ in units:
        last = take(queue, last)
        splits.append(last.split)
    assert splits in (["test"] * 4 + ["train"] * 4, ["train"] * 4 + ["test"] * 4)


@pytest.mark.parametrize("ends", ["finish", "lose"])
def test_a_unit_that_was_listed_while_it_was_running_is_not_taken_again(store, monkeypatch, ends):
    queue = Queue([score("a"), score("b")], store)
    monkeypatch.setattr("gahbench.runs.queue.MAX_LOSSES", 1)
    unit = take(queue)
    queue.refresh()
    if ends == "finish":
        finish(store, unit)
        queue.finish(unit)
    else:
        assert queue.lose(unit, "it died", "")
    other = queue.take()
    assert {unit.key, other.key} == {"a", "b"}
    assert queue.take() is None
    assert queue.left == 1


def test_blocked_units_are_not_left_and_units_with_equal_keys_count_once(store):
    queue = Queue([fit("a"), score("s", "a")], store)
    store.fail(fit("a"), "no luck", "")
    assert (take(queue), queue.left) == (None, 0)
    queue = Queue([score("b"), score("b")], store)
    assert take(queue) is not None
    assert (take(queue), queue.left) == (None, 1)


def test_a_unit_fails_after_the_maximum_number_of_losses(store):
    for loss in range(1, MAX_LOSSES + 1):
        queue = Queue([fit("poison")], store)
        unit = take(queue)
        assert queue.lose(unit, "ended by SIGKILL", "the log") == (loss == MAX_LOSSES)
    assert store.failure(unit).startswith(f"lost {MAX_LOSSES} times")
    assert "ended by SIGKILL" in store.failure(unit)
    assert Leases(store.leases).names() == set()


def test_a_fit_that_writes_checkpoints_between_losses_does_not_fail(store):
    for loss in range(1, 2 * MAX_LOSSES):
        queue = Queue([fit("long")], store)
        unit = take(queue)
        attempt = store.begin(unit).folder
        (attempt / "new").write_text(str(loss))
        (attempt / "new").replace(attempt / "checkpoint-5.pt")
        time.sleep(0.02)
        assert not queue.lose(unit, "preempted", "")
    assert store.failed() == set()


def test_a_unit_is_taken_over_from_a_silent_process(store):
    first_queue, second_queue = Queue([fit("a")], store, lease=0.4), Queue([fit("a")], store, lease=0.4)
    unit = take(first_queue)
    first_queue.leases._closed.set()
    assert take(second_queue) is None
    time.sleep(0.6)
    assert take(second_queue) == unit
    assert second_queue.leases.inspect(unit.folder).record.losses == 1
    assert not first_queue.lose(unit, "x", "") or pytest.fail("the first queue no longer holds the unit")


def test_a_finished_fit_that_was_moved_away_is_recomputed(store):
    units = [fit("a"), score("s", "a")]
    queue = Queue(units, store)
    finish(store, units[0])
    queue.refresh()
    assert queue.left == 1
    shutil.move(store.path(units[0]), store.folder / "elsewhere")
    # The queue listed the score as ready before the fit was moved away.
    assert queue.take() is None or pytest.fail("its network is missing")
    assert take(queue).key == "a"
    assert queue.left == 2


def test_a_failure_record_of_a_finished_unit_blocks_nothing(store):
    finish(store, fit("a"))
    store.failures.mkdir()
    (store.failures / "fit-a.json").write_text('{"error": "lost"}')
    assert take(Queue([fit("a"), score("s", "a")], store)).key == "s"


def test_a_released_unit_starts_without_losses(store):
    first_queue, second_queue, third_queue = (Queue([fit("a")], store) for _ in range(3))
    first_queue.lose(take(first_queue), "x", "")
    unit = take(second_queue)
    assert second_queue.leases.inspect(unit.folder).record.losses == 1
    second_queue.release(unit)
    assert third_queue.leases.inspect(take(third_queue).folder).record.losses == 0


def _from(unit, *origins):
    return replace(unit, payload={"entrant": {"name": unit.entrant, "origins": list(origins)}})


@pytest.mark.parametrize(("work", "first"), [(5.0, "mine"), (4.0, "long")])
def test_fits_that_the_process_may_run_come_first_unless_a_far_longer_fit_waits(store, work, first):
    mine, long = _from(fit("mine", work), "mine.py 12"), _from(fit("long", 9.0))
    assert take(Queue([long, mine], store), last=mine).key == first


def test_scores_that_the_process_may_run_come_first(store):
    mine = _from(score("mine", entrant="x"), "mine.py 12")
    units = [*(_from(score(f"{number}", entrant=f"{number}")) for number in range(4)), mine]
    own_queue, other = Queue(units, store), Queue(units, store)
    assert take(own_queue, last=replace(mine, key="before")).key == "mine"
    own_queue.release(mine)
    keys = [take(other, last=units[0]).key for _ in units]
    assert keys[-1] == "mine"
