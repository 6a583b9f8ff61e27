import functools
import math
import threading
import time

import pytest
import torch
from small_fits import StopAfter, checkpoints_of, make, prefetch_threads, weights, weights_of
from torch import nn

import gahbench
from gahbench._util.noise import generator
from gahbench.evaluation.evaluation import Evaluation
from gahbench.networks.initialisation import build_network
from gahbench.networks.trained import Trained
from gahbench.training import trainer as trainer_module
from gahbench.training.batches import error_scale
from gahbench.training.hardware import Acceleration
from gahbench.training.recipe import Training
from gahbench.training.trainer import Diverged, Stopped


class RunningScale(nn.Module):
    """A convolution of images divided by a running standard deviation, which is not saved with the weights."""

    def __init__(self, **settings):
        super().__init__()
        self.layer = nn.Conv2d(1, 1, 3, padding=1)
        self.register_buffer("deviation", torch.ones(()), persistent=False)

    def forward(self, noisy, sigma):
        if self.training:
            with torch.no_grad():
                self.deviation.lerp_(noisy.std(), 0.1)
        return self.layer(noisy / self.deviation)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"ema": 0.9},
        {"recipe": "paper", "optimizer": "adamw", "weight_decay": 0.1},
        {"optimizer": "sgd"},
        {"optimizer": "muon"},
        {"network": RunningScale},
        {"network": RunningScale, "ema": 0.9},
    ],
)
def test_an_interrupted_fit_ends_like_an_uninterrupted_fit(tmp_path, settings):
    uninterrupted = make(**settings).fit()
    checkpoints = checkpoints_of(tmp_path / "fit")
    for steps in (7, 5):
        trainer = make(checkpoints, **settings)
        trainer.should_stop = StopAfter(steps)
        with pytest.raises(Stopped):
            trainer.fit()
    resumed = make(checkpoints, **settings).fit()
    assert torch.equal(weights(resumed), weights(uninterrupted))
    assert [{**row, "seconds": 0} for row in resumed.history] == [
        {**row, "seconds": 0} for row in uninterrupted.history
    ]


def test_an_interrupted_fit_has_the_snapshots_of_an_uninterrupted_fit(tmp_path):
    def fit(trainer, snapshots):
        trainer.keep_snapshot = lambda step, network: snapshots.update({step: weights_of(network)})
        return trainer.fit()

    uninterrupted, resumed = {}, {}
    fit(make(snapshots=6), uninterrupted)
    assert list(uninterrupted) == [1, 2, 4, 8, 15, 30]
    checkpoints = checkpoints_of(tmp_path / "fit")
    # Stop once just after a snapshot, and once between two snapshots.
    for steps in (4, 7):
        trainer = make(checkpoints, snapshots=6)
        trainer.should_stop = StopAfter(steps)
        with pytest.raises(Stopped):
            fit(trainer, resumed)
    fit(make(checkpoints, snapshots=6), resumed)
    assert list(resumed) == list(uninterrupted)
    assert all(torch.equal(resumed[step], uninterrupted[step]) for step in uninterrupted)


@pytest.mark.parametrize("network", [None, RunningScale])
def test_half_of_a_fit_at_a_constant_rate_is_a_fit_of_half_as_many_steps(network):
    settings = {"schedule": "constant", "warmup": 4, "ema": 0.9, "network": network}
    snapshots = {}
    trainer = make(steps=32, snapshots=6, **settings)
    trainer.keep_snapshot = lambda step, network: snapshots.update({step: weights_of(network)})
    trainer.fit()
    for steps in (8, 16):
        assert torch.equal(snapshots[steps], weights(make(steps=steps, **settings).fit()))


