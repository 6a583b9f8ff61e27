"""Cosines, and bases of images that are extended."""

import numpy as np
import pytest
import pywt
import scipy.fft
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from random_images import normal
from random_images import uniform as images

from gahbench_plugins.bases.block_dct import BlockDCT
from gahbench_plugins.bases.dct import DCT
from gahbench_plugins.bases.wavelet import Wavelet


@pytest.mark.parametrize(("size", "levels", "extended_size"), [((17, 23), None, (20, 24)), ((30, 45), 3, (32, 48))])
def test_wavelets_transform_the_half_sample_symmetric_extension(size, levels, extended_size):
    batch = images(1, 1, *size)
    widths = [(0, extended - side) for side, extended in zip(size, extended_size, strict=True)]
    padded = np.pad(batch[0, 0].numpy(), widths, mode="symmetric")
    depth = levels or 2
    theirs, _ = pywt.coeffs_to_array(pywt.wavedec2(padded, "haar", mode="periodization", level=depth))
    ours = Wavelet("haar", levels).analysis(batch).flatten(2)[0, 0]
    np.testing.assert_allclose(ours[: theirs.size], theirs.flatten(), atol=1e-12)
    assert (ours[theirs.size :] == 0).all()
    # The extended image has the same coefficients, arranged in subbands.
    plain = Wavelet("haar", depth).analysis(torch.from_numpy(padded)[None, None])
    np.testing.assert_allclose(plain[0, 0], theirs, atol=1e-12)


@pytest.mark.parametrize(
    ("levels", "size", "extended_size"),
    [(None, (321, 481), (352, 512)), (None, (34, 40), (34, 40)), (None, (33, 40), (40, 40)), (4, (34, 40), (48, 48))],
)
def test_the_extended_size_is_the_next_valid_size(levels, size, extended_size):
    basis = Wavelet("sym4", levels)
    assert basis.valid_size(*size) == extended_size
    assert basis.valid_size(*extended_size) == extended_size
    assert basis.is_orthonormal((1, *size)) == (size == extended_size)
    assert (size != extended_size) == any("extended" in note for note in basis.notes((1, *size)))


@settings(deadline=None, max_examples=20)
@given(size=st.integers(1, 9), rows=st.integers(1, 4), columns=st.integers(1, 4))
def test_images_and_blocks_have_the_coefficients_of_scipy(size, rows, columns):
    batch = normal(2, 2, size * rows, size * columns)
    whole = scipy.fft.dctn(batch.numpy(), axes=(-2, -1), norm="ortho")
    torch.testing.assert_close(DCT().analysis(batch), torch.from_numpy(whole))
    blocks = batch.unflatten(-1, (columns, size)).unflatten(-3, (rows, size))
    expected = torch.from_numpy(scipy.fft.dctn(blocks.numpy(), axes=(-3, -1), norm="ortho")).reshape(batch.shape)
    torch.testing.assert_close(BlockDCT(size).analysis(batch), expected)


def test_constants_are_only_in_band_0():
    flat = normal(1, 1, 2, 3).repeat_interleave(4, -1).repeat_interleave(4, -2)
    for basis, image in ((BlockDCT(4), flat), (DCT(), torch.ones_like(flat))):
        labels = basis.bands((1, 8, 12))
        assert basis.analysis(image)[0, 0][labels > 0].abs().max() < 1e-12
        assert labels[0, :4].tolist() == ([0, 1, 2, 3] if image is flat else [0, 1, 2, 2])
