import numpy as np
import pytest
import torch

from gahbench._util.errors import OptimumError
from gahbench._util.noise import evaluation_noise
from gahbench.contracts.datasets import Dataset
from gahbench_plugins.datasets._manifold import Manifold
from gahbench_plugins.datasets._sampling import importance
from gahbench_plugins.datasets.discs import Discs


class Bump(Manifold):
    """A Gaussian bump of uniform place and log-normal width: both parameters are non-linear."""

    shape = (1, 6, 8)
    nonlinear = 2

    def __init__(self, seed: int = 0):
        super().__init__("bump", seed)

    def place(self, uniform):
        return torch.stack([1 + 6 * uniform[:, 0], torch.exp(0.5 + 0.3 * torch.special.ndtri(uniform[:, 1]))], dim=1)

    def render(self, parameters):
        column, width = parameters.unbind(1)
        bump = torch.exp(-((torch.arange(8) + 0.5 - column[:, None]) / width[:, None]).square() / 2)
        return bump[:, None, None].expand(-1, *self.shape)


class Slope(Manifold):
    """A sigmoid of uniform place and uniform height, in which it is linear, on grey."""

    shape = (2, 4, 8)
    nonlinear = 1
    intensities = 1
    offset = 0.25

    def __init__(self, seed: int = 0):
        super().__init__("slope", seed)

    def place(self, uniform):
        return 1 + 6 * uniform

    def render(self, parameters):
        place, height = parameters.unbind(1)
        edge = torch.sigmoid(torch.arange(8) + 0.5 - place[:, None])
        return (self.offset + 0.7 * height[:, None] * edge)[:, None, None].expand(-1, *self.shape)


class Comb(Manifold):
    """Sinusoids of a parameter that take so many turns that no search finds which."""

    shape = (1, 4, 4)
    nonlinear = 1

    def __init__(self, seed: int = 0):
        super().__init__("comb", seed)

    def place(self, uniform):
        return uniform

    def render(self, parameters):
        frequencies = 10.0 ** torch.linspace(3, 9, 16, dtype=parameters.dtype)
        return (0.5 + 0.5 * torch.sin(frequencies * parameters)).reshape(-1, *self.shape)


TOYS = [Bump(), Slope()]
toys = pytest.mark.parametrize("dataset", TOYS, ids=["bump", "slope"])
all_three = pytest.mark.parametrize("dataset", [*TOYS, Discs(12)], ids=["bump", "slope", "discs"])


def noisy_images(dataset, count, sigma):
    clean = dataset.images("test", count)
    return clean, clean + evaluation_noise(count, dataset.shape, sigma, "tests")


def quadrature(dataset, noisy, sigma, count=400):
    """Return posterior means and traces by a fine grid of the two uniform numbers that images are made of."""
    places = (np.arange(count) + 0.5) / count
    whole = torch.from_numpy(np.stack(np.meshgrid(places, places, indexing="ij"), -1).reshape(-1, 2))
    images = dataset.render(dataset.parameters_at(whole)).flatten(1).numpy()
    means, traces = [], []
    for image in noisy.double().flatten(1).numpy():
        exponents = -np.square(images - image).sum(1) / (2 * sigma**2)
        weights = np.exp(exponents - exponents.max())
        weights /= weights.sum()
        means.append(weights @ images)
        traces.append(weights @ np.square(images - means[-1]).sum(1))
    return np.stack(means), np.array(traces)


@toys
@pytest.mark.parametrize("sigma", [0.05, 0.3, 2.0])
def test_posterior_of_an_authors_own_manifold_agrees_with_quadrature(dataset, sigma):
    _, noisy = noisy_images(dataset, 8, sigma)
    posterior = dataset.posterior(noisy, sigma)
    means, traces = quadrature(dataset, noisy, sigma)
    np.testing.assert_allclose(posterior.trace.numpy(), traces, rtol=0.02)
    errors = np.square(posterior.mean.double().flatten(1).numpy() - means).sum(1)
    # Of the squared error of the mean, its own inaccuracy makes 1 in 1,000.
    assert (errors < 1e-3 * traces).all()
    assert posterior.ess_fraction.min() > 0.3


@toys
def test_weak_noise_leaves_a_projection_on_the_tangent_space(dataset):
    sigma = 1e-4
    clean, noisy = noisy_images(dataset, 16, sigma)
    posterior = dataset.posterior(noisy, sigma)
    torch.testing.assert_close(posterior.trace, torch.full((16,), 2 * sigma**2).double(), rtol=0.03, atol=0)
    basis = dataset.true_basis("test", 16).vectors
    noise = (noisy - clean).double().flatten(1)[..., None]
    kept = (basis @ (basis.mT @ noise))[..., 0]
    moved = (posterior.mean - clean).double().flatten(1)
    # Images are float32, whose rounding is 6e-8, of values up to 1.
    assert ((moved - kept).norm(dim=1) < 0.05 * kept.norm(dim=1) + 1e-6).all()


@all_three
def test_trace_is_the_expected_error(dataset, monkeypatch):
    monkeypatch.setattr(importance, "DRAWS", 1024)
    count = 64 if dataset in TOYS else 16
    for sigma in (0.03, 0.5):
        clean, noisy = noisy_images(dataset, count, sigma)
        posterior = dataset.posterior(noisy, sigma)
        excess = (posterior.mean - clean).double().square().flatten(1).sum(1) - posterior.trace
        assert excess.mean().abs() < 4 * excess.std() / count**0.5
        assert excess.std() / count**0.5 < 0.3 * posterior.trace.mean()


