import pytest
import torch
from constructing import construct
from hypothesis import given, settings
from hypothesis import strategies as st
from random_images import normal as random

import gahbench
from gahbench.contracts.truth import Truth
from gahbench.jacobian import LARGEST_EXACT, FunctionMaps
from gahbench_plugins.datasets.c_alpha import CAlpha
from gahbench_plugins.datasets.finite import Finite
from gahbench_plugins.datasets.rays import Rays
from gahbench_plugins.datasets.shuffled import Shuffled


def create(name):
    return gahbench.create("dataset", name)


def noisy_images(dataset, sigma, count=3, start=0):
    clean = dataset.images("test", count, start).double()
    return clean + sigma * random(*clean.shape, seed=1)


def filters(dataset, noisy, sigma, start=0):
    return dataset.optimal_filters(noisy, sigma, "test", start).matrices().double()


@pytest.mark.parametrize(
    ("name", "sigma", "step", "tolerance"),
    [
        ("gaussian-field[size=12]", 0.1, 1e-3, 1e-6),
        ("finite[discs[size=12],count=20]", 0.5, 1e-5, 1e-5),
        ("finite[discs[size=12],count=20]", 1.0, 1e-5, 1e-5),
        ("rays[discs[size=12]]", 0.5, 1e-5, 1e-5),
        # Of sampled means smaller differences are lost in what draws change from image to image.
        ("discs[size=12]", 1.0, 0.05, 0.15),
        ("shuffled[discs[size=12]]", 1.0, 0.05, 0.15),
    ],
)
def test_they_are_the_derivatives_of_the_posterior_mean(name, sigma, step, tolerance):
    """Equation 9 of Kadkhodaie 2024, by differences along the direction to another image."""
    dataset = create(name)
    noisy = noisy_images(dataset, sigma)
    along = dataset.images("test", 3, 10).double() - noisy
    above, below = (dataset.posterior(noisy + sign * step * along, sigma).mean for sign in (1, -1))
    differences = (above - below).flatten(1) / (2 * step)
    product = (filters(dataset, noisy, sigma) @ along.flatten(1)[..., None])[..., 0]
    assert differences.norm(dim=1).min() > 1e-3
    assert ((product - differences).norm(dim=1) <= tolerance * differences.norm(dim=1)).all()


def test_those_of_discs_are_covariances_of_discs_drawn_from_the_prior():
    dataset, sigma = create("discs[size=12]"), 2.0
    noisy = noisy_images(dataset, sigma)
    drawn = dataset.draw(torch.Generator().manual_seed(5), 20_000).double().flatten(1)
    for image, matrix in zip(noisy.flatten(1), filters(dataset, noisy, sigma), strict=True):
        weights = torch.softmax(-(image - drawn).square().sum(1) / (2 * sigma**2), 0)
        effective = float(1 / weights.square().sum())
        mean = weights @ drawn
        expected = (drawn.mT @ (weights[:, None] * drawn) - torch.outer(mean, mean)) / sigma**2
        assert effective > 1000
        assert (matrix - expected).norm() < 4 * expected.norm() / effective**0.5


@pytest.mark.parametrize("name", ["gaussian-field[size=10]", "gaussian-field[size=8,colour=rgb]", "gaussian-faces"])
def test_that_of_gaussian_images_is_the_wiener_filter_of_their_eigenvectors(name):
    dataset, sigma = create(name), 0.1
    noisy = noisy_images(dataset, sigma)
    known = dataset.true_basis("test", 3)
    vectors, energies = known.vectors[0].double(), known.energies[0]
    expected = (vectors * (energies / (energies + sigma**2))) @ vectors.mT
    found = filters(dataset, noisy, sigma)
    torch.testing.assert_close(found, expected.expand(3, -1, -1), atol=1e-6, rtol=0)


@pytest.mark.parametrize("contour", ["line", "closed"])
@pytest.mark.parametrize("sigma", [0.03, 0.2])
def test_that_of_c_alpha_images_is_the_wiener_filter_given_the_contour(contour, sigma):
    dataset, start = CAlpha(2.0, 12, contour=contour), 62
    noisy = noisy_images(dataset, sigma, 4, start)
    known = dataset.true_basis("test", 4, start)
    weights = known.energies / (known.energies + sigma**2)
    expected = (known.vectors * weights[:, None]) @ known.vectors.mT
    found = filters(dataset, noisy, sigma, start)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
    assert (found[0] - found[1]).norm() > 0.05 * found[0].norm()
    # The genie is affine: differences of its estimates are products with the filter.
    changed = noisy + random(*noisy.shape, seed=2)
    difference = (dataset.genie(changed, sigma, "test", start) - dataset.genie(noisy, sigma, "test", start)).flatten(1)
    product = (found @ (changed - noisy).flatten(1)[..., None])[..., 0]
    torch.testing.assert_close(product, difference.double(), atol=1e-4, rtol=0)
    bound = dataset.lower_bound("test", 4, sigma, start)
    torch.testing.assert_close(sigma**2 * found.diagonal(dim1=1, dim2=2).mean(1), bound, rtol=1e-4, atol=0)


