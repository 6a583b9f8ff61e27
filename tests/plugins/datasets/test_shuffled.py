import numpy as np
import pytest
import torch
from constructing import construct
from random_images import normal

from gahbench.contracts.datasets import SPLITS, Optimum, Posterior
from gahbench_plugins.datasets.shuffled import Shuffled

PLAIN = ["gaussian-field[size=8,colour=rgb]", "finite[dataset=faces[size=8],count=9]", "c-alpha[size=10]"]


@pytest.fixture(params=PLAIN)
def dataset(request):
    return construct(Shuffled, request.param)


def shuffled_by_numpy(dataset, images):
    flat = images.flatten(2).numpy()
    order = np.broadcast_to(dataset.permutation.numpy(), flat.shape)
    return torch.from_numpy(np.take_along_axis(flat, order, 2)).reshape(images.shape)


def test_one_permutation_for_all_images_channels_and_splits(dataset):
    for split in SPLITS:
        plain = dataset.dataset.images(split, 5, 2)
        assert torch.equal(dataset.images(split, 5, 2), shuffled_by_numpy(dataset, plain))
        assert torch.equal(dataset.inverse(dataset.shuffle(plain)), plain)
    pixels = torch.arange(dataset.shape[1] ** 2)
    assert torch.equal(dataset.permutation.sort().values, pixels)
    # A random permutation has 1 fixed point on average, and 6 or more once in 1700 times.
    assert (dataset.permutation == pixels).sum() < 6
    assert not torch.equal(construct(Shuffled, PLAIN[0], seed=1).permutation, construct(Shuffled, PLAIN[0]).permutation)


def test_the_optimum_is_the_shuffled_optimum_of_the_plain_images(dataset):
    plain, sigma = dataset.dataset, 0.2
    assert dataset.optimum == plain.optimum
    assert dataset.splits_overlap == plain.splits_overlap
    clean = plain.images("test", 4, 1)
    noisy = clean + sigma * normal(*clean.shape).float()
    if plain.optimum.kind == "bracket":
        assert torch.equal(dataset.lower_bound("test", 4, sigma, 1), plain.lower_bound("test", 4, sigma, 1))
        expected = plain.genie(noisy, sigma, "test", 1)
        result = dataset.genie(dataset.shuffle(noisy), sigma, "test", 1)
    else:
        posterior, plain_posterior = dataset.posterior(dataset.shuffle(noisy), sigma), plain.posterior(noisy, sigma)
        assert torch.equal(posterior.trace, plain_posterior.trace)
        expected, result = plain_posterior.mean, posterior.mean
    assert torch.equal(result, shuffled_by_numpy(dataset, expected))
    basis, plain_basis = dataset.true_basis("test", 2, 1), plain.true_basis("test", 2, 1)
    assert (basis is None) == (plain_basis is None)
    if basis is not None:
        vectors = [known.vectors.mT.reshape(-1, *dataset.shape) for known in (basis, plain_basis)]
        assert torch.equal(vectors[0], shuffled_by_numpy(dataset, vectors[1]))
        assert torch.equal(basis.energies, plain_basis.energies)
    # Rows and columns of filters are permuted, in every channel.
    pixels = torch.arange(noisy[0].numel()).reshape(1, *dataset.shape)
    order = shuffled_by_numpy(dataset, pixels).flatten()
    filters = plain.optimal_filters(noisy, sigma, "test", 1).matrices()[:, order][:, :, order]
    result = dataset.optimal_filters(dataset.shuffle(noisy), sigma, "test", 1)
    torch.testing.assert_close(result.matrices(), filters, atol=1e-6, rtol=0)
    torch.testing.assert_close(result.select(2).matrices(), filters[2:3], atol=1e-6, rtol=0)


def test_images_may_have_unequal_sides_and_posteriors_effective_samples(monkeypatch):
    dataset = construct(Shuffled, "discs")

    class Wide(type(dataset.dataset)):
        shape, optimum = (3, 4, 5), Optimum("exact", slope=0.7)

        def posterior(self, noisy, sigma):
            return Posterior(noisy.cumsum(2), noisy.flatten(1).sum(1).double(), torch.full((len(noisy),), 0.5))

    monkeypatch.setattr(dataset, "dataset", Wide())
    noisy = normal(2, 3, 4, 5)
    result = dataset.posterior(dataset.shuffle(noisy), 0.1)
    assert torch.equal(result.mean, shuffled_by_numpy(dataset, noisy.cumsum(2)))
    assert result.ess_fraction.tolist() == [0.5, 0.5]
    assert dataset.optimum.slope == 0.7
