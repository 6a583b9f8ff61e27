"""Bases as matrices, and principal components."""

import pytest
import torch
from given_images import GivenImages
from random_images import normal
from random_images import uniform as random

from gahbench._util.errors import BasisError, DataError
from gahbench.contracts.truth import TrainingData
from gahbench_plugins.bases.matrices import Matrices, complete
from gahbench_plugins.bases.pca import PCA


def rotations(count, size, seed=0):
    return torch.linalg.qr(normal(count, size, size, seed=seed))[0]


@pytest.mark.parametrize(("count", "size"), [(3, 12), (1, 12), (3, 24), (1, 24)])
def test_each_coefficient_is_the_product_with_a_column(count, size):
    """Matrices are separate for each image or shared, and act on each channel or on all values."""
    vectors, images = rotations(count, size), normal(3, 2, 3, 4, seed=1)
    result = Matrices(vectors).analysis(images)
    for image in range(3):
        basis = vectors[image % count]
        flat = images[image].reshape(-1, size)
        expected = torch.stack([(flat * column).sum(1) for column in basis.T], dim=1)
        torch.testing.assert_close(result[image].reshape(-1, size), expected)
    torch.testing.assert_close(Matrices(vectors).synthesis(result), images)
    atoms = Matrices(vectors).atoms((2, 3, 4))
    assert atoms.shape == (count, 24, 24)
    torch.testing.assert_close((atoms @ images.flatten(1)[..., None])[..., 0], result.flatten(1))


@pytest.mark.parametrize(("dtype", "accuracy"), [(torch.float64, 1e-13), (torch.float32, 1e-6)])
@pytest.mark.parametrize("count", [1, 5, 11, 12])
def test_complete_keeps_the_given_vectors_first(dtype, accuracy, count):
    vectors = rotations(2, 12)[..., :count].to(dtype)
    result = complete(vectors)
    torch.testing.assert_close(result[..., :count], vectors.double(), atol=accuracy, rtol=0)
    torch.testing.assert_close(result.mT @ result, torch.eye(12).double().expand(2, 12, 12), atol=1e-13, rtol=0)


def fit_pca(images, max_images=4096):
    basis = PCA(max_images)
    basis.fit(TrainingData(GivenImages(images)))
    return basis


@pytest.mark.parametrize("shape", [(200, 1, 6, 8), (90, 3, 4, 4), (20, 1, 6, 8)])
def test_coefficients_of_the_training_images_are_uncorrelated_and_decreasing(shape):
    images = random(*shape)
    coefficients = fit_pca(images).analysis(images).flatten(1)
    moments = coefficients.T @ coefficients / len(images)
    energies = moments.diagonal()
    assert (moments - torch.diag(energies)).abs().max() < 1e-12
    assert (energies.diff() < 1e-12).all()
    torch.testing.assert_close(energies.sum(), images.flatten(1).square().sum(1).mean())


@pytest.mark.parametrize("count", [1, 5])
def test_fewer_images_than_pixels_are_completed(count):
    images = random(count, 1, 4, 5)
    basis = fit_pca(images)
    coefficients = basis.analysis(images).flatten(1)
    assert coefficients[:, count:].abs().max() < 1e-12
    if count == 1:
        assert abs(coefficients[0, 0]) == pytest.approx(images.norm().item())
    others = random(7, 1, 4, 5, seed=1)
    torch.testing.assert_close(basis.synthesis(basis.analysis(others)), others)
    torch.testing.assert_close(basis.analysis(others).square().sum(), others.square().sum())


def test_errors_of_pca_name_the_remedy():
    images = random(4, 1, 4, 4)
    with pytest.raises(BasisError, match=r"fitted to images of shape \(1, 4, 4\), not \(1, 2, 8\)"):
        fit_pca(images).synthesis(images.reshape(4, 1, 2, 8))
    with pytest.raises(DataError, match="train"):
        fit_pca(images[:0])
