"""Networks are compiled for training only if their compiled gradients are right."""

import pytest
import torch
from global_state import changed_names, global_state
from small_fits import CPU, PLAIN, make, weights
from torch import nn

from gahbench.devices.hardware import hardware
from gahbench.training.fit_checks import WatchedFit
from gahbench.training.hardware import Acceleration, wrong_gradients
from gahbench.training.recipe import Training

COMPILED, GRAPHS = Acceleration(False, compiled=True), Acceleration(False, compiled=True, graphs=True)


def gradients(**values):
    return {name: torch.tensor(value) for name, value in values.items()}


def test_gradients_that_are_missing_reversed_or_not_finite_are_wrong():
    exact = gradients(a=[1.0, 2.0], b=[3.0], c=[0.5], d=[4.0], e=[0.25])
    rounded = gradients(a=[1.01, 2.0], b=[2.99], c=[0.5], d=[4.0], e=[0.25])
    assert wrong_gradients(exact, rounded, rounded) == []
    compiled = gradients(a=[1.0, 2.01], b=[0.0], c=[-0.5], d=[float("nan")])
    assert wrong_gradients(exact, rounded, compiled) == ["b", "c", "d", "e"]


def test_gradients_with_only_rounding_error_are_not_wrong():
    exact, rounded = gradients(bias=[1e-7], weight=[1.0]), gradients(bias=[-2e-3], weight=[1.001])
    assert wrong_gradients(exact, rounded, gradients(bias=[3e-3], weight=[1.0])) == []
    assert wrong_gradients(exact, exact, gradients(bias=[-1e-7], weight=[1.0])) == []
    assert wrong_gradients(exact, rounded, gradients(bias=[3e-2], weight=[1.0])) == ["bias"]


class WithoutSecondGradient(nn.Module):
    """A network whose second layer gets no gradient."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, noisy, sigma):
        second = self.network.hidden[0]
        before, second.weight.requires_grad = second.weight.requires_grad, False
        try:
            return self.network(noisy, sigma)
        finally:
            second.weight.requires_grad = before


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


@pytest.mark.parametrize("loses", [True, False])
def test_a_compiler_that_loses_gradients_is_turned_off_without_other_changes(monkeypatch, loses):
    plain = make(network=Layers, steps=5).fit()
    monkeypatch.setattr(torch, "compile", lambda network, mode: WithoutSecondGradient(network) if loses else network)
    fitted = make(network=Layers, steps=5, acceleration=COMPILED).fit()
    note = "not compiled: its gradients of 1 of 8 parameters, hidden.0.weight first, are wrong"
    assert fitted.acceleration.notes == ((note,) if loses else ())
    assert fitted.acceleration.compiled is not loses
    assert torch.equal(weights(fitted), weights(plain))


@pytest.fixture(params=["aot_eager", pytest.param("inductor", marks=pytest.mark.slow)])
def compiler(request, monkeypatch):
    """Compile by torch's default compiler, which takes long, or only trace the network and its gradients.

    Skip tests if there is no compiler, and skip the compiler's slow test of vector instructions.
    """
    from torch._inductor import config

    torch.compiler.reset()
    if request.param == "aot_eager":
        compile_network = torch.compile
        monkeypatch.setattr(torch, "compile", lambda network, mode: compile_network(network, backend="aot_eager"))
        yield request.param
        return
    if reason := hardware(CPU).compiler_missing:
        pytest.skip(reason)
    with config.patch({"cpp.vec_isa_ok": True}):
        yield request.param


@pytest.mark.usefixtures("compiler")
def test_a_compiled_step_has_the_loss_of_an_eager_step():
    losses = []
    # On a CPU the compiler ignores the request for CUDA graphs.
    for acceleration in (PLAIN, COMPILED, GRAPHS):
        torch.compiler.reset()
        trainer = make(acceleration=acceleration, network=Layers)
        losses.append([float(trainer.step(step, step / 30)) for step in range(4)])
        assert trainer.acceleration == acceleration
    assert losses[1] == pytest.approx(losses[0], rel=1e-3)
    assert losses[2] == losses[1]


@pytest.mark.usefixtures("compiler")
def test_compiled_fits_restore_process_state_and_are_not_flagged():
    """Fit twice, because the compiler must also work after the state was restored."""
    watched = WatchedFit(Layers, Training(batch_size=4), 0)
    for _ in range(2):
        torch.compiler.reset()
        before = global_state()
        fitted = make(acceleration=COMPILED, network=watched.build, steps=2).fit()
        assert fitted.acceleration.compiled
        assert changed_names(before) == []
    assert watched.flags((1, 16, 16), CPU) == []


@pytest.mark.usefixtures("compiler")
def test_all_layers_of_a_network_compiled_in_bfloat16_learn():
    """The compiler of torch 2.13 silently loses gradients behind ``interpolate`` on CPUs in batches of 32."""
    trainer = make(acceleration=Acceleration(True, compiled=True), network=Layers, batch_size=32)
    before = [value.clone() for value in trainer.network.parameters()]
    trainer.step(0, 0.5)
    assert trainer.acceleration == Acceleration(True, compiled=True)
    assert all(bool((old != new).any()) for old, new in zip(before, trainer.network.parameters(), strict=True))
