"""Families of filters that shrink coefficients in bases, parametrised by the trace."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from random_images import normal as random
from scipy.optimize import brentq

import gahbench
from gahbench.contracts.truth import Truth
from gahbench.jacobian import DenseMaps, FilterFamily
from gahbench.jacobian.families import matching_strength

SHAPE = (1, 4, 4)


def draw(seed=0):
    return torch.Generator().manual_seed(seed)


def family(kind, count=5, size=16, seed=0):
    """Return filters in a shared orthonormal basis, a shared frame with duals, or a basis or frame for each image."""
    is_shared, is_frame = kind.startswith("shared"), "frame" in kind
    number = 1 if is_shared else count
    if is_frame:
        analysis = random(number, size + 3, size, seed=seed)
        synthesis = torch.linalg.pinv(analysis).mT.contiguous()
    else:
        analysis = synthesis = torch.linalg.qr(random(number, size, size, seed=seed)).Q
    values = random(count, analysis.shape[1], seed=seed + 1).exp()
    return FilterFamily(values, (analysis * synthesis).sum(-1), SHAPE, (analysis, synthesis))


KINDS = ["shared basis", "shared frame", "own bases", "own frames"]


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 99), share=st.floats(0.001, 0.999), spread=st.floats(0.1, 12))
def test_matching_strengths_give_the_requested_traces(seed, share, spread):
    values = (spread * random(3, 20, seed=seed)).exp()
    gains = random(20, seed=seed + 1).abs() + 0.1
    traces = share * gains.sum() * torch.ones(3, dtype=torch.float64)
    mu = matching_strength(values, gains, traces)
    torch.testing.assert_close((gains / (1 + mu[:, None] * values)).sum(1), traces, rtol=1e-9, atol=0)

    def excess(logarithm):
        return float((gains / (1 + math.exp(logarithm) * values[0])).sum() - traces[0])

    # The accuracy of mu is limited by rounding if the trace hardly depends on it.
    weights = 1 / (1 + mu[0] * values[0])
    slope = float((gains * weights * (1 - weights)).sum())
    assert float(mu[0].log()) == pytest.approx(brentq(excess, -60, 60), abs=1e-9 + 1e-9 * float(traces[0]) / slope)


def test_unreachable_traces_are_reported():
    values = torch.ones(5, 16, dtype=torch.float64)
    values[:, 0] = 0  # A constant that is never damped.
    eye = torch.eye(16, dtype=torch.float64)[None]
    filter_family = FilterFamily(values, torch.ones((), dtype=torch.float64), SHAPE, (eye, eye))
    traces = torch.tensor([-1.0, 0.5, 1.5, 15.5, 17.0])
    assert filter_family.reaches(traces).tolist() == [False, False, True, True, False]
    torch.testing.assert_close(filter_family.at(traces).trace().value, traces.double().clamp(1, 16), atol=1e-6, rtol=0)


@pytest.mark.parametrize("kind", KINDS)
def test_filters_have_the_requested_traces_and_agree_pairwise_by_the_explicit_formula(kind):
    filter_family, count = family(kind), 4
    indices, traces = torch.tensor([0, 1, 2, 4]), torch.tensor([2.0, 5.0, 9.0, 12.0])
    spread = torch.linspace(0.5, 15, 5, dtype=torch.float64)
    assert filter_family.reaches(spread).all()
    torch.testing.assert_close(filter_family.at(spread).trace().value, spread, rtol=1e-8, atol=0)
    matrices = random(count, 16, 16, seed=7)
    matrices = matrices + matrices.mT
    expected = torch.zeros(count, count, dtype=torch.float64)
    for i in range(count):
        filters = filter_family.at(traces[i].expand(5)).matrices()[indices]
        filters = (filters + filters.mT) / 2
        for j in range(count):
            difference = filters[j] - filters.mean(0)
            expected[i, j] = (matrices[i] * difference).sum() / difference.norm()
    torch.testing.assert_close(
        filter_family.pairwise_agreement(matrices, traces, indices), expected, atol=1e-8, rtol=1e-6
    )


def test_oracle_filters_at_the_trace_of_oracle_shrinkage_equal_its_filters():
    clean, sigma = torch.rand(3, 1, 8, 8, generator=draw()), 0.2
    oracle = gahbench.create("reference", "oracle-shrink[haar]")
    own = oracle.jacobian(clean, sigma, Truth(clean))
    maps = gahbench.create("basis", "haar").filters(Truth(clean), sigma).at(own.trace().value)
    # The two filters differ because coefficients are at least a thousandth of sigma.
    torch.testing.assert_close(maps.matrices(), own.matrices(), atol=1e-4, rtol=0)


def test_filters_of_large_images_are_computed_by_products(monkeypatch):
    clean = torch.rand(2, 1, 8, 8, generator=draw())
    traces = torch.tensor([9.0, 30.0], dtype=torch.float64)
    for name in ("haar", "bandlet[haar]", "wavelet-ti[haar]"):
        basis = gahbench.create("basis", name)
        exact = basis.filters(Truth(clean), 0.1).at(traces)
        with monkeypatch.context() as patch:
            patch.setattr("gahbench.jacobian.shrinkage.LARGEST_EXACT", 60)
            filter_family = basis.filters(Truth(clean), 0.1)
            assert filter_family.pairwise_agreement(random(2, 64, 64), traces, torch.arange(2)) is None
            maps = filter_family.at(traces)
        assert not isinstance(maps, DenseMaps)
        vectors = torch.randn(1, 5, 64, generator=draw())
        torch.testing.assert_close(maps.matvec(vectors), exact.matvec(vectors), atol=1e-4, rtol=0)
