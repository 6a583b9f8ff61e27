import copy

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from gahbench.training.average import RunningAverage


class WithBuffers(nn.Module):
    """A layer, a normalisation, an integer and an infinite buffer, and a running value that is replaced."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 2)
        self.norm = nn.BatchNorm1d(2)
        self.register_buffer("indices", torch.arange(225))
        self.register_buffer("mask", torch.tensor([0.1, -torch.inf]))
        self.register_buffer("running", torch.zeros(2, 3))


def perturb(network, generator):
    with torch.no_grad():
        for value in [*network.parameters(), *network.buffers()]:
            if value.is_floating_point() and value.isfinite().all():
                value.add_(torch.randn(value.shape, generator=generator))
        network.running = network.running + torch.randn(2, 3, generator=generator)


def test_averages_equal_those_of_torch_continue_from_their_state_and_leave_other_values():
    torch.manual_seed(0)
    network, generator = WithBuffers(), torch.Generator().manual_seed(1)
    ours = RunningAverage(network, 100, 0.7)
    theirs = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(0.7), use_buffers=True)
    for _ in range(4):
        perturb(network, generator)
        continued = RunningAverage(network, 100, 0.7)
        continued.load_state_dict(ours.state_dict())
        theirs.update_parameters(network)
        expected = {**theirs.module.state_dict(), "indices": network.indices, "mask": network.mask}
        own = copy.deepcopy(network.state_dict())
        for average in (ours, continued):
            average.update()
            with average.apply():
                assert all(torch.equal(value, expected[name]) for name, value in network.state_dict().items())
            assert all(torch.equal(value, own[name]) for name, value in network.state_dict().items())


def test_buffers_are_averaged_over_all_steps_at_first_and_about_200_later():
    network, generator = WithBuffers(), torch.Generator().manual_seed(0)
    weight, average, seen = network.layer.weight.detach().clone(), RunningAverage(network, 10**6), []
    for step in range(1, 1001):
        network.running = torch.randn(2, 3, generator=generator) + 5
        network.layer.weight.data.add_(1.0)
        seen.append(network.running.clone())
        average.update()
        if step in (1, 30, 100):
            with average.apply():
                torch.testing.assert_close(network.running, torch.stack(seen).mean(0))
            assert torch.equal(network.running, seen[-1])
    average.write()
    # The variance of an exponential average of weight w is w / (2 - w) times the variance of the values.
    assert (network.running - 5).abs().max() < 4 / 199**0.5
    torch.testing.assert_close(network.layer.weight.detach(), weight + 1000)
    assert torch.equal(network.mask, torch.tensor([0.1, -torch.inf]))
    assert torch.equal(network.indices, torch.arange(225))


def test_buffers_of_a_short_fit_are_averaged_over_its_last_tenth():
    """Statistics of earlier steps belong to weights that have changed since."""
    network = WithBuffers()
    short, long = RunningAverage(network, 100), RunningAverage(network, 100_000)
    for step in range(100):
        network.running = torch.full((2, 3), float(step))
        short.update()
        long.update()
    # An exponential average of weight w lags behind by (1 - w) / w steps; w is 0.2 for a fit of 100 steps.
    for average, expected in ((short, 99 - 4), (long, 49.5)):
        average.write()
        assert float(network.running[0, 0]) == pytest.approx(expected, abs=0.1)
