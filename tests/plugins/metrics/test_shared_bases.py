"""Bases, filters and references that metrics fit: shared where they are the same, and never fitted twice over."""

import pytest
import torch

import gahbench
from gahbench.contracts.truth import TrainingData
from gahbench.evaluation.evaluation import Evaluation
from gahbench_plugins.bases.pca import PCA
from gahbench_plugins.metrics._shared_bases import basis_on, filters_on
from gahbench_plugins.metrics.distance import fitted_alike
from gahbench_plugins.references.identity import Identity


def faces(size=8):
    return gahbench.create("dataset", f"faces[size={size}]")


def pca(spec="pca"):
    return gahbench.create("basis", spec)


def test_metrics_share_a_basis_that_is_fitted_once():
    dataset, fits = faces(), []
    one, other = pca(), pca()
    fitted = basis_on(one, dataset)
    fitted.fit = fits.append
    assert basis_on(other, dataset) is fitted
    assert fits == []


def test_what_a_metric_was_handed_stays_unfitted():
    basis, dataset = pca(), faces()
    fitted = basis_on(basis, dataset)
    assert fitted is not basis
    fitted.analysis(dataset.images("test", 2))
    with pytest.raises(gahbench.BasisError):
        basis.analysis(dataset.images("test", 2))
    assert basis_on(basis, None) is basis


def test_every_dataset_has_a_fit_of_its_own():
    basis, small = pca(), faces()
    whole = gahbench.create("dataset", "gaussian-field[size=8]")
    first = basis_on(basis, small).analysis(small.images("test", 2))
    other = basis_on(basis, whole)
    expected = PCA()
    expected.fit(TrainingData(whole))
    torch.testing.assert_close(other.analysis(whole.images("test", 2)), expected.analysis(whole.images("test", 2)))
    assert torch.equal(basis_on(basis, small).analysis(small.images("test", 2)), first)


def test_a_basis_without_a_spec_is_shared_with_no_other():
    dataset = faces()
    wavelet = type(gahbench.create("basis", "wavelet"))
    images = dataset.images("test", 2).double()
    for name in ("haar", "db2"):
        shared = basis_on(wavelet(name), dataset)
        assert torch.equal(shared.analysis(images), wavelet(name).analysis(images))


def test_filters_are_kept_by_what_decides_them():
    dataset = faces()
    clean = dataset.images("test", 3)
    traces = torch.full((3,), 8.0, dtype=torch.float64)
    evaluation = Evaluation(Identity(), clean, [0.1, 0.2], dataset=dataset)

    def filters(spec, sigma):
        return filters_on(gahbench.create("basis", spec), evaluation, sigma)

    first = filters("haar", 0.1)
    assert filters("haar", 0.1) is first
    for other in (filters("haar", 0.2), filters("dct", 0.1)):
        assert other is not first
    matrices = [family.at(traces).matrices() for family in (first, filters("dct", 0.1))]
    assert not torch.equal(*matrices)


def test_a_reference_learns_anew_at_every_evaluation():
    dataset = faces()
    reference = gahbench.create("reference", "empirical-bayes")
    clean = dataset.images("test", 2)
    found = []
    for count in (1, 20):
        evaluation = Evaluation(Identity(), clean, [0.1], dataset=dataset)
        evaluation.learned_from = TrainingData(dataset, "train", count)
        fitted = fitted_alike(reference, evaluation)
        assert fitted is not reference
        found.append(fitted.denoise(clean, 0.1, gahbench.Truth(clean)))
    assert torch.allclose(found[0], dataset.images("train", 1).expand_as(clean), atol=1e-5)
    assert not torch.allclose(found[0], found[1])
    assert fitted_alike(reference, Evaluation(Identity(), clean, [0.1], dataset=dataset)) is None
