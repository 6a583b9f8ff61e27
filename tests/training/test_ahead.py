import threading
import time

import pytest
import torch
from small_fits import CPU, ahead_threads

import gahbench
from gahbench.training.batches import Ahead, TrainingImages
from gahbench.training.recipe import Training


@pytest.fixture(autouse=True)
def _threads_end():
    yield
    assert not ahead_threads()


def test_results_are_those_of_their_steps_computed_in_one_other_thread():
    with Ahead(lambda step: (10 * step, threading.current_thread()), 7) as results:
        taken, threads = zip(*(results.take(step) for step in range(7, 40)), strict=True)
    assert taken == tuple(10 * step for step in range(7, 40))
    assert len({*threads} - {threading.current_thread()}) == len({*threads}) == 1


def test_a_few_are_computed_before_they_are_taken_and_no_more():
    steps = []
    with Ahead(steps.append, 0, depth=3) as results:
        for taken in range(3):
            deadline = time.monotonic() + 10
            while len(steps) < 3 + taken:
                assert time.monotonic() < deadline
                time.sleep(0.001)
            time.sleep(0.02)
            assert steps == [*range(3 + taken)]
            results.take(taken)


def test_another_step_than_the_next_is_refused():
    with Ahead(lambda step: step, 0) as results:
        results.take(0)
        for step in (0, 2):
            with pytest.raises(ValueError, match=rf"step {step} was requested; the next one is 1"):
                results.take(step)
        assert results.take(1) == 1


def test_an_error_reaches_whoever_takes_its_step_and_comes_again():
    def compute(step):
        if step == 2:
            raise OSError("no image")
        return step

    with Ahead(compute, 0) as results:
        assert [results.take(0), results.take(1)] == [0, 1]
        for _ in range(2):
            with pytest.raises(OSError, match="no image"):
                results.take(2)


def test_the_thread_ends_with_the_context_while_a_result_is_being_computed():
    entered, leave = threading.Event(), threading.Event()

    def compute(step):
        entered.set()
        assert leave.wait(10)

    def use():
        with Ahead(compute, 0, depth=1):
            assert entered.wait(10)
            threading.Timer(0.05, leave.set).start()
            raise KeyError

    with pytest.raises(KeyError):
        use()


def images(is_threaded, **given):
    training = Training.model_validate({"batch_size": 5, **given})
    made = TrainingImages(gahbench.create("dataset", "discs", size=16), training, 3, CPU)
    assert not made.threaded
    made.threaded = is_threaded
    return made


def test_images_of_a_stream_drawn_ahead_are_the_same_images():
    plain, threaded = images(False), images(True)
    with threaded.ahead(4):
        assert ahead_threads()
        assert all(torch.equal(threaded.batch(step), plain.batch(step)) for step in range(4, 12))
    assert not ahead_threads()
    # After the context, any step again.
    assert torch.equal(threaded.batch(2), plain.batch(2))


@pytest.mark.parametrize("given", [{"train_images": 6}, {}])
def test_only_streams_are_drawn_ahead_and_only_for_a_gpu(given):
    made = images(bool(given), **given)
    with made.ahead(0):
        assert not ahead_threads()
        made.batch(7)
