import functools

import pytest
import torch
from torch import nn

import gahbench
from gahbench.evaluation.evaluation import Evaluation
from gahbench.networks.initialisation import build_network
from gahbench.networks.trained import Trained
from gahbench.training import trainer as trainer_module
from gahbench.training.checkpoint import read
from gahbench.training.hardware import Acceleration, choose, compiler_missing, multiply_adds, nominal_rate
from gahbench.training.recipe import Training
from gahbench.training.trainer import Diverged, Stopped, Trainer

PLAIN = Acceleration(bfloat16=False, compiled=False)
CPU = torch.device("cpu")


def make(checkpoint=None, acceleration=PLAIN, seed=0, architecture="unet[width=4,levels=1]", **given):
    training = Training.model_validate({"steps": 30, "batch_size": 4, "compile": "never", "validations": 3, **given})
    dataset = gahbench.create("dataset", "discs", size=16)
    build = functools.partial(gahbench.create, "architecture", architecture)
    network = build_network(build, seed, training.initialisation, training.weights_stream)
    return Trainer(network, dataset, training, seed, acceleration, (0.1, 0.3), CPU, checkpoint)


def weights(fitted):
    return weights_of(fitted.network)


def weights_of(network):
    return torch.cat([value.flatten() for value in network.state_dict().values()])


class StopAfter:
    def __init__(self, steps):
        self.left = steps

    def __call__(self):
        self.left -= 1
        return self.left <= 0


@pytest.mark.parametrize("given", [{}, {"ema": 0.9}, {"recipe": "paper", "optimizer": "adamw", "weight_decay": 0.1}])
def test_a_fit_that_was_cut_off_ends_as_one_that_was_not(tmp_path, given):
    whole = make(**given).fit()
    path = tmp_path / "checkpoint.pt"
    for steps in (7, 5):
        trainer = make(path, **given)
        trainer.should_stop = StopAfter(steps)
        with pytest.raises(Stopped):
            trainer.fit()
    resumed = make(path, **given).fit()
    assert torch.equal(weights(resumed), weights(whole))
    assert [(row["step"], row["loss"], row["psnr@0.1"]) for row in resumed.history] == [
        (row["step"], row["loss"], row["psnr@0.1"]) for row in whole.history
    ]


def test_snapshots_of_a_fit_that_was_cut_off_are_those_of_one_that_was_not(tmp_path):
    def fit(trainer, kept):
        trainer.keep_snapshot = lambda step, network: kept.update({step: weights_of(network)})
        return trainer.fit()

    whole, resumed = {}, {}
    fit(make(snapshots=6), whole)
    assert list(whole) == [1, 2, 4, 8, 15, 30]
    path = tmp_path / "checkpoint.pt"
    # Once just after a snapshot was due, and once between two.
    for steps in (4, 7):
        trainer = make(path, snapshots=6)
        trainer.should_stop = StopAfter(steps)
        with pytest.raises(Stopped):
            fit(trainer, resumed)
    fit(make(path, snapshots=6), resumed)
    assert list(resumed) == list(whole)
    assert all(torch.equal(resumed[step], whole[step]) for step in whole)


def test_a_damaged_checkpoint_costs_time_only(tmp_path):
    path = tmp_path / "checkpoint.pt"
    path.write_bytes(b"not a checkpoint")
    assert torch.equal(weights(make(path).fit()), weights(make().fit()))
    assert read(path) is None


