"""Precision and compilation of a fit follow from timed steps, and networks are compiled only with right gradients."""

import copy
import itertools
import time

import pytest
import torch
from small_fits import CPU, PLAIN, checkpoints_of, make, weights
from torch import nn

import gahbench
from gahbench.devices.hardware import Hardware, hardware
from gahbench.training.hardware import SHARE_OF_PEAK, Acceleration, autotune, eager_rate, wrong_gradients
from gahbench.training.recipe import Training

COMPILED = Acceleration(False, compiled=True)


@pytest.fixture(autouse=True)
def _can_everything(monkeypatch):
    monkeypatch.setattr(Hardware, "has_bfloat16", True)


class Timed(nn.Conv2d):
    """A network whose passes advance a clock by seconds for a batch, or ``gain`` times less in bfloat16."""

    clock, passes = 0.0, 0

    def __init__(self, seconds, gain, batch=32):
        super().__init__(1, 1, 1)
        self.seconds, self.gain = seconds / batch, gain

    def forward(self, noisy, sigma):
        # One of the passes after the warm-up is slow.
        Timed.passes += 1
        Timed.clock += 5.0 if Timed.passes in (3, 7) else self.seconds * len(noisy)
        if torch.is_autocast_enabled("cpu"):
            Timed.clock -= self.seconds * len(noisy) * (1 - 1 / self.gain)
        return super().forward(noisy)


@pytest.fixture
def _clock(monkeypatch):
    monkeypatch.setattr(Timed, "clock", 0.0)
    monkeypatch.setattr(Timed, "passes", 0)
    monkeypatch.setattr(time, "perf_counter", lambda: Timed.clock)


def autotuned(network=None, steps=1000, **settings):
    network = gahbench.create("architecture", "bf-cnn[width=2,layers=3]") if network is None else network
    training = Training.model_validate({"batch_size": 32, "steps": steps, **settings})
    return autotune(network, (1, 16, 16), training, steps, CPU)


@pytest.mark.parametrize(
    ("step", "gain", "settings", "precision", "compiled"),
    [
        (0.05, 3.0, {}, "float32", False),
        (0.1, 1.14, {}, "float32", False),
        (0.1, 1.16, {}, "bfloat16", False),
        # The network fails in bfloat16.
        (0.1, 0.0, {}, "float32", False),
        (0.1, 3.0, {}, "bfloat16", False),
        (2.0, 0.7, {}, "float32", True),
        (2.0, 3.0, {}, "bfloat16", True),
        # bfloat16 alone makes the fit so short that it is not compiled.
        (1.0, 3.0, {}, "bfloat16", False),
        (1.0, 1.0, {}, "float32", True),
        (1.0, 1.0, {"compile": "never"}, "float32", False),
        (1.0, 3.0, {"precision": "float32"}, "float32", True),
        (0.1, 3.0, {"precision": "float32"}, "float32", False),
        (60.0, 2.0, {"steps": 100, "batch_size": 512, "compile": "never"}, "bfloat16", False),
        (9e9, 3.0, {"steps": 10}, "float32", False),
    ],
)
@pytest.mark.usefixtures("_clock")
def test_precision_and_compilation_follow_from_the_measured_step(
    monkeypatch, step, gain, settings, precision, compiled
):
    monkeypatch.setattr(Hardware, "compiler_missing", None)
    acceleration = autotuned(Timed(step, gain, settings.get("batch_size", 32)), **settings)
    assert (acceleration.precision, acceleration.compiled, acceleration.notes) == (precision, compiled, ())
    # Few steps are not timed, and bfloat16 is not tried if float32 takes less than a minute.
    assert Timed.passes <= (0 if settings.get("steps") == 10 else 4 if step == 0.05 else 8)


def test_timing_changes_neither_the_network_nor_the_random_state():
    network = gahbench.create("architecture", "bf-cnn[width=2,layers=3]")
    before, state = copy.deepcopy(network.state_dict()), torch.random.get_rng_state()
    assert autotuned(network) == PLAIN
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert all(parameter.grad is None for parameter in network.parameters())


@pytest.mark.usefixtures("_clock")
def test_what_is_not_possible_is_noted(monkeypatch):
    class Picky(nn.Conv2d):
        def __deepcopy__(self, memo):
            raise RuntimeError("only graph leaves can be copied")

    (note,) = autotuned(Picky(1, 1, 1)).notes
    assert "only graph leaves" in note
    monkeypatch.setattr(Hardware, "has_bfloat16", False)
    assert autotuned(Timed(0.1, 3.0)) == PLAIN
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CXX", raising=False)
    chosen = autotuned(compile="always", precision="bfloat16")
    assert (chosen.precision, chosen.compiled) == ("bfloat16", False)
    assert "only emulates it" in chosen.notes[0]
    assert "no C++ compiler" in chosen.notes[1]


def test_a_fit_resumes_in_the_precision_of_its_checkpoint(tmp_path):
    checkpoints = checkpoints_of(tmp_path / "fit")
    make(checkpoints, Acceleration(True, False), steps=3)._checkpoint()
    trainer = make(checkpoints, steps=3)
    trainer.fit()
    assert trainer.acceleration == Acceleration(True, False)


