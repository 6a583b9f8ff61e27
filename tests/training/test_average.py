import pytest
import torch
from small_fits import make
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from gahbench.training.average import AverageStatistics, RunningAverage


class WithBuffers(nn.Module):
    """A layer, a normalisation with running statistics, an integer buffer and an infinite buffer."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 2)
        self.norm = nn.BatchNorm1d(2)
        self.register_buffer("indices", torch.arange(225))
        self.register_buffer("mask", torch.tensor([0.0, -torch.inf]))


def perturb(network, generator):
    with torch.no_grad():
        for value in [*network.parameters(), *network.buffers()]:
            if value.is_floating_point() and value.isfinite().all():
                value.add_(torch.randn(value.shape, generator=generator))


def test_averages_equal_those_of_torch_and_other_buffers_are_copied():
    torch.manual_seed(0)
    network = WithBuffers()
    ours = RunningAverage(network, 0.7)
    theirs = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(0.7), use_buffers=True)
    generator = torch.Generator().manual_seed(1)
    for _ in range(4):
        perturb(network, generator)
        ours.update(network)
        theirs.update_parameters(network)
        expected = theirs.module.state_dict()
        averages = ours.network.state_dict()
        assert all(torch.equal(averages[name], expected[name]) for name in averages if name not in ("indices", "mask"))
        for buffer in ("indices", "mask"):
            assert torch.equal(averages[buffer], network.get_buffer(buffer))
    assert not torch.equal(ours.network.layer.weight, network.layer.weight)


@pytest.mark.parametrize("updates", [0, 2])
def test_a_running_average_continues_from_its_saved_state(updates):
    network = nn.Linear(2, 2)
    generator = torch.Generator().manual_seed(0)
    average = RunningAverage(network, 0.9)
    for _ in range(updates):
        perturb(network, generator)
        average.update(network)
    other = RunningAverage(nn.Linear(2, 2), 0.9)
    other.load_state_dict(average.state_dict())
    perturb(network, generator)
    for running_average in (average, other):
        running_average.update(network)
    assert torch.equal(other.network.weight, average.network.weight)


class Statistics(nn.Module):
    """A running value that is replaced, not changed in place, and constant values, one of them infinite."""

    def __init__(self):
        super().__init__()
        self.register_buffer("running", torch.zeros(2, 3))
        self.register_buffer("fixed", torch.tensor([0.1, -torch.inf]))
        self.register_buffer("large", torch.tensor([1000]))


def test_statistics_average_all_steps_at_first_and_about_200_later():
    network, generator = Statistics(), torch.Generator().manual_seed(0)
    statistics, seen = AverageStatistics(network), []
    for step in range(1, 1001):
        network.running = torch.randn(2, 3, generator=generator, dtype=torch.float32) + 5
        seen.append(network.running.clone())
        statistics.update()
        if step in (1, 30, 100):
            with statistics.apply():
                torch.testing.assert_close(network.running, torch.stack(seen).mean(0))
            assert torch.equal(network.running, seen[-1])
    statistics.write()
    # The variance of an exponential average of weight w is w / (2 - w) times the variance of the values.
    assert (network.running - 5).abs().max() < 4 / 199**0.5
    assert torch.equal(network.fixed, torch.tensor([0.1, -torch.inf]))
    assert network.large.item() == 1000


def test_statistics_of_a_short_fit_average_its_last_tenth():
    """Statistics of earlier steps belong to weights that have changed since."""
    network = Statistics()
    statistics, long = AverageStatistics(network, 100), AverageStatistics(network, 100_000)
    for step in range(100):
        network.running = torch.full((2, 3), float(step))
        statistics.update()
        long.update()
    statistics.write()
    # An exponential average of weight w lags behind by (1 - w) / w steps; w is 0.2 for a fit of 100 steps.
    assert float(network.running[0, 0]) == pytest.approx(99 - 4, abs=0.1)
    long.write()
    assert float(network.running[0, 0]) == pytest.approx(49.5, abs=0.1)


def test_statistics_continue_from_their_saved_state():
    generator = torch.Generator().manual_seed(0)
    network, other = Statistics(), Statistics()
    statistics, continued = AverageStatistics(network), AverageStatistics(other)
    for _ in range(3):
        network.running = torch.randn(2, 3, generator=generator)
        statistics.update()
    continued.load_state_dict(statistics.state_dict())
    network.running = other.running = torch.randn(2, 3, generator=generator)
    for average in (statistics, continued):
        average.update()
        average.write()
    assert torch.equal(network.running, other.running)


class Normalised(nn.Module):
    """Images divided by a running standard deviation."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))
        self.register_buffer("deviation", torch.ones(()))

    def forward(self, noisy, sigma):
        if self.training:
            with torch.no_grad():
                self.deviation.lerp_(noisy.std(), 0.5)
        return self.scale * noisy / self.deviation


def test_evaluation_does_not_depend_on_the_last_noise_levels():
    """A network with nearly constant weights divides by nearly the same value, whatever the noise of its fit."""
    last, averaged = [], []
    for seed in range(6):
        trainer = make(seed=seed, network=Normalised, steps=300, learning_rate=1e-12, warmup=0, train_images=64)
        write = trainer.statistics.write

        def note(network=trainer.network, write=write):
            last.append(network.deviation.clone())
            write()

        trainer.statistics.write = note
        averaged.append(trainer.fit().network.deviation)
    # Validation writes averages too, hence every fourth entry. The expected ratio is a third: 3 batches against 30.
    spread, unaveraged = (float(torch.stack(values).log().std()) for values in (averaged, last[3::4]))
    assert spread < 0.6 * unaveraged
