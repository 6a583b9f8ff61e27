"""The training loop of a fit, and the Muon optimiser."""

import functools
import threading

import pytest
import torch
from small_fits import StopAfter, checkpoints_of, make, prefetch_threads, weights
from torch import nn

import gahbench
from gahbench._util.noise import generator
from gahbench.networks.initialisation import build_network
from gahbench.training import trainer as trainer_module
from gahbench.training.batches import error_scale
from gahbench.training.muon import Muon
from gahbench.training.recipe import Training
from gahbench.training.trainer import Diverged, Stopped


class RunningScale(nn.Module):
    """A convolution of images divided by a running standard deviation."""

    def __init__(self, **settings):
        super().__init__()
        self.layer = nn.Conv2d(1, 1, 3, padding=1)
        self.register_buffer("deviation", torch.ones(()))

    def forward(self, noisy, sigma):
        if self.training:
            with torch.no_grad():
                self.deviation.lerp_(noisy.std(), 0.1)
        return self.layer(noisy / self.deviation)


def interrupted(checkpoints, prepare=lambda trainer: trainer, **settings):
    """Return the network of a fit that was interrupted after 7 and after 12 steps, and its history."""
    for steps in (7, 5):
        trainer = prepare(make(checkpoints, **settings))
        trainer.should_stop = StopAfter(steps)
        with pytest.raises(Stopped):
            trainer.fit()
    trainer = prepare(make(checkpoints, **settings))
    return trainer.fit(), trainer.history


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"ema": 0.9},
        {"recipe": "paper", "optimizer": "adamw", "weight_decay": 0.1},
        {"optimizer": "sgd"},
        {"optimizer": "muon"},
        {"network": RunningScale, "ema": 0.9},
    ],
)
def test_an_interrupted_fit_ends_like_an_uninterrupted_fit(tmp_path, settings):
    def keep_snapshots(trainer, snapshots):
        trainer.keep_snapshot = lambda step, network: snapshots.update({step: weights(network)})
        return trainer

    snapshots, expected = {}, {}
    uninterrupted = keep_snapshots(make(snapshots=6, **settings), expected)
    trained = uninterrupted.fit()
    prepare = functools.partial(keep_snapshots, snapshots=snapshots)
    resumed, history = interrupted(checkpoints_of(tmp_path / "fit"), prepare, snapshots=6, **settings)
    assert torch.equal(weights(resumed), weights(trained))
    assert [{**row, "seconds": 0} for row in history] == [{**row, "seconds": 0} for row in uninterrupted.history]
    assert list(snapshots) == list(expected) == [1, 2, 4, 8, 15, 30]
    assert all(torch.equal(snapshots[step], expected[step]) for step in expected)
    assert torch.equal(snapshots[30], weights(resumed))


