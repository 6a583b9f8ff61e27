import contextlib
import functools

import pytest
import torch
from small_fits import PLAIN, Dropout, StopAfter, ahead_threads, dropout_weight, kept_in, make, weights, weights_of

import gahbench
from gahbench.devices import stand_in
from gahbench.devices.hardware import hardware
from gahbench.training import trainer as trainer_module
from gahbench.training.batches import training_noise
from gahbench.training.fitting import fit
from gahbench.training.hardware import Acceleration
from gahbench.training.recipe import Training
from gahbench.training.trainer import Stopped

COMPILED = Acceleration(bfloat16=False, compiled=True)
GRAPHS = Acceleration(bfloat16=False, compiled=True, graphs=True)
#: Steps in which the compiler compiles and CUDA graphs are captured.
WARM_UP = 5


def skip_without(acceleration, device):
    """Skip a test that needs a compiler which is not there."""
    if acceleration.compiled and (reason := hardware(device).compiler_missing):
        pytest.skip(reason)
    torch.compiler.reset()


@contextlib.contextmanager
def no_synchronisation(device):
    """Make whatever waits for the GPU an error."""
    if device.type == stand_in.NAME:
        with stand_in.waits_recorded() as waits:
            yield
        if waits:
            raise RuntimeError(f"synchronizing: {', '.join(map(str, waits))}")
        return
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


def losses(trainer, steps):
    return [float(trainer.step(step, step / 30)) for step in steps]


def test_losses_are_those_of_the_cpu(gpu, monkeypatch):
    """With the noise of both drawn on the CPU: other devices draw other numbers."""

    def noise(training, shape, seed, step, device):
        drawn = training_noise(training, shape, seed, step, torch.device("cpu"))
        return tuple(each.to(device) for each in drawn)

    monkeypatch.setattr(trainer_module, "training_noise", noise)
    given = {"learning_rate": 1e-4, "ema": 0.9}
    here, there = make(**given), make(device=gpu, **given)
    assert losses(there, range(10)) == pytest.approx(losses(here, range(10)), rel=1e-3)
    for ours, theirs in ((here.network, there.network), (here.kept, there.kept)):
        assert torch.allclose(weights_of(ours), weights_of(theirs).cpu(), atol=1e-3)


def test_a_fit_learns_what_one_on_the_cpu_learns(gpu):
    # The stand-in is slow, and draws the random numbers of the CPU.
    steps = 60 if gpu.type == stand_in.NAME else 300
    given = {"steps": steps, "batch_size": 16, "learning_rate": 5e-3, "architecture": "unet[width=8,levels=2]"}
    here, there = (make(device=device, **given).fit().history[-1] for device in (torch.device("cpu"), gpu))
    assert there["psnr@0.3"] == pytest.approx(here["psnr@0.3"], abs=1.0)
    # The noisy images have 10.5 dB.
    assert there["psnr@0.3"] > 12


@pytest.mark.parametrize(
    "acceleration", [PLAIN, Acceleration(True, False), GRAPHS], ids=["eager", "bfloat16", "graphs"]
)
@pytest.mark.parametrize(
    "given",
    [
        {},
        {"train_images": 6, "epoch_images": 12},
        {"ema": 0.9, "clip": None},
        {"recipe": "paper", "optimizer": "adamw", "weight_decay": 0.1},
        {"network": Dropout},
    ],
    ids=["stream", "set", "average", "paper", "dropout"],
)
def test_a_step_does_not_wait_for_the_gpu(gpu, given, acceleration):
    if not hardware(gpu).is_accelerator:
        pytest.skip("nothing waits for a processor")
    skip_without(acceleration, gpu)
    trainer = make(device=gpu, acceleration=acceleration, **given)
    trainer.network.train()
    with trainer.images.ahead(0):
        losses(trainer, range(WARM_UP))
        with no_synchronisation(gpu):
            for step in range(WARM_UP, 20):
                loss = trainer.step(step, step / 30)
        # Lest nothing is noticed.
        with pytest.raises(RuntimeError, match="synchroniz"), no_synchronisation(gpu):
            loss.item()
    assert trainer.acceleration == acceleration


