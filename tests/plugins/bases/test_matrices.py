"""Bases as matrices: principal components, and ``true-basis`` and ``true-flow``, which depend on the truth."""

import math

import pytest
import torch
from given_images import GivenImages
from random_images import normal
from random_images import uniform as random

import gahbench
from gahbench._util.errors import BasisError, DataError
from gahbench.contracts.datasets import Dataset, TrueBasis
from gahbench.contracts.truth import TrainingData, Truth
from gahbench_plugins.bases.matrices import Matrices, complete
from gahbench_plugins.bases.pca import PCA
from gahbench_plugins.bases.truth import FamilyBasis, TrueFlow
from gahbench_plugins.datasets.c_alpha import CAlpha


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


def truth_of(name, count=2, start=5):
    dataset = gahbench.create("dataset", name)
    return Truth(dataset.images("test", count, start).double(), dataset, "test", start)


@pytest.mark.parametrize("contour", ["line", "closed", "disc"])
def test_an_edge_is_a_step_in_the_order_of_the_flow(contour):
    """A Haar cascade of L^2 samples of a step has a mean and a coefficient per scale; a constant has only a mean."""
    size = 32
    truth = truth_of(f"c-alpha[alpha=2,size={size},contour={contour}]")
    inside = truth.dataset.level_sets("test", 2, 5) < 0
    edges = Truth(inside.double()[:, None], truth.dataset, "test", 5)
    for side in (4, 8, size):
        basis = TrueFlow(wavelet=None, largest=None if side == size else side, moments=1)
        # All coefficients are far above the threshold, so no choice of squares has fewer.
        counts = (basis.adapt_to(edges, 0.001).analysis(edges.clean).abs() > 1e-9).flatten(1).sum(1)
        squares = inside.unfold(1, side, side).unfold(2, side, side).flatten(3).flatten(1, 2)
        cut = (squares.any(2) & ~squares.all(2)).sum(1)
        assert (cut > 0).all()
        assert (counts <= (2 * math.log2(side) + 1) * cut + squares.shape[1] - cut).all()


def test_an_incomplete_true_basis_is_completed():
    vectors = rotations(1, 12)[..., :2]
    known = TrueBasis(vectors, torch.ones(1, 2))
    family = type("Incomplete", (GivenImages,), {"has_true_basis": True, "true_basis": lambda *_: known})
    clean = torch.zeros(1, 1, 3, 4)
    basis = FamilyBasis().adapt_to(Truth(clean, family(clean)), 0.1)
    inside = (vectors[0] @ torch.tensor([2.0, -3.0]).double()).reshape(1, 1, 3, 4)
    coefficients = basis.analysis(inside).flatten()
    assert coefficients[:2].tolist() == pytest.approx([2, -3], abs=1e-5)
    assert coefficients[2:].abs().max() < 1e-5


class Announced(Dataset):
    """A family that announces a true basis and contours without providing them."""

    shape = (1, 16, 16)
    has_true_basis = has_level_sets = True

    def images(self, split, count, start=0):
        return torch.zeros(count, *self.shape)


@pytest.mark.parametrize("name", ["true-basis", "true-flow"])
def test_true_bases_need_oracles_and_families_that_know_the_truth(name, monkeypatch):
    basis, images = gahbench.create("basis", name), torch.zeros(1, 1, 16, 16)
    assert basis.oracle
    assert basis.adaptive
    paper, discs = CAlpha(2.0, 16, "paper"), gahbench.create("dataset", "discs[size=16]")
    assert paper.level_sets("test", 1) is discs.level_sets("test", 1) is None
    for dataset, message in (
        (None, "that names its 'dataset'"),
        (paper, "CAlpha does not"),
        (discs, "Discs does not"),
        (Announced(), "returned None, although it announces"),
    ):
        with pytest.raises(BasisError, match=message):
            basis.adapt_to(Truth(images, dataset), 0.1)
    # Support is decided without computing a basis.
    for method in ("true_basis", "level_sets"):
        monkeypatch.setattr(CAlpha, method, lambda *_: pytest.fail("computed"))
    assert basis.supports(CAlpha(2.0, 64))
    assert not basis.supports(paper)
    assert not basis.supports(discs)