def test_large_c_alpha_images_have_products_alone_which_are_those_of_the_matrix(monkeypatch):
    dataset, sigma = CAlpha(2.0, 12), 0.1
    noisy, vectors = noisy_images(dataset, sigma, 2, 5), random(2, 40, 144, seed=3)
    exact = filters(dataset, noisy, sigma, 5)
    monkeypatch.setattr("gahbench_plugins.datasets.c_alpha.LARGEST_EXACT", 100)
    found = dataset.optimal_filters(noisy, sigma, "test", 5)
    assert isinstance(found, FunctionMaps)
    assert dataset.size**2 < LARGEST_EXACT
    torch.testing.assert_close(found.matvec(vectors).double(), vectors @ exact, atol=1e-4, rtol=0)
    torch.testing.assert_close(found.only(1).matvec(vectors[1:]).double(), vectors[1:] @ exact[1:], atol=1e-4, rtol=0)


@pytest.mark.parametrize("name", ["c-alpha[size=10]", "discs[size=10]", "gaussian-field[size=10]"])
def test_shuffled_ones_are_permuted_in_rows_and_columns(name):
    plain = create(name)
    dataset = construct(Shuffled, name)
    noisy = noisy_images(plain, 0.2)
    order = dataset.permutation
    expected = filters(plain, noisy, 0.2)[:, order][:, :, order]
    found = filters(dataset, dataset.shuffle(noisy), 0.2)
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)
    assert not torch.allclose(found, filters(plain, noisy, 0.2), atol=1e-3)


@settings(deadline=None, max_examples=8)
@given(sigma=st.floats(0.02, 3), count=st.integers(2, 30), seed=st.integers(0, 99))
def test_those_of_a_finite_set_are_covariances_of_weighed_members(sigma, count, seed):
    dataset = construct(Finite, "discs[size=8]", count)
    noisy = dataset.images("test", 2).double() + sigma * random(2, 1, 8, 8, seed=seed)
    found = filters(dataset, noisy, sigma)
    members = dataset.members.double().flatten(1)
    for image, matrix in zip(noisy.flatten(1), found, strict=True):
        weights = torch.softmax(-(image - members).square().sum(1) / (2 * sigma**2), 0)
        mean = weights @ members
        second = members.mT @ (weights[:, None] * members)
        expected = (second - torch.outer(mean, mean)) / sigma**2
        torch.testing.assert_close(matrix, expected, atol=1e-10 / sigma**2, rtol=1e-6)


def test_a_single_image_needs_no_filter():
    dataset = construct(Finite, "discs[size=8]", 1)
    assert filters(dataset, noisy_images(dataset, 0.1), 0.1).abs().max() == 0


def test_on_a_ray_the_filter_tends_to_the_projection_on_its_image():
    dataset = construct(Rays, "discs[size=12]")
    # Scales away from the ends of the prior.
    scales = dataset.parameters("test", 64)[:, 0]
    (place,) = ((scales > 0.3) & (scales < 0.7)).nonzero()[:1, 0].tolist()
    tangent = dataset.image.double().flatten()
    projection = torch.outer(tangent, tangent) / tangent.square().sum()
    distances = []
    for sigma in (3.0, 0.3, 0.03):
        noisy = noisy_images(dataset, sigma, 1, place)
        distances.append(float((filters(dataset, noisy, sigma, place)[0] - projection).norm()))
    assert distances[0] > 0.5
    assert distances[1] < distances[0]
    assert distances[2] < 1e-6


def test_on_discs_it_tends_to_the_projection_on_the_tangent_space():
    dataset = create("discs[size=16]")
    known = dataset.true_basis("test", 3)
    projections = known.vectors @ known.vectors.mT
    noisy = noisy_images(dataset, 0.002)
    found = filters(dataset, noisy, 0.002)
    assert ((found - projections).flatten(1).norm(dim=1) < 0.1 * projections.flatten(1).norm(dim=1)).all()


@pytest.mark.parametrize(("reference", "name"), [("optimal", "discs[size=12]"), ("lower-bound", "c-alpha[size=12]")])
def test_references_that_use_the_optimum_have_them_for_jacobians(reference, name):
    dataset = create(name)
    noisy = noisy_images(dataset, 0.1, 2, 7)
    truth = Truth(dataset.images("test", 2, 7), dataset, "test", 7)
    found = gahbench.create("reference", reference).jacobian(noisy, 0.1, truth).matrices().double()
    torch.testing.assert_close(found, filters(dataset, noisy, 0.1, 7))
    assert found.diagonal(dim1=1, dim2=2).sum(1).min() > 0.5