def gradients(**values):
    return {name: torch.tensor(value) for name, value in values.items()}


def test_gradients_that_are_missing_reversed_or_not_finite_are_wrong():
    exact = gradients(a=[1.0, 2.0], b=[3.0], c=[0.5], d=[4.0], e=[0.25])
    rounded = gradients(a=[1.01, 2.0], b=[2.99], c=[0.5], d=[4.0], e=[0.25])
    assert wrong_gradients(exact, rounded, rounded) == []
    compiled = gradients(a=[1.0, 2.01], b=[0.0], c=[-0.5], d=[float("nan")])
    assert wrong_gradients(exact, rounded, compiled) == ["b", "c", "d", "e"]

    # Gradients with only rounding error are not wrong.
    exact, rounded = gradients(bias=[1e-7], weight=[1.0]), gradients(bias=[-2e-3], weight=[1.001])
    assert wrong_gradients(exact, rounded, gradients(bias=[3e-3], weight=[1.0])) == []
    assert wrong_gradients(exact, exact, gradients(bias=[-1e-7], weight=[1.0])) == []
    assert wrong_gradients(exact, rounded, gradients(bias=[3e-2], weight=[1.0])) == ["bias"]


class Layers(nn.Module):
    """Three convolutions, the second at half the resolution and with batch normalisation."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(1, 4, 3, padding=1)
        self.hidden = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4))
        self.last = nn.Conv2d(4, 1, 3, padding=1)

    def forward(self, noisy, sigma):
        inner = self.hidden(self.first(noisy).relu()[:, :, ::2, ::2]).relu()
        return noisy - self.last(inner.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3))


def lose_a_gradient(network):
    """Return a network whose second layer gets no gradient."""

    def forward(noisy, sigma):
        weight = network.hidden[0].weight.requires_grad_(False)
        try:
            return network(noisy, sigma)
        finally:
            weight.requires_grad_(True)

    return forward


def fail(network):
    def forward(noisy, sigma):
        raise torch._dynamo.exc.TorchDynamoException("cannot\nbe compiled")

    return forward


@pytest.mark.parametrize(
    ("compiler", "reason"),
    [(lambda network: network, None), (lose_a_gradient, "hidden.0.weight"), (fail, "cannot")],
    ids=["right", "wrong", "failing"],
)
def test_a_compiler_that_fails_or_loses_gradients_is_turned_off_without_other_changes(monkeypatch, compiler, reason):
    plain = make(network=Layers, steps=5).fit()
    monkeypatch.setattr(torch, "compile", lambda network, mode: compiler(network))
    trainer = make(network=Layers, steps=5, acceleration=COMPILED)
    assert torch.equal(weights(trainer.fit()), weights(plain))
    assert trainer.acceleration.compiled is (reason is None)
    assert all(reason in note for note in trainer.acceleration.notes)
    assert len(trainer.acceleration.notes) == (reason is not None)


def test_an_error_of_the_network_itself_is_raised(monkeypatch):
    monkeypatch.setattr(torch, "compile", lambda network, mode: network)
    for acceleration in (PLAIN, COMPILED):
        trainer = make(acceleration=acceleration)
        trainer.network.forward = fail(trainer.network)
        with pytest.raises(RuntimeError, match="be compiled"):
            trainer.fit()


@pytest.mark.parametrize("backend", ["aot_eager", pytest.param("inductor", marks=pytest.mark.slow)])
def test_steps_that_are_compiled_or_in_bfloat16_have_the_losses_of_plain_steps_and_all_layers_learn(
    monkeypatch, backend
):
    """The compiler of torch 2.13 silently loses gradients behind ``interpolate`` on CPUs in batches of 32."""
    if backend == "inductor" and (reason := hardware(CPU).compiler_missing):
        pytest.skip(reason)
    torch.compiler.reset()
    compile_network, losses = torch.compile, []
    monkeypatch.setattr(torch, "compile", lambda network, mode: compile_network(network, backend=backend))
    for bfloat16, compiled in itertools.product((False, True), repeat=2):
        trainer = make(acceleration=Acceleration(bfloat16, compiled), network=Layers, batch_size=32)
        before = [value.clone() for value in trainer.network.parameters()]
        losses.append([float(trainer.step(step, step / 30)) for step in range(3)])
        assert trainer.acceleration == Acceleration(bfloat16, compiled)
        assert all(bool((old != new).any()) for old, new in zip(before, trainer.network.parameters(), strict=True))
        assert losses[-1] == pytest.approx(losses[0], rel=2e-2 if bfloat16 else 1e-3)


def test_the_rate_of_training_is_a_share_of_that_of_the_fastest_of_several_matrix_products(monkeypatch):
    monkeypatch.setattr("timeit.repeat", lambda run, repeat, number: [0.5, 0.25, 0.4])
    assert eager_rate(torch.device("cpu"), 1) == SHARE_OF_PEAK * 1024**3 / 0.25