def test_images_that_need_more_draws_get_them(monkeypatch):
    # With as many effective draws wanted as drawn at first, every image is drawn for again, twice as often.
    _, noisy = noisy_images(TOYS[0], 3, 0.1)
    monkeypatch.setattr(importance, "DRAWS", 256)
    monkeypatch.setattr(importance, "WANTED", 257.0)
    posterior = TOYS[0].posterior(noisy, 0.1)
    means, traces = quadrature(TOYS[0], noisy, 0.1)
    assert (posterior.ess_fraction <= 1).all()
    assert (posterior.ess_fraction > 257 / 2048).all()
    np.testing.assert_allclose(posterior.trace.numpy(), traces, rtol=0.1)
    assert np.abs(posterior.mean.flatten(1).numpy() - means).max() < 0.01


def test_too_few_effective_samples_are_refused(monkeypatch):
    _, noisy = noisy_images(TOYS[0], 2, 0.1)
    for limit in ("WANTED", "REFUSED"):
        monkeypatch.setattr(importance, limit, 1e6)
    with pytest.raises(OptimumError, match=r"sigma=0\.1.* effective samples of 32768, accepted are at least 1e\+06"):
        TOYS[0].posterior(noisy, 0.1)


def test_a_posterior_whose_mode_is_not_found_is_refused():
    comb = Comb()
    _, noisy = noisy_images(comb, 2, 1e-3)
    with pytest.raises(OptimumError, match=r"sigma=0\.001.* sigma per pixel from a noisy one"):
        comb.posterior(noisy, 1e-3)


def test_images_of_another_family_are_refused_where_noise_does_not_explain_them():
    checkers = (torch.arange(8) % 2).float().expand(1, *TOYS[0].shape)
    with pytest.raises(OptimumError, match="images of this family"):
        TOYS[0].posterior(checkers, 0.1)
    assert TOYS[0].posterior(checkers, 1.0).mean.isfinite().all()


@all_three
def test_tangent_is_the_finite_difference_and_true_basis_spans_it(dataset):
    parameters = dataset.parameters("test", 5).double()
    tangent = dataset.tangent(parameters)
    step = 1e-5
    for axis in range(dataset.dimension):
        moved = torch.zeros(dataset.dimension, dtype=torch.float64)
        moved[axis] = step
        ahead, behind = (dataset.render(parameters + sign * moved).flatten(1) for sign in (1, -1))
        torch.testing.assert_close(tangent[..., axis], (ahead - behind) / (2 * step), atol=1e-7, rtol=1e-5)
    vectors = dataset.true_basis("test", 5).vectors
    assert dataset.true_basis("test", 5).energies is None
    identity = torch.eye(dataset.dimension, dtype=torch.float64).expand(5, -1, -1)
    torch.testing.assert_close(vectors.mT @ vectors, identity, atol=1e-10, rtol=0)
    # Parameters are rounded to float32.
    torch.testing.assert_close(vectors @ (vectors.mT @ tangent), tangent, atol=1e-4, rtol=1e-4)


def test_true_basis_begins_with_what_changes_most():
    bump = TOYS[0]
    vectors = bump.true_basis("test", 64).vectors
    # Steps of each parameter in units of its own spread: 6 columns, and the width itself times .3.
    parameters = bump.parameters("test", 64).double()
    uniform = torch.special.ndtr((parameters[:, 1].log() - 0.5) / 0.3)
    density = torch.exp(-torch.special.ndtri(uniform).square() / 2) / (2 * torch.pi) ** 0.5
    scales = torch.stack([torch.full_like(density, 6), 0.3 * parameters[:, 1] / density], dim=1)
    changes = (vectors.mT @ (bump.tangent(parameters) * scales[:, None])).norm(dim=-1)
    assert (changes[:, 0] >= changes[:, 1]).all()
    assert (changes[:, 0] > 1.5 * changes[:, 1]).any()


@all_three
def test_parameters_are_those_of_the_images(dataset):
    parameters = dataset.parameters("validation", 10, start=60)
    images = dataset.images("validation", 10, start=60)
    torch.testing.assert_close(dataset.render(parameters), images, atol=1e-6, rtol=0)
    assert dataset.parameters("validation", 0).shape == (0, dataset.dimension)
    assert dataset.true_basis("validation", 0).vectors.shape == (0, images[0].numel(), dataset.dimension)


@all_three
def test_parts_add_up_to_the_image(dataset):
    parameters = dataset.parameters("test", 4).double()
    nonlinear, intensities = parameters[:, : dataset.nonlinear], parameters[:, dataset.nonlinear :]
    weights = intensities if dataset.intensities else torch.ones(4, 1).double()
    image = dataset.offset + torch.einsum("nl,nlchw->nchw", weights, dataset.parts(nonlinear))
    torch.testing.assert_close(image, dataset.render(parameters), atol=1e-12, rtol=0)
    default = Manifold.parts(dataset, nonlinear)
    torch.testing.assert_close(dataset.parts(nonlinear), default, atol=1e-12, rtol=0)


def test_optimum_is_exact_and_the_kind_of_parameters_checked():
    assert isinstance(TOYS[0], Dataset)
    assert (TOYS[0].optimum.kind, TOYS[0].optimum.slope, TOYS[0].dimension) == ("exact", 1.0, 2)

    class Three(Slope):
        intensities = 3

    class Nothing(Slope):
        nonlinear, intensities = 0, 0

    for wrong in (Three, Nothing):
        with pytest.raises(ValueError, match="at most 2 intensities"):
            wrong()
