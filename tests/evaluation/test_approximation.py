import numpy as np
import torch

import gahbench
from gahbench.contracts.truth import Truth
from gahbench.evaluation.approximation import approximate

CLEAN = torch.rand(3, 1, 16, 16, generator=torch.Generator().manual_seed(0))


def basis(name):
    return gahbench.create("basis", name)


def test_the_error_is_the_energy_of_the_remaining_coefficients():
    approximation = approximate(basis("dct"), Truth(CLEAN), [0.1, 1.0, 0.3])
    assert approximation.thresholds.tolist() == [1.0, 0.3, 0.1]
    for threshold, terms, errors in zip(
        approximation.thresholds, approximation.terms, approximation.errors, strict=True
    ):
        coefficients = basis("dct").analysis(CLEAN.double())
        kept = coefficients * (coefficients.abs() > threshold)
        difference = basis("dct").synthesis(kept) - CLEAN
        np.testing.assert_allclose(errors, difference.square().mean((1, 2, 3)), atol=1e-12)
        np.testing.assert_array_equal(terms, (kept != 0).sum((1, 2, 3)))


def test_an_adaptive_basis_never_has_a_larger_cost():
    thresholds = [0.5, 0.2, 0.05]
    plain = approximate(basis("sym4"), Truth(CLEAN), thresholds)
    packets = approximate(basis("wavelet-packet[sym4]"), Truth(CLEAN), thresholds)
    costs = [
        approximation.errors * 256 + approximation.terms * approximation.thresholds[:, None] ** 2
        for approximation in (plain, packets)
    ]
    assert (costs[1] <= costs[0] + 1e-9).all()
    assert (costs[1] < costs[0] - 1e-3).any()
