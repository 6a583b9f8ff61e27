"""Bases of images whose sides their transforms do not take as they are."""

import numpy as np
import pytest
import pywt
import torch
from random_images import uniform as images

import gahbench
from gahbench_plugins.bases._extension import laid_out, mirrored
from gahbench_plugins.bases.wavelet import Wavelet

EXTENDED = ["sym4", "wavelet[bior2.2]", "wavelet[db2,levels=2]", "wavelet-packet", "block-dct", "curvelet[scales=2]"]
SIZES = [(17, 23), (30, 45), (33, 33)]
LARGE = (321, 481)
THRESHOLD = 0.3


def adapted(name, batch):
    return gahbench.create("basis", name).adapt(batch, THRESHOLD)


def thresholded(name, batch):
    """Return images without the coefficients that are small beside their noise levels."""
    basis = adapted(name, batch)
    coefficients = basis.analysis(batch)
    levels = basis.noise_levels(tuple(batch.shape[1:]))
    return basis.synthesis(coefficients * (coefficients.abs() > THRESHOLD * levels))


def test_images_of_a_batch_have_noise_levels_of_their_own():
    batch = torch.cat([images(1, 1, 17, 23), torch.linspace(0, 1, 23).double().expand(1, 1, 17, 23)])
    levels = adapted("wavelet-packet", batch).noise_levels((1, 17, 23))
    assert levels.shape[:2] == (2, 1)
    for one, found in zip(batch, levels, strict=True):
        assert torch.equal(adapted("wavelet-packet", one[None]).noise_levels((1, 17, 23))[0], found)
    assert not torch.equal(*levels)


@pytest.mark.parametrize("name", EXTENDED)
@pytest.mark.parametrize("size", SIZES)
def test_thresholding_commutes_with_transposition_and_leaves_constants(name, size):
    batch = images(2, 1, *size)
    torch.testing.assert_close(thresholded(name, batch.mT), thresholded(name, batch).mT)
    constant = torch.full((1, 1, *size), 0.5, dtype=torch.float64)
    torch.testing.assert_close(thresholded(name, constant), constant)


@pytest.mark.parametrize("name", ["sym4", "wavelet-packet", "block-dct", "bandlet", "wavelet-ti"])
def test_photographs_of_bsd(name):
    batch = images(1, 1, *LARGE).float()
    basis = adapted(name, batch)
    basis.check_shape((1, *LARGE))
    torch.testing.assert_close(basis.synthesis(basis.analysis(batch)), batch, atol=1e-5, rtol=0)


@pytest.mark.parametrize(("size", "levels", "to"), [((17, 23), None, (20, 24)), ((30, 45), 3, (32, 48))])
def test_it_is_the_wavelet_transform_of_the_half_sample_symmetric_extension(size, levels, to):
    batch = images(1, 1, *size)
    widths = [(0, extended - side) for side, extended in zip(size, to, strict=True)]
    padded = np.pad(batch[0, 0].numpy(), widths, mode="symmetric")
    depth = levels or 2
    theirs, _ = pywt.coeffs_to_array(pywt.wavedec2(padded, "haar", mode="periodization", level=depth))
    ours = Wavelet("haar", levels).analysis(batch).flatten(2)[0, 0]
    np.testing.assert_allclose(ours[: theirs.size], theirs.flatten(), atol=1e-12)
    assert (ours[theirs.size :] == 0).all()
    # On the extended image itself the same coefficients lie where the subbands are.
    plain = Wavelet("haar", depth).analysis(torch.from_numpy(padded)[None, None])
    np.testing.assert_allclose(plain[0, 0], theirs, atol=1e-12)


def test_images_are_continued_back_and_forth():
    row = torch.arange(3.0)[None]
    assert mirrored(row, (1, 8)).tolist() == [[0, 1, 2, 2, 1, 0, 0, 1]]
    assert mirrored(row.mT, (5, 1)).flatten().tolist() == [0, 1, 2, 2, 1]
    assert laid_out(torch.arange(1, 6), (1, 3)).tolist() == [[[1, 2, 3]], [[4, 5, 0]]]


@pytest.mark.parametrize(
    ("levels", "size", "to"),
    [(None, (321, 481), (352, 512)), (None, (34, 40), (34, 40)), (None, (33, 40), (40, 40)), (4, (34, 40), (48, 48))],
)
def test_what_images_are_continued_to(levels, size, to):
    basis = Wavelet("sym4", levels)
    assert basis.fitting(*size) == to
    assert basis.fitting(*to) == to
    assert basis.is_orthonormal((1, *size)) == (size == to)
    assert (size != to) == any("continued" in note for note in basis.notes((1, *size)))


def test_filters_of_extended_images_are_refused():
    basis = Wavelet("sym4")
    basis.check_filters((1, 18, 24))
    with pytest.raises(ValueError, match="not continue, such as 352x512, not for 321x481"):
        basis.check_filters((1, 321, 481))
