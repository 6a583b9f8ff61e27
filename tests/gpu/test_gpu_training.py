"""Fits on a GPU agree with fits on a CPU, never wait for the GPU, and can be resumed."""

import contextlib
import functools

import pytest
import torch
from devices import stand_in
from sample_files import TINY
from small_fits import (
    PLAIN,
    Dropout,
    StopAfter,
    checkpoints_of,
    make,
    prefetch_threads,
    weights,
)

import gahbench
from gahbench.devices.hardware import hardware
from gahbench.training import trainer as trainer_module
from gahbench.training.batches import draw_training_noise
from gahbench.training.fitting import fit
from gahbench.training.hardware import Acceleration
from gahbench.training.recipe import Training
from gahbench.training.trainer import Stopped

#: Networks compiled for a GPU are launched as CUDA graphs.
GRAPHS = Acceleration(bfloat16=False, compiled=True)
#: Number of steps in which the compiler compiles and CUDA graphs are captured.
WARM_UP = 5


def skip_without(acceleration, device):
    """Skip a test that needs a missing compiler."""
    if acceleration.compiled and (reason := hardware(device).compiler_missing):
        pytest.skip(reason)
    torch.compiler.reset()


@contextlib.contextmanager
def no_synchronisation(device):
    """Raise an error for every wait for the GPU within this context."""
    if device.type == stand_in.NAME:
        with stand_in.record_waits() as waits:
            yield
        if waits:
            raise RuntimeError(f"synchronizing: {', '.join(waits)}")
        return
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


def losses(trainer, steps):
    return [float(trainer.step(step, step / 30)) for step in steps]


@pytest.mark.parametrize("acceleration", [PLAIN, GRAPHS], ids=["eager", "graphs"])
def test_losses_agree_with_the_cpu(gpu, monkeypatch, acceleration):
    """Draw the noise of both fits on the CPU, since random numbers differ between devices."""

    def noise(training, shape, seed, step, device):
        drawn = draw_training_noise(training, shape, seed, step, torch.device("cpu"))
        return tuple(values.to(device) for values in drawn)

    monkeypatch.setattr(trainer_module, "draw_training_noise", noise)
    settings = {"learning_rate": 1e-4, "ema": 0.9}
    skip_without(acceleration, gpu)
    on_cpu, on_gpu = make(**settings), make(device=gpu, acceleration=acceleration, **settings)
    assert losses(on_gpu, range(10)) == pytest.approx(losses(on_cpu, range(10)), rel=1e-3)
    for _ in range(2):
        assert torch.allclose(weights(on_cpu.network), weights(on_gpu.network).cpu(), atol=1e-3)
        on_cpu.average.write()
        on_gpu.average.write()
    assert on_gpu.acceleration == acceleration


@pytest.mark.parametrize(
    "acceleration", [PLAIN, Acceleration(True, False), GRAPHS], ids=["eager", "bfloat16", "graphs"]
)
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"train_images": 6, "epoch_images": 12},
        {"ema": 0.9, "clip": None},
        {"recipe": "paper", "optimizer": "adamw", "weight_decay": 0.1},
        {"network": Dropout},
    ],
    ids=["stream", "set", "average", "paper", "dropout"],
)
def test_a_step_does_not_wait_for_the_gpu(gpu, settings, acceleration):
    if not hardware(gpu).is_accelerator:
        pytest.skip("needs an accelerator")
    skip_without(acceleration, gpu)
    trainer = make(device=gpu, acceleration=acceleration, **settings)
    trainer.network.train()
    with trainer.images.prefetch(0):
        losses(trainer, range(WARM_UP))
        with no_synchronisation(gpu):
            for step in range(WARM_UP, 20):
                loss = trainer.step(step, step / 30)
        # Check that a wait would have been detected.
        with pytest.raises(RuntimeError, match="synchroniz"), no_synchronisation(gpu):
            loss.item()
    assert trainer.acceleration == acceleration


@pytest.mark.parametrize("settings", [{}, {"ema": 0.9}, {"train_images": 6, "epoch_images": 12}, {"network": Dropout}])
@pytest.mark.parametrize("acceleration", [PLAIN, GRAPHS], ids=["eager", "graphs"])
def test_an_interrupted_fit_ends_like_an_uninterrupted_fit(gpu, tmp_path, settings, acceleration):
    skip_without(acceleration, gpu)
    uninterrupted = make(device=gpu, acceleration=acceleration, **settings).fit()
    checkpoints = checkpoints_of(tmp_path / "fit")
    for steps in (7, 5):
        trainer = make(checkpoints, device=gpu, acceleration=acceleration, **settings)
        trainer.should_stop = StopAfter(steps)
        with pytest.raises(Stopped):
            trainer.fit()
    resumed = make(checkpoints, device=gpu, acceleration=acceleration, **settings).fit()
    assert torch.allclose(weights(resumed), weights(uninterrupted), rtol=0, atol=1e-5)
    assert not prefetch_threads()


def test_a_fit_can_be_resumed_on_the_cpu_and_back_on_the_gpu(gpu, tmp_path):
    checkpoints, cpu = checkpoints_of(tmp_path / "fit"), torch.device("cpu")
    for device in (gpu, cpu):
        trainer = make(checkpoints, device=device, ema=0.9)
        trainer.should_stop = StopAfter(5)
        with pytest.raises(Stopped):
            trainer.fit()
    trainer = make(checkpoints, device=gpu, ema=0.9)
    trainer.fit()
    assert trainer.history[-1]["step"] == 30


@pytest.mark.parametrize("acceleration", [PLAIN, GRAPHS], ids=["eager", "graphs"])
def test_a_loss_depends_only_on_its_step(gpu, acceleration):
    """Capturing and replaying a CUDA graph draw the same random numbers, which differ between steps."""
    skip_without(acceleration, gpu)
    forward, backward = (
        make(device=gpu, acceleration=acceleration, network=Dropout, learning_rate=1e-12) for _ in range(2)
    )
    ascending = losses(forward, range(10))
    descending = losses(backward, reversed(range(10)))
    assert ascending == pytest.approx(descending[::-1], rel=1e-5)
    assert len({round(loss, 6) for loss in ascending}) == 10
    assert forward.acceleration == acceleration


def test_a_fit_restores_the_default_generators(gpu):
    def states():
        return [torch.random.get_rng_state(), *([torch.cuda.get_rng_state(gpu)] if gpu.type == "cuda" else [])]

    before = states()
    make(device=gpu, network=Dropout).fit()
    assert all(map(torch.equal, states(), before))


def test_a_fit_records_its_device(gpu, tmp_path):
    build = functools.partial(gahbench.create, "architecture", "unet[width=4,levels=1]")
    training = Training.model_validate({"steps": 3, "batch_size": 4, "validations": 1, "precision": "bfloat16"})
    result = fit(build, gahbench.create("dataset", "discs", size=16), training, 0, tmp_path, gpu)
    assert result.facts["device"] == hardware(gpu).name
    assert result.facts["precision"] == "bfloat16"


def test_two_workers_run_a_suite_on_the_gpu(gpu, tmp_path):
    if gpu.type == stand_in.NAME:
        pytest.skip("other processes do not have the stand-in")
    suite = tmp_path / "tiny.yaml"
    suite.write_text(TINY, encoding="utf-8")
    board = gahbench.run(suite, out=tmp_path / "results", workers=2, device=gpu.type).leaderboard(full=True)
    assert {"unet[width=2,levels=1]", "identity"} <= set(board["entrant"])
    assert board["psnr"].notna().all()
