"""Compiled networks are trained only where their gradients are those of the network."""

import pytest
import torch
from small_fits import CPU, PLAIN, make, weights
from torch import nn

from gahbench.devices.hardware import hardware
from gahbench.training.hardware import Acceleration, wrong_gradients


def gradients(**values):
    return {name: torch.tensor(value) for name, value in values.items()}


def test_gradients_that_are_lost_turned_or_not_finite_are_wrong():
    exact = gradients(one=[1.0, 2.0], two=[3.0], three=[0.5], four=[4.0], five=[0.25])
    rounded = gradients(one=[1.01, 2.0], two=[2.99], three=[0.5], four=[4.0], five=[0.25])
    assert wrong_gradients(exact, rounded, rounded) == []
    compiled = gradients(one=[1.0, 2.01], two=[0.0], three=[-0.5], four=[float("nan")])
    assert wrong_gradients(exact, rounded, compiled) == ["two", "three", "four", "five"]


def test_gradients_that_are_rounding_alone_are_not_compared():
    exact, rounded = gradients(bias=[1e-7], weight=[1.0]), gradients(bias=[-2e-3], weight=[1.001])
    assert wrong_gradients(exact, rounded, gradients(bias=[3e-3], weight=[1.0])) == []
    assert wrong_gradients(exact, exact, gradients(bias=[-1e-7], weight=[1.0])) == []
    assert wrong_gradients(exact, rounded, gradients(bias=[3e-2], weight=[1.0])) == ["bias"]


class Losing(nn.Module):
    """A network whose second layer gets no gradient."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, noisy, sigma):
        second = self.network.hidden[0]
        kept, second.weight.requires_grad = second.weight.requires_grad, False
        try:
            return self.network(noisy, sigma)
        finally:
            second.weight.requires_grad = kept


class Layers(nn.Module):
    """Three convolutions, the second normalised, so that there are statistics too."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(1, 4, 3, padding=1)
        self.hidden = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4))
        self.last = nn.Conv2d(4, 1, 3, padding=1)

    def forward(self, noisy, sigma):
        return noisy - self.last(self.hidden(self.first(noisy).relu()).relu())


def test_a_compiler_that_loses_gradients_is_done_without_and_nothing_else_changes(monkeypatch):
    plain = make(network=Layers, steps=5).fit()
    monkeypatch.setattr(torch, "compile", lambda network, mode: Losing(network))
    fitted = make(network=Layers, steps=5, acceleration=Acceleration(False, compiled=True)).fit()
    (note,) = fitted.acceleration.notes
    assert note == "not compiled: its gradients of 1 of 8 parameters, hidden.0.weight first, are wrong"
    assert not fitted.acceleration.compiled
    assert torch.equal(weights(fitted), weights(plain))


def test_a_compiler_that_keeps_them_changes_nothing_either(monkeypatch):
    plain = make(network=Layers, steps=5).fit()
    monkeypatch.setattr(torch, "compile", lambda network, mode: network)
    fitted = make(network=Layers, steps=5, acceleration=Acceleration(False, compiled=True)).fit()
    assert fitted.acceleration.compiled
    assert torch.equal(weights(fitted), weights(plain))


@pytest.mark.skipif(hardware(CPU).compiler_missing is not None, reason="no compiler here")
def test_all_layers_of_a_network_that_is_compiled_in_bfloat16_learn():
    """In batches of 32 the compiler of torch 2.13 loses gradients behind ``interpolate`` on CPUs, in silence."""
    torch.compiler.reset()
    given = {"architecture": "unet-conditional[width=8,levels=2]", "batch_size": 32, "initialisation": "kaiming"}
    found = []
    for acceleration in (PLAIN, Acceleration(True, compiled=True)):
        trainer = make(acceleration=acceleration, **given)
        before = [value.clone() for value in trainer.network.parameters()]
        trainer.step(0, 0.5)
        moves = zip(before, trainer.network.parameters(), strict=True)
        found.append(sum(bool((one != other).any()) for one, other in moves))
    assert found[0] == found[1] == len(before)
