import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gahbench_plugins.datasets._conditional import StationaryField
from gahbench_plugins.datasets._spectral import power_law

families = st.tuples(st.integers(3, 9), st.floats(0.6, 4))


def field(size, exponent):
    return StationaryField(power_law((2 * size, 2 * size), exponent, constant=0.5))


@pytest.mark.parametrize("size", [4, 5])
def test_covariance_is_the_sum_of_all_waves(size):
    expected = np.zeros((size, size, size, size))
    places = np.arange(size)
    for row in range(-size, size):
        for column in range(-size, size):
            amplitude = np.hypot(row, column) ** -1.3 if (row, column) != (0, 0) else 0.5
            phases = np.pi / size * (row * places[:, None] + column * places)
            expected += amplitude**2 * np.cos(phases[:, :, None, None] - phases)
    expected = expected.reshape(size**2, size**2) / (2 * size) ** 2
    np.testing.assert_allclose(field(size, 1.3).matrix().numpy(), expected, atol=1e-12)
    assert field(size, 1.3).variance == pytest.approx(expected[0, 0])


@settings(deadline=None, max_examples=20)
@given(families)
def test_products_and_energies_are_those_of_the_matrix(family):
    drawn = field(*family)
    images = torch.randn(2, 3, drawn.pixels, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(drawn.matvec(images), images @ drawn.matrix())
    torch.testing.assert_close(drawn.energy(images), (images @ drawn.matrix() * images).sum(-1))


@settings(deadline=None, max_examples=20)
@given(families, st.floats(0.05, 1))
def test_decomposition_is_that_of_the_matrix(family, share):
    drawn = field(*family)
    count = max(1, int(share * drawn.pixels))
    values, vectors = drawn.decomposition(count)
    torch.testing.assert_close(values, torch.linalg.eigvalsh(drawn.matrix()).flip(0))
    assert vectors.shape == (drawn.pixels, count)
    torch.testing.assert_close(vectors.T @ vectors, torch.eye(count, dtype=torch.float64))
    torch.testing.assert_close(drawn.matrix() @ vectors, vectors * values[:count], atol=1e-12, rtol=0)
