import threading
import time

import pytest
import torch
from small_fits import CPU, ahead_threads

import gahbench
from gahbench.training.batches import Ahead, TrainingImages
from gahbench.training.recipe import Training


def wait_until(condition):
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def test_results_are_those_of_their_steps():
    with Ahead(lambda step: 10 * step, 7) as results:
        assert [results.take(step) for step in range(7, 40)] == [10 * step for step in range(7, 40)]


def test_a_few_are_made_before_they_are_taken_and_no_more():
    made = []
    with Ahead(made.append, 0, depth=3) as results:
        # Three wait, and one more is finished and waits for room.
        wait_until(lambda: len(made) == 4)
        time.sleep(0.05)
        assert made == [0, 1, 2, 3]
        results.take(0)
        wait_until(lambda: len(made) == 5)


def test_they_are_made_in_one_other_thread():
    with Ahead(lambda step: threading.current_thread(), 0) as results:
        makers = {results.take(step) for step in range(5)}
    assert len(makers) == 1
    assert threading.current_thread() not in makers


def test_another_step_than_the_next_is_refused():
    with Ahead(lambda step: step, 0) as results:
        results.take(0)
        for step in (0, 2):
            with pytest.raises(ValueError, match=rf"step {step} was requested; the next one is 1"):
                results.take(step)
        assert results.take(1) == 1


def test_an_error_reaches_whoever_takes_its_step_and_comes_again():
    def make(step):
        if step == 2:
            raise OSError("no image")
        return step

    with Ahead(make, 0) as results:
        assert [results.take(0), results.take(1)] == [0, 1]
        for _ in range(2):
            with pytest.raises(OSError, match="no image"):
                results.take(2)
    assert not ahead_threads()


@pytest.mark.parametrize("taken", [0, 1])
def test_the_thread_ends_with_the_context_also_after_an_error(taken):
    def use():
        with Ahead(lambda step: step, 0, depth=1) as results:
            for step in range(taken):
                results.take(step)
            assert ahead_threads()
            raise KeyError

    with pytest.raises(KeyError):
        use()
    assert not ahead_threads()


def test_the_thread_ends_while_a_result_is_being_made():
    entered, leave = threading.Event(), threading.Event()

    def make(step):
        entered.set()
        assert leave.wait(10)

    with Ahead(make, 0, depth=1):
        assert entered.wait(10)
        threading.Timer(0.05, leave.set).start()
    assert not ahead_threads()


def stream(threaded, seed=3, batch_size=5):
    images = TrainingImages(
        gahbench.create("dataset", "discs", size=16), Training.model_validate({"batch_size": batch_size}), seed, CPU
    )
    images.threaded = threaded
    return images


def test_images_of_a_stream_made_ahead_are_the_same_images():
    plain, threaded = stream(False), stream(True)
    with threaded.ahead(4):
        assert ahead_threads()
        assert all(torch.equal(threaded.batch(step), plain.batch(step)) for step in range(4, 12))
    assert not ahead_threads()
    # After the context, any step again.
    assert torch.equal(threaded.batch(2), plain.batch(2))


def test_only_streams_are_made_ahead_and_only_for_a_gpu():
    dataset = gahbench.create("dataset", "discs", size=16)
    fixed = TrainingImages(dataset, Training.model_validate({"batch_size": 5, "train_images": 6}), 0, CPU)
    assert not fixed.threaded
    fixed.threaded = True
    for images in (fixed, stream(False)):
        with images.ahead(0):
            assert not ahead_threads()
            images.batch(7)
