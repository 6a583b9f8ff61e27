import pytest
import scipy.fft
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gahbench_plugins.bases.dct import DCT, dct_matrix


@settings(deadline=None, max_examples=20)
@given(height=st.integers(1, 20), width=st.integers(1, 20))
def test_it_is_equal_to_scipy(height, width):
    batch = torch.randn(2, 2, height, width, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    expected = scipy.fft.dctn(batch.numpy(), axes=(-2, -1), norm="ortho")
    torch.testing.assert_close(DCT().analysis(batch), torch.from_numpy(expected))


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
