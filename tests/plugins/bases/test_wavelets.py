"""Wavelets (orthonormal, biorthogonal, undecimated, and packets), bases of extended images, and cosines."""

import contextlib
import itertools

import numpy as np
import pytest
import pywt
import scipy.fft
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from random_images import normal as images

from gahbench_plugins.bases import wavelet
from gahbench_plugins.bases.block_dct import BlockDCT
from gahbench_plugins.bases.dct import DCT
from gahbench_plugins.bases.wavelet import Wavelet, wavelet_matrix
from gahbench_plugins.bases.wavelet_packet import WaveletPacket
from gahbench_plugins.bases.wavelet_ti import TranslationInvariantWavelet

#: One or more of every family that is not orthogonal.
BIORTHOGONAL = ["bior1.3", "bior2.2", "bior3.1", "bior4.4", "bior6.8", "rbio1.5", "rbio3.3", "rbio5.5", "dmey"]


def pywavelets(batch, name, levels):
    """Return the result of PyWavelets, without its warning on levels that exist only for periodic signals."""
    deep = levels > pywt.dwt_max_level(min(batch.shape[-2:]), name)
    with pytest.warns(UserWarning, match="boundary effects") if deep else contextlib.nullcontext():
        return pywt.wavedec2(batch.numpy(), name, mode="periodization", level=levels)


@pytest.mark.parametrize(
    "name", ["haar", "db2", "db4", "db20", "db38", "sym4", "sym8", "sym20", "coif2", "coif17", *BIORTHOGONAL]
)
@pytest.mark.parametrize(("size", "levels"), [((16, 48), 2), ((64, 64), 6)])
def test_coefficients_agree_with_pywavelets(name, size, levels):
    batch = images(2, 3, *size)
    ours = Wavelet(name, levels).analysis(batch)
    theirs, _ = pywt.coeffs_to_array(pywavelets(batch, name, levels), axes=(-2, -1))
    np.testing.assert_allclose(ours.numpy(), theirs, atol=1e-10)


@pytest.mark.parametrize("name", wavelet.BIORTHOGONAL)
def test_every_biorthogonal_wavelet_has_the_inverse_of_its_dual_filters(name):
    batch = images(2, 2, 24, 16)
    basis = Wavelet(name, 3)
    assert not basis.orthonormal
    assert not pywt.Wavelet(name).orthogonal or name == "dmey"
    coefficients = basis.analysis(batch)
    torch.testing.assert_close(basis.synthesis(coefficients), batch, atol=1e-12, rtol=0)
    assert torch.linalg.cond(wavelet_matrix(name, 24)) < 4.01
    if name == "dmey":
        return
    # Synthesis also applies to coefficients that are not the analysis of an image, such as shrunk coefficients.
    other = images(2, 2, 24, 16, seed=1)
    nested = pywavelets(other, name, 3)
    theirs = pywt.waverec2([nested[0], *(tuple(map(np.sign, level)) for level in nested[1:])], name, "periodization")
    coefficients = basis.analysis(other)
    signs = torch.where(basis.bands((2, 24, 16)) > 0, coefficients.sign(), coefficients)
    np.testing.assert_allclose(basis.synthesis(signs).numpy(), theirs, atol=1e-9)


@pytest.mark.parametrize("name", wavelet.ORTHOGONAL)
def test_every_accepted_wavelet_is_orthogonal(name):
    matrix = wavelet_matrix(name, 24)
    torch.testing.assert_close(matrix @ matrix.T, torch.eye(24, dtype=torch.float64), atol=1e-10, rtol=0)
    assert pywt.Wavelet(name).orthogonal


def test_bands_label_the_subbands():
    basis = Wavelet("haar", 2)
    labels = basis.bands((1, 16, 8))
    assert labels.shape == (16, 8)
    assert labels.flatten().bincount().tolist() == [8, 8, 8, 8, 32, 32, 32]
    # Vertical stripes of period 2 are only in the finest band of horizontal changes, and a constant only in band 0.
    stripes = (torch.arange(8) % 2).double().sub(0.5).expand(1, 1, 16, 8)
    energy = basis.analysis(stripes)[0, 0].square()
    assert energy[labels == labels[0, 4]].sum() == pytest.approx(energy.sum().item())
    constant = basis.analysis(torch.ones(1, 1, 16, 8, dtype=torch.float64))[0, 0].square()
    assert constant[labels == 0].sum() == pytest.approx(128)


@pytest.mark.parametrize("name", ["haar", "db3", "sym4", "sym8", "coif2"])
@pytest.mark.parametrize(("size", "levels"), [((16, 24), 3), ((32, 32), 4), ((20, 12), 1)])
def test_undecimated_coefficients_agree_with_pywavelets(name, size, levels):
    batch = images(2, 3, *size)
    approximation, *details = pywt.swt2(batch.numpy(), name, levels, norm=True, trim_approx=True)
    expected = [approximation, *(subband for level in details for subband in level)]
    ours = TranslationInvariantWavelet(name, levels).analysis(batch)
    assert ours.shape == (2, 3, 3 * levels + 1, *size)
    for index, subband in enumerate(expected):
        torch.testing.assert_close(ours[:, :, index], torch.from_numpy(subband), atol=1e-10, rtol=0)


def textures(count, side):
    """Return plane waves of many frequencies, for which wavelets need many coefficients."""
    coordinates = torch.arange(side, dtype=torch.float64)
    frequencies = torch.rand(count, 2, 1, 1, generator=torch.Generator().manual_seed(7), dtype=torch.float64) * 3
    return torch.cos(frequencies[:, :1] * coordinates[:, None] + frequencies[:, 1:] * coordinates)


def cost(coefficients, threshold):
    return coefficients.square().clamp(max=threshold**2).sum((-2, -1))


def nodes(image, name, levels):
    """Return the packets of an image by their path, computed by PyWavelets."""
    packets = pywt.WaveletPacket2D(image.numpy(), name, mode="periodization", maxlevel=levels)
    return {
        "".join(path): packets["".join(path)].data
        for level in range(1, levels + 1)
        for path in itertools.product("ahvd", repeat=level)
    }


def tree_costs(costs, path, levels):
    """Return the costs of all trees below a path."""
    result = [] if set(path) <= {"a"} and len(path) < levels else [costs[path]]
    if len(path) < levels:
        below = [tree_costs(costs, path + letter, levels) for letter in "ahvd"]
        result += [sum(choice) for choice in itertools.product(*below)]
    return result


@pytest.mark.parametrize(("levels", "trees"), [(1, 1), (2, 2**3), (3, 17**3 * 2**3)])
def test_the_chosen_tree_has_minimum_cost(levels, trees):
    batch = images(2, 2, 16, 8) + 2 * textures(2, 16)[..., :8]
    threshold = 1.3
    result = cost(WaveletPacket("db2", levels).adapt(batch, threshold).analysis(batch), threshold)
    for image, minimum in zip(batch.flatten(0, 1), result.flatten(), strict=True):
        packets = nodes(image, "db2", levels)
        costs = {path: np.minimum(data**2, threshold**2).sum() for path, data in packets.items()}
        all_costs = tree_costs(costs, "", levels)
        assert len(all_costs) == trees
        assert minimum == pytest.approx(min(all_costs))


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
