"""The store as a queue: what is left, and losses."""

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


def taken(queue, last=None):
    """Take what there is, listing the store anew."""
    queue.refresh()
    return queue.take(last)


def test_units_come_once_the_longest_fits_first_and_scores_after_their_fit(store):
    units = [fit("short", 1.0), fit("long", 5.0), score("s", "long")]
    queue, other = Queue(units, store), Queue(units, store)
    first = taken(queue)
    assert (first.key, taken(other).key) == ("long", "short")
    assert (taken(queue), taken(other)) == (None, None)
    assert queue.left == 3
    finish(store, first)
    queue.finish(first)
    assert taken(other).key == "s"
    assert other.left == 2


def test_references_come_first_one_dataset_after_the_other_and_the_psnr_of_a_network_before_the_next_fit(store):
    references = [
        replace(score(f"{dataset}-{entrant}-{metric}", entrant=entrant), dataset=dataset, metric=metric)
        for dataset in "dz"
        for entrant in ("wiener", "oracle")
        for metric in ("psnr", "ssim")
    ]
    fits = [fit("long", 5.0), fit("short", 1.0)]
    scores = [
        replace(score(f"{one.key}-{metric}", one.key, entrant=one.entrant), metric=metric, seed=0)
        for one in fits
        for metric in ("ssim", "psnr")
    ]
    queue, last, order = Queue([*fits, *scores, *references], store), None, []
    while (unit := taken(queue, last)) is not None:
        finish(store, unit)
        queue.finish(unit)
        order.append(unit.key)
        last = unit
    assert sorted(order[:4]) == sorted(one.key for one in references[:4])
    assert sorted(order[4:8]) == sorted(one.key for one in references[4:])
    assert order[8:] == ["long", "long-psnr", "short", "short-psnr", "short-ssim", "long-ssim"]
    # Scores of one entrant share what is in memory.
    entrants = [key.split("-")[1] for key in order[:8]]
    assert all(entrants[place] == entrants[place + 1] for place in range(0, 8, 2))


def test_a_unit_finished_between_the_listing_and_the_claim_is_not_done_again(store):
    queue = Queue([score("a"), score("b")], store)
    queue.refresh()
    finish(store, score("a"))
    finish(store, score("b"))
    assert queue.take() is None
    assert queue.leases.names() == set()


def test_scores_of_the_network_in_memory_come_first_and_others_keep_away(store):
    units = [score(f"{entrant}{number}", entrant=entrant) for entrant in "abc" for number in range(3)]
    one, two = Queue(units, store), Queue(units, store)
    first = taken(one)
    assert taken(one, first).entrant == first.entrant
    other = taken(two)
    while other.entrant == first.entrant:
        other = taken(two, score("none", entrant="none"))
    assert taken(two, other).entrant == other.entrant


@pytest.mark.parametrize("ends", ["finish", "lose"])
def test_a_unit_that_was_listed_while_it_was_done_is_not_taken_over(store, monkeypatch, ends):
    queue = Queue([score("a"), score("b")], store)
    monkeypatch.setattr("gahbench.runs.queue.MAX_LOSSES", 1)
    unit = taken(queue)
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


def test_a_unit_whose_fit_failed_is_not_left_and_units_of_one_key_are_one(store):
    queue = Queue([fit("a"), score("s", "a")], store)
    store.fail(fit("a"), "no luck", "")
    assert (taken(queue), queue.left) == (None, 0)
    queue = Queue([score("b"), score("b")], store)
    assert taken(queue) is not None
    assert (taken(queue), queue.left) == (None, 1)


def test_a_unit_that_kills_whatever_does_it_fails_at_the_last_loss(store):
    for loss in range(1, MAX_LOSSES + 1):
        queue = Queue([fit("poison")], store)
        unit = taken(queue)
        assert queue.lose(unit, "ended by SIGKILL", "the log") == (loss == MAX_LOSSES)
    assert store.failure(unit).startswith(f"lost {MAX_LOSSES} times")
    assert "ended by SIGKILL" in store.failure(unit)
    assert Leases(store.leases).names() == set()


def test_a_fit_that_gets_on_between_losses_never_fails(store):
    for loss in range(1, 2 * MAX_LOSSES):
        queue = Queue([fit("long")], store)
        unit = taken(queue)
        attempt = store.begin(unit).folder
        (attempt / "new").write_text(str(loss))
        (attempt / "new").replace(attempt / "checkpoint-5.pt")
        time.sleep(0.02)
        assert not queue.lose(unit, "preempted", "")
    assert store.failed() == set()


def test_a_unit_is_taken_over_from_a_process_that_fell_silent(store):
    one, two = Queue([fit("a")], store, lease=0.4), Queue([fit("a")], store, lease=0.4)
    unit = taken(one)
    one.leases._closed.set()
    assert taken(two) is None
    time.sleep(0.6)
    assert taken(two) == unit
    assert two.leases.inspect(unit.folder).record.losses == 1
    assert not one.lose(unit, "x", "") or pytest.fail("it is no longer the first one's")


def test_a_fit_that_was_moved_away_is_to_be_done_again(store):
    units = [fit("a"), score("s", "a")]
    queue = Queue(units, store)
    finish(store, units[0])
    queue.refresh()
    assert queue.left == 1
    shutil.move(store.path(units[0]), store.folder / "elsewhere")
    # Its score was seen to be ready.
    assert queue.take() is None or pytest.fail("its network is not there")
    assert taken(queue).key == "a"
    assert queue.left == 2


def test_a_failure_of_what_somebody_finished_blocks_nothing(store):
    finish(store, fit("a"))
    store.failures.mkdir()
    (store.failures / "fit-a.json").write_text('{"error": "lost"}')
    assert taken(Queue([fit("a"), score("s", "a")], store)).key == "s"


def test_a_released_unit_starts_without_losses(store):
    one, two, three = (Queue([fit("a")], store) for _ in range(3))
    one.lose(taken(one), "x", "")
    unit = taken(two)
    assert two.leases.inspect(unit.folder).record.losses == 1
    two.release(unit)
    assert three.leases.inspect(taken(three).folder).record.losses == 0


def _from(unit, *origins):
    return replace(unit, payload={"entrant": {"name": unit.entrant, "origins": list(origins)}})


@pytest.mark.parametrize(("work", "first"), [(5.0, "mine"), (4.0, "long")])
def test_fits_that_the_process_may_do_come_first_unless_a_far_longer_one_waits(store, work, first):
    mine, long = _from(fit("mine", work), "mine.py 12"), _from(fit("long", 9.0))
    assert taken(Queue([long, mine], store), last=mine).key == first


def test_scores_that_the_process_may_do_come_first(store):
    mine = _from(score("mine", entrant="x"), "mine.py 12")
    units = [*(_from(score(f"{number}", entrant=f"{number}")) for number in range(4)), mine]
    own, other = Queue(units, store), Queue(units, store)
    assert taken(own, last=replace(mine, key="before")).key == "mine"
    own.release(mine)
    keys = [taken(other, last=units[0]).key for _ in units]
    assert keys[-1] == "mine"