class Dropout(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Conv2d(1, 1, 3, padding=1)

    def forward(self, noisy, sigma):
        return noisy - nn.functional.dropout(self.layer(noisy), 0.5, self.training)


def test_what_a_network_draws_depends_on_the_step_alone():
    def weight(disturb):
        trainer = make()
        torch.manual_seed(0)
        trainer.network = Dropout()
        trainer.optimizer = torch.optim.SGD(trainer.network.parameters(), lr=0.1)
        for step in range(3):
            torch.rand(disturb)
            trainer.step(step, step / 30)
        return trainer.network.layer.weight.detach()

    assert torch.equal(weight(0), weight(5))


def test_seeds_decide_everything():
    assert torch.equal(weights(make(seed=1).fit()), weights(make(seed=1).fit()))
    assert not torch.equal(weights(make(seed=1).fit()), weights(make(seed=2).fit()))


@pytest.mark.parametrize("recipe", ["kl", "paper"])
def test_both_recipes_learn(recipe):
    fitted = make(
        recipe=recipe, steps=300, batch_size=16, learning_rate=5e-3, architecture="unet[width=8,levels=2]"
    ).fit()
    # A noisy image at sigma = 0.3 has 10.46 dB.
    assert fitted.history[-1]["psnr@0.3"] > 14
    assert fitted.history[-1]["psnr@0.3"] > fitted.history[0]["psnr@0.3"] - 0.5
    assert fitted.steps == 300


def test_history_is_regular():
    history = make(steps=30, validations=3).fit().history
    assert [row["step"] for row in history] == [10, 20, 30]
    assert {"step", "seconds", "loss", "psnr@0.1", "psnr@0.3"} == set(history[0])


def test_the_average_is_the_exponential_one():
    trainer = make(ema=0.5, steps=3)
    seen = []
    name = "middle.0.weight"
    for step in range(3):
        trainer.step(step, step / 3)
        seen.append(trainer.network.state_dict()[name].clone())
    # The first update copies; each later one halves the distance.
    expected = 0.5 * (0.5 * (seen[0] + seen[1])) + 0.5 * seen[2]
    assert torch.allclose(trainer.kept.state_dict()[name], expected, atol=1e-7)


def test_the_loss_is_the_mean_over_sigma_squared():
    """At the identity the kl loss is E|z|^2/d = 1 whatever the noise level, and the paper's is E sigma^2."""

    class Identity(nn.Module):
        def __init__(self, channels: int):
            super().__init__()
            self.scale = nn.Parameter(torch.ones(()))

        def forward(self, noisy, sigma):
            return self.scale * noisy

    for recipe, expected in (("kl", 1.0), ("paper", 1 / 5)):  # E u^4 = 1/5
        trainer = make(recipe=recipe, batch_size=20_000, learning_rate=1e-9, steps=1)
        trainer.network = Identity(1)
        trainer._compiled = None
        assert float(trainer.step(0, 0.0)) == pytest.approx(expected, rel=0.02)


def test_a_loss_that_is_no_number_ends_the_fit(monkeypatch):
    monkeypatch.setattr(trainer_module, "REPORT_SECONDS", 0.0)
    trainer = make(clip=None)
    with torch.no_grad():
        next(trainer.network.parameters()).fill_(float("nan"))
    with pytest.raises(Diverged, match="learning_rate"):
        trainer.fit()


def test_a_network_that_returns_another_shape_is_refused():
    trainer = make()
    trainer.network.forward = lambda noisy, sigma: noisy[:, :, :1]
    with pytest.raises(ValueError, match="returned shape"):
        trainer.fit()


def test_a_time_budget_is_kept():
    fitted = make(steps=None, seconds=0.5, allow_time_budget=True).fit()
    assert 0.5 <= fitted.seconds < 3
    assert fitted.steps > 1


def test_bfloat16_loses_no_psnr():
    """Trained alike and evaluated in float32, it loses less than 0.1 dB on average, within the error of six pairs.

    Rounding makes two fits drift apart like another seed would, by some 0.3 dB either way, and differently on every
    processor: the mean of six pairs is known to about 0.1 dB.
    """
    clean = gahbench.create("dataset", "discs", size=16).images("test", 64)

    def psnr(seed, bfloat16):
        trainer = make(
            acceleration=Acceleration(bfloat16, compiled=False),
            architecture="bf-cnn[width=8,layers=4]",
            seed=seed,
            steps=300,
            batch_size=16,
            learning_rate=5e-3,
            sigma_min=0.02,
        )
        evaluation = Evaluation(Trained(trainer.fit().network), clean, (0.03, 0.1, 0.3))
        errors = [(evaluation.denoised(sigma) - clean).square().mean((1, 2, 3)) for sigma in evaluation.sigmas]
        return float(-10 * torch.stack(errors).log10().mean())

    full, half = ([psnr(seed, bfloat16) for seed in range(6)] for bfloat16 in (False, True))
    assert sum(full) / 6 > 20 + 2, full  # They did learn: the noisy images have 20 dB on average.
    lost = torch.tensor(full) - torch.tensor(half)
    error = float(lost.std() / 6**0.5)
    assert error < 0.2, (full, half)
    assert float(lost.mean()) < 0.1 + 2 * error, (full, half)


def test_long_fits_are_compiled_and_short_ones_are_not(monkeypatch):
    training = Training.model_validate({"precision": "float32"})
    minute = 60 * nominal_rate(CPU, False, 1)
    monkeypatch.setattr("gahbench.training.hardware.compiler_missing", lambda device: None)
    assert not choose(training, minute, CPU, 1).compiled
    assert choose(training, 60 * minute, CPU, 1).compiled
    # The same work on more threads is a shorter fit.
    assert not choose(training, 10 * minute, CPU, 8).compiled
    never = Training.model_validate({"compile": "never"})
    assert not choose(never, 1e30, CPU, 1).compiled


def test_without_a_compiler_there_is_a_note(monkeypatch):
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CXX", raising=False)
    chosen = choose(Training.model_validate({"compile": "always"}), 0.0, CPU, 1)
    assert not chosen.compiled
    assert "no C++ compiler" in chosen.notes[0]


def test_a_compiler_that_fails_is_done_without(monkeypatch):
    def broken(network):
        def call(noisy, sigma):
            raise torch._dynamo.exc.TorchDynamoException("cannot\nbe compiled")

        return call

    monkeypatch.setattr(torch, "compile", broken)
    fitted = make(acceleration=Acceleration(False, compiled=True), steps=3).fit()
    assert not fitted.acceleration.compiled
    assert "not compiled: cannot" in fitted.acceleration.notes[0]
    assert fitted.steps == 3


@pytest.mark.skipif(compiler_missing(CPU) is not None, reason="no compiler here")
def test_a_compiled_step_is_the_eager_step():
    losses = []
    for compiled in (False, True):
        trainer = make(acceleration=Acceleration(False, compiled), architecture="bf-cnn[width=4,layers=3]")
        losses.append([float(trainer.step(step, step / 30)) for step in range(4)])
    assert losses[1] == pytest.approx(losses[0], rel=1e-3)


def test_multiply_adds_are_counted():
    with torch.device("meta"):
        network = gahbench.create("architecture", "bf-cnn[width=4,layers=3]")
    assert multiply_adds(network.eval(), (1, 10, 12)) == 9 * (4 + 16 + 4) * 120


def test_building_leaves_the_global_generator_alone():
    before = torch.random.get_rng_state()
    build = functools.partial(gahbench.create, "architecture", "unet[width=4,levels=1]")
    one = build_network(build, 5)
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.manual_seed(99)
    other = build_network(build, 5)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


def test_kaiming_has_its_variance():
    build = functools.partial(gahbench.create, "architecture", "bf-cnn[width=64,layers=3]")
    network = build_network(build, 0, "kaiming")
    weight = network.layers[2].weight.detach()
    # 2 over the fan-in of 64 channels of 3x3.
    assert float(weight.var()) == pytest.approx(2 / 576, rel=0.05)
    own = build_network(build, 0)
    assert not torch.equal(own.layers[2].weight, weight)