@pytest.mark.parametrize("given", [{}, {"ema": 0.9}, {"train_images": 6, "epoch_images": 12}, {"network": Dropout}])
@pytest.mark.parametrize("acceleration", [PLAIN, GRAPHS], ids=["eager", "graphs"])
def test_a_fit_that_was_cut_off_ends_as_one_that_was_not(gpu, tmp_path, given, acceleration):
    skip_without(acceleration, gpu)
    whole = make(device=gpu, acceleration=acceleration, **given).fit()
    kept = kept_in(tmp_path / "fit")
    for steps in (7, 5):
        trainer = make(kept, device=gpu, acceleration=acceleration, **given)
        trainer.should_stop = StopAfter(steps)
        with pytest.raises(Stopped):
            trainer.fit()
    resumed = make(kept, device=gpu, acceleration=acceleration, **given).fit()
    assert torch.allclose(weights(resumed), weights(whole), rtol=0, atol=1e-5)
    assert not ahead_threads()


def test_a_fit_begun_on_the_gpu_goes_on_on_the_cpu_and_back(gpu, tmp_path):
    kept, cpu = kept_in(tmp_path / "fit"), torch.device("cpu")
    for device in (gpu, cpu):
        trainer = make(kept, device=device, ema=0.9)
        trainer.should_stop = StopAfter(5)
        with pytest.raises(Stopped):
            trainer.fit()
    assert make(kept, device=gpu, ema=0.9).fit().steps == 30


def test_what_a_network_draws_depends_on_the_step_alone(gpu):
    assert torch.equal(dropout_weight(0, gpu), dropout_weight(5, gpu))


@pytest.mark.parametrize("acceleration", [PLAIN, COMPILED, GRAPHS], ids=["eager", "compiled", "graphs"])
def test_a_loss_depends_on_its_step_alone(gpu, acceleration):
    """Whether a CUDA graph was captured at the step or is replayed, and not the same numbers at every step."""
    skip_without(acceleration, gpu)
    forward, backward = (
        make(device=gpu, acceleration=acceleration, network=Dropout, learning_rate=1e-12) for _ in range(2)
    )
    one = losses(forward, range(10))
    other = losses(backward, reversed(range(10)))
    assert one == pytest.approx(other[::-1], rel=1e-5)
    assert len({round(loss, 6) for loss in one}) == 10
    assert forward.acceleration == acceleration


def test_cuda_graphs_change_nothing(gpu):
    skip_without(GRAPHS, gpu)
    found = {}
    for acceleration in (PLAIN, COMPILED, GRAPHS):
        torch.compiler.reset()
        trainer = make(device=gpu, acceleration=acceleration)
        found[acceleration] = losses(trainer, range(12))
        assert trainer.acceleration == acceleration
    assert found[GRAPHS] == pytest.approx(found[COMPILED], rel=1e-6)
    assert found[COMPILED] == pytest.approx(found[PLAIN], rel=1e-3)


def test_a_fit_leaves_the_default_generators_as_they_were(gpu):
    def states():
        return [torch.random.get_rng_state(), *([torch.cuda.get_rng_state(gpu)] if gpu.type == "cuda" else [])]

    before = states()
    make(device=gpu, network=Dropout).fit()
    assert all(map(torch.equal, states(), before))


def test_a_fit_says_on_which_device_it_ran(gpu, tmp_path):
    build = functools.partial(gahbench.create, "architecture", "unet[width=4,levels=1]")
    training = Training.model_validate({"steps": 3, "batch_size": 4, "validations": 1, "precision": "bfloat16"})
    done = fit(build, gahbench.create("dataset", "discs", size=16), training, 0, tmp_path, gpu)
    assert done.facts["device"] == hardware(gpu).name
    assert done.facts["precision"] == "bfloat16"