class Drawing(nn.Module):
    """A network that draws from the default generator and records the draws."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))
        self.drawn = []

    def forward(self, noisy, sigma):
        self.drawn.append(torch.rand(3))
        return self.scale * noisy


def test_random_numbers_of_a_network_depend_on_step_and_seed_and_the_default_generator_is_restored():
    trainer = make(seed=3, network=Drawing)
    for step in (0, 4):
        trainer.step(step, step / 30)
    for step, drawn in zip((0, 4), trainer.network.drawn, strict=True):
        assert torch.equal(drawn, torch.rand(3, generator=generator("batches", 3, "network", step)))
    before = torch.random.get_rng_state()
    trainer = make(network=Drawing)
    trainer.should_stop = StopAfter(5)
    with pytest.raises(Stopped):
        trainer.fit()
    assert torch.equal(torch.random.get_rng_state(), before)


def test_prefetching_does_not_change_a_fit_and_a_dataset_is_never_used_by_two_threads(tmp_path, monkeypatch):
    """Validation images are drawn before prefetching begins."""
    calls = []

    def watch(trainer):
        trainer.images.use_thread = True
        images = trainer.dataset.images

        def record(split, count, start=0):
            calls.append((split, threading.current_thread() is threading.main_thread()))
            return images(split, count, start)

        monkeypatch.setattr(trainer.dataset, "images", record)
        return trainer

    trained, _ = interrupted(checkpoints_of(tmp_path / "fit"), watch, batch_size=5)
    assert torch.equal(weights(trained), weights(make(batch_size=5).fit()))
    assert set(calls) == {("validation", True), ("train", False)}
    assert not prefetch_threads()


@pytest.mark.parametrize("recipe", ["kl", "paper"])
def test_both_recipes_reduce_the_error_as_the_history_says(recipe):
    trainer = make(recipe=recipe, steps=200, batch_size=8, learning_rate=1e-2, architecture="bf-cnn[width=8,layers=4]")
    reports = []
    trainer.report = lambda **progress: reports.append(progress)
    trainer.fit()
    first, *_, last = history = trainer.history
    # A noisy image at sigma = 0.3 has 10.46 dB.
    assert last["psnr@0.3"] > 14
    assert last["psnr@0.3"] > first["psnr@0.3"] - 0.5
    assert [row["step"] for row in history] == [66 + 1, 133 + 1, 200]
    assert {"step", "seconds", "loss", "psnr@0.1", "psnr@0.3"} == set(last)
    assert (reports[-1]["step"], reports[-1]["fraction"], reports[-1]["remaining_seconds"]) == (200, 1.0, 0.0)
    assert reports[-1]["psnr"] == pytest.approx((last["psnr@0.1"] + last["psnr@0.3"]) / 2)


def test_the_loss_has_the_weighting_of_its_recipe():
    """For the identity, the kl loss is E|z|^2/d = 1 at every noise level, and the paper loss is E u^4 = 1/5."""

    for recipe, expected in (("kl", 1.0), ("paper", 1 / 5)):
        trainer = make(recipe=recipe, batch_size=20_000, learning_rate=1e-9, steps=1, network=Drawing)
        assert float(trainer.step(0, 0.0)) == pytest.approx(expected, rel=0.02)


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_edm_weighting_gives_the_wiener_filter_of_white_images_unit_loss_at_all_noise_levels(share):
    """The filter multiplies by s^2 / (s^2 + sigma^2); its error is sigma^2 s^2 / (s^2 + sigma^2)."""
    training = Training.model_validate({"weighting": "edm", "sigma_data": 0.2})
    sigma = 0.01 * 100 ** torch.full((4,), share)
    clean = 0.2 * torch.randn(4, 1, 200, 200, generator=torch.Generator().manual_seed(0))
    noisy = clean + sigma[:, None, None, None] * torch.randn(clean.shape, generator=torch.Generator().manual_seed(1))
    denoised = 0.2**2 / (0.2**2 + sigma[:, None, None, None] ** 2) * noisy
    errors = (denoised - clean).square().mean((1, 2, 3)) / error_scale(training, sigma) ** 2
    assert errors.mean() == pytest.approx(1, rel=0.02)


def test_a_loss_that_is_not_finite_and_a_wrong_shape_end_the_fit(monkeypatch):
    monkeypatch.setattr(trainer_module, "REPORT_SECONDS", 0.0)
    trainer = make(clip=None)
    with torch.no_grad():
        next(trainer.network.parameters()).fill_(float("nan"))
    with pytest.raises(Diverged, match="learning_rate"):
        trainer.fit()
    trainer.network.forward = lambda noisy, sigma: noisy[:, :, :1]
    with pytest.raises(ValueError, match="returned shape"):
        trainer.step(0, 0.0)


def test_initial_weights_and_gains_have_the_variances_of_their_initialisation():
    before = torch.random.get_rng_state()
    build = functools.partial(gahbench.create, "architecture", "unet[width=64,levels=1]")
    own, kaiming, published, again = (
        dict(build_network(build, 0, name).named_parameters()) for name in ("own", "kaiming", "published", "published")
    )
    assert torch.equal(torch.random.get_rng_state(), before)
    assert all(torch.equal(published[name], again[name]) for name in own)
    # The variance is 2 over the fan-in, 64 channels of 3x3 pixels.
    name = "encoder.0.2.weight"
    assert [float(network[name].detach().var()) for network in (kaiming, published)] == pytest.approx(
        [2 / 576] * 2, rel=0.05
    )
    assert not torch.equal(own[name], kaiming[name])
    gains = [name for name in own if name.endswith("gain")]
    assert all(bool((network[name] == 1).all()) for network in (own, kaiming) for name in gains)
    drawn = torch.cat([published[name].detach().flatten() for name in gains])
    # Kadkhodaie et al. 2024, network.py: randn * (2. / 9. / 64.), clamped to +-0.025.
    assert float(drawn.std()) == pytest.approx(2 / 9 / 64, rel=0.1)
    assert float(drawn.abs().max()) <= 0.025


def test_a_layer_whose_gradient_vanishes_stops_moving():
    torch.manual_seed(0)
    weight = nn.Parameter(torch.randn(4, 6))
    optimizer = Muon([weight], lr=0.01)
    weight.grad = torch.randn(4, 6)
    optimizer.step()
    weight.grad = torch.zeros(4, 6)
    for step in range(1500):
        before = weight.detach().clone()
        optimizer.step()
        assert weight.isfinite().all(), step
    assert torch.equal(weight, before)


def test_gains_and_single_rows_are_updated_by_adam():
    torch.manual_seed(0)
    ours, theirs = (nn.ParameterList([torch.zeros(5), torch.zeros(1, 3, 2, 2)]) for _ in range(2))
    muon, adam = Muon(ours, lr=0.1, weight_decay=0.1), torch.optim.AdamW(theirs, lr=0.1, weight_decay=0.1)
    for step in range(4):
        for parameters in (ours, theirs):
            torch.manual_seed(step)
            for parameter in parameters:
                parameter.grad = torch.randn(parameter.shape)
        for optimizer in (muon, adam):
            for group in optimizer.param_groups:
                group["lr"] = 0.1 / (1 + step)
            optimizer.step()
    assert all(torch.equal(left, right) for left, right in zip(ours, theirs, strict=True))


@pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="this torch has no Muon")
def test_kernels_are_updated_as_matrices_by_the_muon_of_torch_and_only_with_a_gradient():
    torch.manual_seed(0)
    kernels = [torch.randn(shape) for shape in ((4, 3, 3, 3), (4, 3, 3, 3), (16, 9), (9, 16), (8, 8))]
    ours = [nn.Parameter(kernel.clone()) for kernel in kernels]
    theirs, idle = [nn.Parameter(kernel.flatten(1).clone()) for kernel in kernels], nn.Parameter(torch.ones(2, 3))
    settings = {"lr": 0.1, "weight_decay": 0.01}
    optimizers = [Muon([*ours, idle], **settings), torch.optim.Muon(theirs, adjust_lr_fn="match_rms_adamw", **settings)]
    for _ in range(3):
        for own, other in zip(ours, theirs, strict=True):
            own.grad = 1e3 * torch.randn(own.shape)
            other.grad = own.grad.flatten(1)
        before = [parameter.detach().flatten(1).clone() for parameter in ours]
        for optimizer in optimizers:
            optimizer.step()
        for start, own, other in zip(before, ours, theirs, strict=True):
            # The iteration of torch is in bfloat16.
            assert (own.flatten(1) - other).norm() < 0.05 * (own.flatten(1) - start).norm()
            other.data.copy_(own.detach().flatten(1))
    assert torch.equal(idle, torch.ones(2, 3))
