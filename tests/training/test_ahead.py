import threading
import time

import pytest
import torch
from small_fits import CPU, prefetch_threads

import gahbench
from gahbench.training.batches import Prefetcher, TrainingImages
from gahbench.training.recipe import Training


@pytest.fixture(autouse=True)
def _no_threads_remain():
    yield
    assert not prefetch_threads()


def test_results_belong_to_their_steps_and_are_computed_in_one_other_thread():
    with Prefetcher(lambda step: (10 * step, threading.current_thread()), 7) as results:
        taken, threads = zip(*(results.take(step) for step in range(7, 40)), strict=True)
    assert taken == tuple(10 * step for step in range(7, 40))
    assert len({*threads} - {threading.current_thread()}) == len({*threads}) == 1


def test_at_most_depth_results_are_computed_in_advance():
    steps = []
    with Prefetcher(steps.append, 0, depth=3) as results:
        for taken in range(3):
            deadline = time.monotonic() + 10
            while len(steps) < 3 + taken:
                assert time.monotonic() < deadline
                time.sleep(0.001)
            time.sleep(0.02)
            assert steps == [*range(3 + taken)]
            results.take(taken)


def test_steps_must_be_taken_in_order():
    with Prefetcher(lambda step: step, 0) as results:
        results.take(0)
        for step in (0, 2):
            with pytest.raises(ValueError, match=rf"step {step} was requested; the next step is 1"):
                results.take(step)
        assert results.take(1) == 1


def test_an_error_is_raised_every_time_its_step_is_taken():
    def compute(step):
        if step == 2:
            raise OSError("no image")
        return step

    with Prefetcher(compute, 0) as results:
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
        with Prefetcher(compute, 0, depth=1):
            assert entered.wait(10)
            threading.Timer(0.05, leave.set).start()
            raise KeyError

    with pytest.raises(KeyError):
        use()


def images(use_thread, **settings):
    training = Training.model_validate({"batch_size": 5, **settings})
    training_images = TrainingImages(gahbench.create("dataset", "discs", size=16), training, 3, CPU)
    assert not training_images.use_thread
    training_images.use_thread = use_thread
    return training_images


def test_prefetching_does_not_change_the_images_of_a_stream():
    plain, threaded = images(False), images(True)
    with threaded.prefetch(4):
        assert prefetch_threads()
        assert all(torch.equal(threaded.batch(step), plain.batch(step)) for step in range(4, 12))
    assert not prefetch_threads()
    # After the context, steps can be taken in any order again.
    assert torch.equal(threaded.batch(2), plain.batch(2))


@pytest.mark.parametrize("settings", [{"train_images": 6}, {}])
def test_only_streams_are_prefetched_and_only_for_a_gpu(settings):
    training_images = images(bool(settings), **settings)
    with training_images.prefetch(0):
        assert not prefetch_threads()
        training_images.batch(7)
