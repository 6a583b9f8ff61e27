"""Discrete cosine transforms of images and of blocks."""

import scipy.fft
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from random_images import normal as images

from gahbench_plugins.bases.block_dct import BlockDCT
from gahbench_plugins.bases.dct import DCT


@settings(deadline=None, max_examples=20)
@given(size=st.integers(1, 9), rows=st.integers(1, 4), columns=st.integers(1, 4))
def test_images_and_blocks_have_the_coefficients_of_scipy(size, rows, columns):
    batch = images(2, 2, size * rows, size * columns)
    whole = scipy.fft.dctn(batch.numpy(), axes=(-2, -1), norm="ortho")
    torch.testing.assert_close(DCT().analysis(batch), torch.from_numpy(whole))
    blocks = batch.unflatten(-1, (columns, size)).unflatten(-3, (rows, size))
    expected = torch.from_numpy(scipy.fft.dctn(blocks.numpy(), axes=(-3, -1), norm="ortho")).reshape(batch.shape)
    torch.testing.assert_close(BlockDCT(size).analysis(batch), expected)


def test_constants_are_only_in_band_0():
    flat = images(1, 1, 2, 3).repeat_interleave(4, -1).repeat_interleave(4, -2)
    for basis, image in ((BlockDCT(4), flat), (DCT(), torch.ones_like(flat))):
        labels = basis.bands((1, 8, 12))
        assert basis.analysis(image)[0, 0][labels > 0].abs().max() < 1e-12
        assert labels[0, :4].tolist() == ([0, 1, 2, 3] if image is flat else [0, 1, 2, 2])
