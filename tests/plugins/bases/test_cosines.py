"""Discrete cosine transforms of images and of blocks."""

import pytest
import scipy.fft
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from random_images import normal as images

from gahbench_plugins.bases.block_dct import BlockDCT
from gahbench_plugins.bases.dct import DCT


@settings(deadline=None, max_examples=20)
@given(height=st.integers(1, 20), width=st.integers(1, 20))
def test_the_dct_equals_scipy(height, width):
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


@settings(deadline=None, max_examples=20)
@given(size=st.integers(1, 9), rows=st.integers(1, 4), columns=st.integers(1, 4))
def test_every_block_equals_scipy(size, rows, columns):
    batch = images(2, 2, size * rows, size * columns)
    coefficients = BlockDCT(size).analysis(batch)
    for row in range(rows):
        for column in range(columns):
            block = (..., slice(row * size, (row + 1) * size), slice(column * size, (column + 1) * size))
            expected = scipy.fft.dctn(batch[block].numpy(), axes=(-2, -1), norm="ortho")
            torch.testing.assert_close(coefficients[block], torch.from_numpy(expected))


def test_a_single_block_is_the_global_transform():
    batch = images(2, 3, 16, 16)
    torch.testing.assert_close(BlockDCT(16).analysis(batch), DCT().analysis(batch))
    torch.testing.assert_close(BlockDCT(1).analysis(batch), batch)


def test_bands_are_frequencies():
    labels = BlockDCT(4).bands((1, 8, 12))
    assert labels[:4, :4].tolist() == [[0, 1, 2, 3], [1, 2, 3, 4], [2, 3, 4, 5], [3, 4, 5, 6]]
    assert torch.equal(labels, labels[:4, :4].repeat(2, 3))
    # Images that are constant on blocks have only band 0.
    flat = images(1, 1, 2, 3).repeat_interleave(4, -1).repeat_interleave(4, -2)
    assert BlockDCT(4).analysis(flat)[0, 0][labels > 0].abs().max() < 1e-12
