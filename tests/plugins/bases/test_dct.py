import pytest
import scipy.fft
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gahbench_plugins.bases.dct import DCT, dct_matrix


def images(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


@settings(deadline=None, max_examples=30)
@given(height=st.integers(1, 20), width=st.integers(1, 20), channels=st.integers(1, 3))
def test_orthonormal_and_equal_to_scipy(height, width, channels):
    batch = images(2, channels, height, width)
    coefficients = DCT().analysis(batch)
    expected = scipy.fft.dctn(batch.numpy(), axes=(-2, -1), norm="ortho")
    torch.testing.assert_close(coefficients, torch.from_numpy(expected))
    torch.testing.assert_close(DCT().synthesis(coefficients), batch)
    torch.testing.assert_close(coefficients.square().sum(), batch.square().sum())
    other = images(2, channels, height, width, seed=1)
    torch.testing.assert_close((coefficients * other).sum(), (batch * DCT().synthesis(other)).sum())


def test_dtype_is_kept():
    single = images(1, 1, 8, 8, dtype=torch.float32)
    assert DCT().analysis(single).dtype == torch.float32
    torch.testing.assert_close(DCT().analysis(single).double(), DCT().analysis(single.double()), atol=1e-5, rtol=0)


def test_bands_are_octaves():
    labels = DCT().bands((1, 16, 8))
    assert labels[0, 0] == 0
    assert (labels == 0).sum() == 1
    assert labels[1, 0] == labels[1, 1] == labels[0, 1] == 1
    assert labels[0, 2] == labels[3, 3] == 2
    assert labels[4, 0] == labels[0, 7] == 3
    assert labels[8, 0] == labels[15, 7] == 4
    assert DCT().analysis(torch.ones(1, 1, 16, 8))[0, 0].masked_fill(labels == 0, 0).abs().max() == pytest.approx(
        0, abs=1e-5
    )


def test_a_matrix_is_made_once():
    assert dct_matrix(12) is dct_matrix(12)
