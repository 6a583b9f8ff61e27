import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from gahbench.training.average import RunningAverage


class Counting(nn.Module):
    """A layer, a normalisation with running statistics and an integer count, and an integer buffer of its own."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 2)
        self.norm = nn.BatchNorm1d(2)
        self.register_buffer("large", torch.tensor([1000]))


def moved(network, generator):
    with torch.no_grad():
        for value in [*network.parameters(), *network.buffers()]:
            if value.is_floating_point():
                value.add_(torch.randn(value.shape, generator=generator))
            else:
                value.add_(10)


def test_it_is_the_average_of_torch_to_the_last_digit():
    torch.manual_seed(0)
    network = Counting()
    ours = RunningAverage(network, 0.7)
    theirs = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(0.7), use_buffers=True)
    generator = torch.Generator().manual_seed(1)
    for _ in range(4):
        moved(network, generator)
        ours.update(network)
        theirs.update_parameters(network)
        expected = theirs.module.state_dict()
        assert all(torch.equal(value, expected[name]) for name, value in ours.network.state_dict().items())
    assert not torch.equal(ours.network.layer.weight, network.layer.weight)


def test_the_first_update_copies():
    network = nn.Linear(2, 2)
    average = RunningAverage(network, 0.9)
    moved(network, torch.Generator().manual_seed(0))
    average.update(network)
    assert torch.equal(average.network.weight, network.weight)


@pytest.mark.parametrize("updates", [0, 2])
def test_it_goes_on_from_its_state(updates):
    network = nn.Linear(2, 2)
    generator = torch.Generator().manual_seed(0)
    average = RunningAverage(network, 0.9)
    for _ in range(updates):
        moved(network, generator)
        average.update(network)
    other = RunningAverage(nn.Linear(2, 2), 0.9)
    other.load_state_dict(average.state_dict())
    moved(network, generator)
    for each in (average, other):
        each.update(network)
    assert torch.equal(other.network.weight, average.network.weight)
