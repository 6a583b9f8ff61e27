import pytest
import torch
from random_images import normal as random

from gahbench._util.errors import BasisError
from gahbench_plugins.bases._matrices import Matrices, completed, octaves


def turns(count, size, seed=0):
    return torch.linalg.qr(random(count, size, size, seed=seed))[0]


@pytest.mark.parametrize(("count", "size"), [(3, 12), (1, 12), (3, 24), (1, 24)])
def test_each_coefficient_is_the_product_with_a_column(count, size):
    """One matrix for each image or for all, of each channel alone or of all values together."""
    vectors, images = turns(count, size), random(3, 2, 3, 4, seed=1)
    found = Matrices(vectors).analysis(images)
    for image in range(3):
        basis = vectors[image % count]
        flat = images[image].reshape(-1, size)
        expected = torch.stack([(flat * column).sum(1) for column in basis.T], dim=1)
        torch.testing.assert_close(found[image].reshape(-1, size), expected)
    torch.testing.assert_close(Matrices(vectors).synthesis(found), images)
    assert Matrices(vectors).analysis(images.float()).dtype == torch.float32


def test_other_images_are_refused():
    basis = Matrices(turns(3, 12))
    for shape in ((2, 1, 3, 4), (3, 1, 4, 4)):
        with pytest.raises(BasisError, match="made for 3 images of 12 values"):
            basis.analysis(torch.zeros(shape))


def test_bands_are_octaves_of_the_root_of_the_index():
    assert octaves(70).bincount().tolist() == [1, 3, 12, 48, 6]
    assert (octaves(70).diff() >= 0).all()
    assert Matrices(turns(1, 12)).bands((2, 3, 4)).shape == (1, 3, 4)
    assert Matrices(turns(1, 24)).bands((2, 3, 4)).shape == (2, 3, 4)


@pytest.mark.parametrize(("dtype", "accuracy"), [(torch.float64, 1e-13), (torch.float32, 1e-6)])
@pytest.mark.parametrize("count", [1, 5, 11, 12])
def test_completed_starts_with_the_given_vectors(dtype, accuracy, count):
    vectors = turns(2, 12)[..., :count].to(dtype)
    found = completed(vectors)
    torch.testing.assert_close(found[..., :count], vectors.double(), atol=accuracy, rtol=0)
    torch.testing.assert_close(found.mT @ found, torch.eye(12).double().expand(2, 12, 12), atol=1e-13, rtol=0)


@pytest.mark.parametrize(("count", "size"), [(3, 12), (1, 12), (3, 24), (1, 24)])
def test_its_matrices_are_those_of_the_analysis(count, size):
    basis, images = Matrices(turns(count, size)), random(3, 2, 3, 4, seed=1)
    atoms = basis.atoms((2, 3, 4))
    assert atoms.shape == (count, 24, 24)
    expected = basis.analysis(images).flatten(1)
    torch.testing.assert_close((atoms @ images.flatten(1)[..., None])[..., 0], expected)