class Drawing(nn.Module):
    """A network that draws from the default generator and records the draws."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))
        self.drawn = []

    def forward(self, noisy, sigma):
        self.drawn.append(torch.rand(3))
        return self.scale * noisy


def test_random_numbers_of_a_network_depend_on_step_and_seed():
    trainer = make(seed=3, network=Drawing)
    for step in (0, 4):
        trainer.step(step, step / 30)
    for step, drawn in zip((0, 4), trainer.network.drawn, strict=True):
        assert torch.equal(drawn, torch.rand(3, generator=generator("batches", 3, "network", step)))


def test_a_fit_restores_the_default_generator():
    before = torch.random.get_rng_state()
    make(network=Drawing).fit()
    trainer = make(network=Drawing)
    trainer.should_stop = StopAfter(5)
    with pytest.raises(Stopped):
        trainer.fit()
    assert len(trainer.network.drawn) == 5
    assert torch.equal(torch.random.get_rng_state(), before)


def test_prefetching_does_not_change_a_fit(tmp_path):
    def build_trainer(use_thread):
        trainer = make(checkpoints_of(tmp_path / "fit") if use_thread else None, batch_size=5)
        trainer.images.use_thread = use_thread
        return trainer

    interrupted = build_trainer(True)
    interrupted.should_stop = StopAfter(7)
    with pytest.raises(Stopped):
        interrupted.fit()
    assert torch.equal(weights(build_trainer(True).fit()), weights(build_trainer(False).fit()))
    assert not prefetch_threads()


def test_an_error_of_the_prefetching_thread_ends_the_fit(monkeypatch):
    trainer = make()
    trainer.images.use_thread = True
    images = trainer.dataset.images

    def fail_later(split, count, start=0):
        if split == "train" and start >= 4 * trainer.images.batch_size:
            raise OSError("no more images")
        return images(split, count, start)

    monkeypatch.setattr(trainer.dataset, "images", fail_later)
    with pytest.raises(OSError, match="no more images"):
        trainer.fit()
    assert trainer._step == 4
    assert not prefetch_threads()


def test_a_dataset_is_never_used_by_two_threads(monkeypatch):
    """Validation images are drawn before prefetching begins."""
    trainer = make(validations=10)
    trainer.images.use_thread = True
    images, calls = trainer.dataset.images, []

    def record(split, count, start=0):
        calls.append((split, threading.current_thread() is threading.main_thread()))
        return images(split, count, start)

    monkeypatch.setattr(trainer.dataset, "images", record)
    assert len(trainer.fit().history) == 10
    assert calls[0] == ("validation", True)
    assert set(calls[1:]) == {("train", False)}


def test_checkpoints_are_written_when_they_are_due(monkeypatch, tmp_path):
    class Every7th:
        def __init__(self, now):
            self.queries, self.spans = 0, []
            paces.append(self)

        def is_due(self, now):
            self.queries += 1
            return self.queries % 7 == 0

        def record_write(self, began, ended):
            self.spans.append((began, ended))

    def write(checkpoints, state):
        steps.append(state["step"])
        time.sleep(0.01)

    paces, steps = [], []
    monkeypatch.setattr(trainer_module.checkpoint, "Pace", Every7th)
    monkeypatch.setattr(trainer_module.checkpoint.Checkpoints, "write", write)
    make(checkpoints_of(tmp_path / "fit")).fit()
    assert steps == [7, 14, 21, 28]
    (pace,) = paces
    assert len(pace.spans) == 4
    assert all(ended - began >= 0.01 for began, ended in pace.spans)


def test_weights_depend_on_the_seed_and_nothing_else():
    first, again, other = (weights(make(seed=seed, steps=5).fit()) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("recipe", ["kl", "paper"])
def test_both_recipes_reduce_the_error(recipe):
    fitted = make(
        recipe=recipe, steps=200, batch_size=8, learning_rate=1e-2, architecture="bf-cnn[width=8,layers=4]"
    ).fit()
    # A noisy image at sigma = 0.3 has 10.46 dB.
    assert fitted.history[-1]["psnr@0.3"] > 14
    assert fitted.history[-1]["psnr@0.3"] > fitted.history[0]["psnr@0.3"] - 0.5
    assert fitted.steps == 200


def test_history_is_recorded_at_regular_steps():
    history = make(steps=30, validations=3).fit().history
    assert [row["step"] for row in history] == [10, 20, 30]
    assert {"step", "seconds", "loss", "psnr@0.1", "psnr@0.3"} == set(history[0])


def test_ema_is_an_exponential_moving_average():
    trainer = make(ema=0.5, steps=3)
    seen = []
    name = "middle.0.weight"
    for step in range(3):
        trainer.step(step, step / 3)
        seen.append(trainer.network.state_dict()[name].clone())
    # The first update copies; each later one halves the distance.
    expected = 0.5 * (0.5 * (seen[0] + seen[1])) + 0.5 * seen[2]
    assert torch.allclose(trainer.stored_network.state_dict()[name], expected, atol=1e-7)


def test_the_loss_has_the_weighting_of_its_recipe():
    """For the identity, the kl loss is E|z|^2/d = 1 at every noise level, and the paper loss is E sigma^2."""

    class Identity(nn.Module):
        def __init__(self, channels: int):
            super().__init__()
            self.scale = nn.Parameter(torch.ones(()))

        def forward(self, noisy, sigma):
            return self.scale * noisy

    # E u^4 = 1/5, E |z| = sqrt(2 / pi), E u^2 = 1/3
    absolute = (2 / math.pi) ** 0.5
    for recipe, loss, expected in (
        ("kl", "mse", 1.0), ("paper", "mse", 1 / 5), ("kl", "mae", absolute), ("paper", "mae", absolute / 3),
    ):  # fmt: skip
        trainer = make(recipe=recipe, loss=loss, batch_size=20_000, learning_rate=1e-9, steps=1)
        trainer.network = Identity(1)
        trainer._compiled = None
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


def test_sgd_is_gradient_descent_without_momentum():
    trainer = make(optimizer="sgd", learning_rate=0.5, warmup=0, clip=None, schedule="constant")
    for step in range(2):
        before = [parameter.detach().clone() for parameter in trainer.network.parameters()]
        trainer.step(step, step / 30)
        for old, parameter in zip(before, trainer.network.parameters(), strict=True):
            assert float(parameter.grad.norm()) > 0
            assert torch.allclose(parameter, old - 0.5 * parameter.grad, atol=1e-6)


def test_a_loss_that_is_not_finite_ends_the_fit(monkeypatch):
    monkeypatch.setattr(trainer_module, "REPORT_SECONDS", 0.0)
    trainer = make(clip=None)
    with torch.no_grad():
        next(trainer.network.parameters()).fill_(float("nan"))
    with pytest.raises(Diverged, match="learning_rate"):
        trainer.fit()


def test_a_network_that_returns_a_wrong_shape_is_rejected():
    trainer = make()
    trainer.network.forward = lambda noisy, sigma: noisy[:, :, :1]
    with pytest.raises(ValueError, match="returned shape"):
        trainer.fit()


def test_a_fit_ends_when_its_time_budget_is_spent():
    fitted = make(steps=None, seconds=0.5, allow_time_budget=True).fit()
    assert 0.5 <= fitted.seconds < 3
    assert fitted.steps > 1


def test_training_in_bfloat16_costs_no_psnr():
    """Evaluated in float32, bfloat16 training loses less than 0.1 dB on average, up to the error of six pairs of fits.

    Rounding makes two fits differ as much as two seeds, by about 0.3 dB in either direction, and differently on every
    processor. The mean of six pairs has a standard error of about 0.1 dB.
    """
    clean = gahbench.create("dataset", "discs", size=16).images("test", 32)

    def psnr(seed, bfloat16):
        trainer = make(
            acceleration=Acceleration(bfloat16, compiled=False),
            architecture="bf-cnn[width=8,layers=3]",
            seed=seed,
            steps=150,
            batch_size=8,
            learning_rate=1e-2,
            sigma_min=0.02,
            validations=1,
        )
        evaluation = Evaluation(Trained(trainer.fit().network), clean, (0.03, 0.1, 0.3))
        errors = [(evaluation.denoised(sigma) - clean).square().mean((1, 2, 3)) for sigma in evaluation.sigmas]
        return float(-10 * torch.stack(errors).log10().mean())

    full, half = ([psnr(seed, bfloat16) for seed in range(6)] for bfloat16 in (False, True))
    assert sum(full) / 6 > 20 + 2, full  # The noisy images have 20 dB on average.
    lost = torch.tensor(full) - torch.tensor(half)
    error = float(lost.std() / 6**0.5)
    assert error < 0.2, (full, half)
    assert float(lost.mean()) < 0.1 + 2 * error, (full, half)


def test_building_a_network_restores_the_global_generator():
    before = torch.random.get_rng_state()
    build = functools.partial(gahbench.create, "architecture", "unet[width=4,levels=1]")
    first = build_network(build, 5)
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.manual_seed(99)
    second = build_network(build, 5)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))


def test_kaiming_weights_have_the_expected_variance():
    build = functools.partial(gahbench.create, "architecture", "bf-cnn[width=64,layers=3]")
    network = build_network(build, 0, "kaiming")
    weight = network.layers[2].weight.detach()
    # The variance is 2 over the fan-in, 64 channels of 3x3 pixels.
    assert float(weight.var()) == pytest.approx(2 / 576, rel=0.05)
    own = build_network(build, 0)
    assert not torch.equal(own.layers[2].weight, weight)
