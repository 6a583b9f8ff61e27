import numpy as np
import pytest
import torch
from constructing import construct

from gahbench.contracts.datasets import SPLITS, Dataset, Optimum, Posterior, TrueBasis
from gahbench_plugins.datasets.shuffled import Shuffled

PLAIN = ["gaussian-field[size=8]", "gaussian-field[size=8,colour=rgb]", "finite[dataset=faces[size=8],count=9]"]


@pytest.fixture(params=PLAIN)
def dataset(request):
    return construct(Shuffled, request.param)


def shuffled_by_numpy(dataset, images):
    order = dataset.permutation.numpy()
    flat = images.numpy().reshape(*images.shape[:2], -1)
    return np.take_along_axis(flat, np.broadcast_to(order, flat.shape), 2).reshape(images.shape)


def test_one_permutation_for_all_images_channels_and_splits(dataset):
    for split in SPLITS:
        plain = dataset.dataset.images(split, 5, 2)
        np.testing.assert_array_equal(dataset.images(split, 5, 2).numpy(), shuffled_by_numpy(dataset, plain))
    side = dataset.shape[1]
    assert sorted(dataset.permutation.tolist()) == list(range(side**2))
    # A random permutation has 1 fixed point on average, and 6 or more once in 1700 times.
    assert (dataset.permutation == torch.arange(side**2)).sum() < 6


def test_inverse_undoes_and_seeds_differ(dataset):
    images = dataset.dataset.images("test", 3)
    assert torch.equal(dataset.inverse(dataset.shuffle(images)), images)
    assert torch.equal(dataset.shuffle(dataset.inverse(images)), images)
    assert not torch.equal(dataset.shuffle(images), images)
    other = construct(Shuffled, PLAIN[0], seed=1)
    assert not torch.equal(other.permutation, construct(Shuffled, PLAIN[0]).permutation)


@pytest.mark.parametrize("sigma", [0.01, 0.2])
def test_posterior_of_shuffled_images_is_the_shuffled_posterior(dataset, sigma):
    plain = dataset.dataset.images("test", 4)
    plain = plain + sigma * torch.randn(plain.shape, generator=torch.Generator().manual_seed(0))
    expected = dataset.dataset.posterior(plain, sigma)
    found = dataset.posterior(dataset.shuffle(plain), sigma)
    assert torch.equal(found.mean, dataset.shuffle(expected.mean))
    assert torch.equal(found.trace, expected.trace)
    assert dataset.optimum == dataset.dataset.optimum


@pytest.mark.parametrize("colour", ["grey", "rgb"])
def test_true_basis_shrinks_to_the_posterior_of_shuffled_images(colour):
    dataset = construct(Shuffled, f"gaussian-field[size=8,colour={colour}]")
    noisy = dataset.images("test", 4).double() + 0.1
    basis = dataset.true_basis("test", 4)
    vectors = basis.vectors[0].double()
    coefficients = (noisy.flatten(1) - 0.5) @ vectors
    shrunk = 0.5 + (coefficients * basis.energies / (basis.energies + 0.01)) @ vectors.mT
    torch.testing.assert_close(dataset.posterior(noisy, 0.1).mean.flatten(1), shrunk, atol=1e-5, rtol=0)


class Bracket(Dataset):
    """Coloured images of unequal sides, with a genie, and a basis of its own for each image."""

    shape = (3, 4, 5)
    optimum = Optimum("bracket", slope=0.7)

    def images(self, split, count, start=0):
        draw = torch.Generator().manual_seed(len(split))
        return torch.rand(start + count, *self.shape, generator=draw)[start:]

    def genie(self, noisy, sigma, split, start=0):
        return noisy.cumsum(-1) + self.images(split, len(noisy), start)

    def lower_bound(self, split, count, sigma, start=0):
        return torch.arange(start, start + count).double() * sigma

    def posterior(self, noisy, sigma):
        return Posterior(noisy.cumsum(2), noisy.flatten(1).sum(1).double(), ess_fraction=torch.full((len(noisy),), 0.5))

    def true_basis(self, split, count, start=0):
        return TrueBasis(self.images(split, 7 * count, start).reshape(count, 7, 60).mT)


@pytest.fixture
def bracket(monkeypatch):
    dataset = construct(Shuffled, "discs")
    monkeypatch.setattr(dataset, "dataset", Bracket())
    return dataset


def test_bound_genie_and_basis_are_passed_on(bracket):
    noisy = torch.rand(2, 3, 4, 5, generator=torch.Generator().manual_seed(9))
    genie = bracket.genie(bracket.shuffle(noisy), 0.1, "test", 3)
    assert torch.equal(genie, bracket.shuffle(bracket.dataset.genie(noisy, 0.1, "test", 3)))
    assert torch.equal(bracket.lower_bound("test", 3, 0.5, 2), torch.tensor([1.0, 1.5, 2.0]).double())
    assert bracket.posterior(noisy, 0.1).ess_fraction.tolist() == [0.5, 0.5]
    assert bracket.optimum.slope == 0.7
    vectors = bracket.true_basis("test", 2, 1).vectors
    plain = bracket.dataset.true_basis("test", 2, 1).vectors
    assert vectors.shape == (2, 60, 7)
    for image in range(2):
        for column in range(7):
            expected = shuffled_by_numpy(bracket, plain[image, :, column].reshape(1, 3, 4, 5))
            np.testing.assert_array_equal(vectors[image, :, column].numpy(), expected.flatten())
    assert bracket.true_basis("test", 2, 1).energies is None


def test_splits_overlap_where_those_of_the_plain_images_do():
    assert construct(Shuffled, "finite").splits_overlap
    assert not construct(Shuffled, "discs").splits_overlap
