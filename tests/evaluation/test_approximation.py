import numpy as np
import pytest
import torch

import gahbench
from gahbench.contracts.truth import Truth
from gahbench.evaluation.approximation import approximate

CLEAN = torch.rand(3, 1, 16, 16, generator=torch.Generator().manual_seed(0))


def basis(name):
    return gahbench.create("basis", name)


def test_error_is_the_energy_of_what_is_left_out():
    found = approximate(basis("dct"), Truth(CLEAN), [0.1, 1.0, 0.3])
    assert found.thresholds.tolist() == [1.0, 0.3, 0.1]
    for threshold, terms, errors in zip(found.thresholds, found.terms, found.errors, strict=True):
        coefficients = basis("dct").analysis(CLEAN.double())
        kept = coefficients * (coefficients.abs() > threshold)
        difference = basis("dct").synthesis(kept) - CLEAN
        np.testing.assert_allclose(errors, difference.square().mean((1, 2, 3)), atol=1e-12)
        np.testing.assert_array_equal(terms, (kept != 0).sum((1, 2, 3)))


def test_more_terms_leave_less_and_all_leave_nothing():
    found = approximate(basis("sym4"), Truth(CLEAN), np.geomspace(1e-9, 30, 20))
    assert (np.diff(found.terms, axis=0) >= 0).all()
    assert (np.diff(found.errors, axis=0) <= 1e-15).all()
    assert found.terms[0].tolist() == [0] * 3
    np.testing.assert_allclose(found.errors[0], CLEAN.double().square().mean((1, 2, 3)))
    assert (found.terms[-1] == 256).all()
    assert found.errors[-1].max() < 1e-15


def test_an_adaptive_basis_is_never_worse_in_what_it_minimises():
    thresholds = [0.5, 0.2, 0.05]
    plain = approximate(basis("sym4"), Truth(CLEAN), thresholds)
    packets = approximate(basis("wavelet-packet[sym4]"), Truth(CLEAN), thresholds)
    costs = [found.errors * 256 + found.terms * found.thresholds[:, None] ** 2 for found in (plain, packets)]
    assert (costs[1] <= costs[0] + 1e-9).all()
    assert (costs[1] < costs[0] - 1e-3).any()


def test_only_orthonormal_bases_and_positive_thresholds():
    with pytest.raises(ValueError, match="not orthonormal"):
        approximate(basis("wavelet[bior2.2]"), Truth(CLEAN), [0.1])
    with pytest.raises(ValueError, match="greater than 0"):
        approximate(basis("dct"), Truth(CLEAN), [0.1, 0.0])
