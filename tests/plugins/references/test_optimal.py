import pytest
import torch

from gahbench._util.errors import OptimumError
from gahbench.contracts.datasets import Dataset, Optimum, Posterior
from gahbench.contracts.truth import Truth
from gahbench_plugins.references.optimal import LowerBound, Optimal


class Known(Dataset):
    """White Gaussian images of variance .01 around 1/2, whose optimum is called what one likes."""

    shape = (1, 8, 8)
    variance = 0.01

    def __init__(self, kind):
        self.kind = kind

    @property
    def optimum(self):
        return Optimum(self.kind)

    def images(self, split, count, start=0):
        draw = torch.Generator().manual_seed(0)
        return (0.5 + 0.1 * torch.randn(start + count, *self.shape, generator=draw))[start:]

    def weight(self, sigma):
        return self.variance / (self.variance + sigma**2)

    def posterior(self, noisy, sigma):
        mean = 0.5 + self.weight(sigma) * (noisy - 0.5)
        return Posterior(mean.double(), torch.full((len(noisy),), 64 * sigma**2 * self.weight(sigma)))

    def lower_bound(self, split, count, sigma, start=0):
        return torch.arange(start, start + count).double() / 100

    def genie(self, noisy, sigma, split, start=0):
        return noisy + start


def truth_of(dataset, count=3, start=0):
    return Truth(dataset.images("test", count, start), dataset, "test", start)


def test_optimal_is_the_posterior_mean():
    truth = truth_of(Known("exact"))
    denoised = Optimal().denoise(truth.clean + 0.1, 0.1, truth)
    assert denoised.dtype == torch.float32
    torch.testing.assert_close(denoised, 0.5 + 0.5 * (truth.clean - 0.4))
    assert Optimal().risk(truth, 0.1) is None


def test_lower_bound_asks_for_the_very_images():
    truth = truth_of(Known("bracket"), count=5, start=2)
    assert LowerBound().risk(truth, 0.1).tolist() == pytest.approx([0.02, 0.03, 0.04, 0.05, 0.06])
    parts = [LowerBound().denoise(part.clean, 0.1, part) for part in truth.batches(2)]
    assert [len(part) for part in parts] == [2, 2, 1]
    # Batches know where they start.
    starts = [float((part - clean.clean).mean()) for part, clean in zip(parts, truth.batches(2), strict=True)]
    assert starts == pytest.approx([2, 4, 6], abs=1e-5)


@pytest.mark.parametrize("kind", ["exact", "bracket", "rate", "none"])
def test_known_where_the_optimum_is(kind):
    assert Optimal().supports(Known(kind)) == (kind == "exact")
    assert LowerBound().supports(Known(kind)) == (kind == "bracket")


def test_without_a_dataset_there_is_no_optimum():
    clean = torch.zeros(1, 1, 8, 8)
    for reference in (Optimal(), LowerBound()):
        with pytest.raises(OptimumError, match="dataset"):
            reference.denoise(clean, 0.1, Truth(clean))


def test_optima_that_a_dataset_does_not_state_are_errors():
    class Unknown(Known):
        posterior, lower_bound, genie = Dataset.posterior, Dataset.lower_bound, Dataset.genie

    dataset = Unknown("rate")
    for ask in (
        lambda: dataset.posterior(dataset.images("test", 1), 0.1),
        lambda: dataset.lower_bound("test", 1, 0.1),
        lambda: dataset.genie(dataset.images("test", 1), 0.1, "test"),
    ):
        with pytest.raises(OptimumError, match="optimum is 'rate'"):
            ask()
    assert dataset.true_basis("test", 1) is None
