import pytest
import scipy.fft
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gahbench_plugins.bases.block_dct import BlockDCT
from gahbench_plugins.bases.dct import DCT


def images(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


@settings(deadline=None, max_examples=30)
@given(size=st.integers(1, 9), rows=st.integers(1, 4), columns=st.integers(1, 4), channels=st.integers(1, 3))
def test_orthonormal_and_every_block_equal_to_scipy(size, rows, columns, channels):
    basis = BlockDCT(size)
    batch = images(2, channels, size * rows, size * columns)
    coefficients = basis.analysis(batch)
    for row in range(rows):
        for column in range(columns):
            block = (..., slice(row * size, (row + 1) * size), slice(column * size, (column + 1) * size))
            expected = scipy.fft.dctn(batch[block].numpy(), axes=(-2, -1), norm="ortho")
            torch.testing.assert_close(coefficients[block], torch.from_numpy(expected))
    torch.testing.assert_close(basis.synthesis(coefficients), batch)
    other = images(*batch.shape, seed=1)
    torch.testing.assert_close((coefficients * other).sum(), (batch * basis.synthesis(other)).sum())


def test_one_block_is_the_global_transform():
    batch = images(2, 3, 16, 16)
    torch.testing.assert_close(BlockDCT(16).analysis(batch), DCT().analysis(batch))
    torch.testing.assert_close(BlockDCT(1).analysis(batch), batch)


def test_bands_are_frequencies():
    labels = BlockDCT(4).bands((1, 8, 12))
    assert labels[:4, :4].tolist() == [[0, 1, 2, 3], [1, 2, 3, 4], [2, 3, 4, 5], [3, 4, 5, 6]]
    assert torch.equal(labels, labels[:4, :4].repeat(2, 3))
    # Images that are constant on blocks have nothing but band 0.
    flat = images(1, 1, 2, 3).repeat_interleave(4, -1).repeat_interleave(4, -2)
    assert BlockDCT(4).analysis(flat)[0, 0][labels > 0].abs().max() < 1e-12


def test_dtype_is_kept():
    single = images(1, 1, 16, 16, dtype=torch.float32)
    assert BlockDCT().analysis(single).dtype == torch.float32
    assert BlockDCT().synthesis(single).dtype == torch.float32


def test_every_size_of_image_and_no_empty_block():
    BlockDCT(6).check_shape((3, 25, 36))
    with pytest.raises(ValueError, match="size=0"):
        BlockDCT(0)
