"""Wavelets: orthonormal, biorthogonal, undecimated, and packets."""

import contextlib
import itertools

import numpy as np
import pytest
import pywt
import torch
from random_images import normal as images

from gahbench.registry.registry import Registry
from gahbench_plugins.bases import wavelet
from gahbench_plugins.bases.wavelet import (
    Wavelet,
    wavelet_matrix,
)
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


@pytest.mark.parametrize(("name", "moments"), [("haar", 1), ("db2", 2), ("sym4", 4), ("sym8", 8)])
def test_details_of_polynomials_vanish_inside(name, moments):
    grid = torch.linspace(-4, 4, 64, dtype=torch.float64)
    detail = wavelet_matrix(name, 64)[32:]
    inside = slice(8, 24)
    assert (detail @ grid ** (moments - 1))[inside].abs().max() < 1e-7
    assert (detail @ grid**moments)[inside].abs().min() > 1e-5


@pytest.mark.parametrize(
    ("size", "levels"),
    [((64, 64), 4), ((32, 32), 3), ((24, 24), 2), ((80, 80), 4), ((8, 8), 1), ((4, 4), 1), ((6, 64), 1)],
)
def test_default_depth(size, levels):
    batch = images(1, 1, *size)
    assert torch.equal(Wavelet("haar").analysis(batch), Wavelet("haar", levels).analysis(batch))
    # A further level would be refused or have another result.
    try:
        deeper = Wavelet("haar", levels + 1).analysis(batch)
    except ValueError:
        return
    assert not torch.equal(Wavelet("haar").analysis(batch), deeper)


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


def test_short_names_are_presets():
    registry = Registry()
    batch = images(1, 1, 16, 16)
    for name in ("haar", "db2", "db4", "sym4", "sym8"):
        assert torch.equal(registry.create("basis", name).analysis(batch), Wavelet(name).analysis(batch))
    assert registry.configure("basis", "wavelet").label == "wavelet[sym4]"


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


def test_undecimated_coefficients_shift_with_the_image():
    basis = TranslationInvariantWavelet("sym4", 2)
    batch = images(1, 2, 15, 18)
    moved = basis.analysis(batch.roll((3, 5), (-2, -1)))
    torch.testing.assert_close(moved, basis.analysis(batch).roll((3, 5), (-2, -1)), atol=1e-12, rtol=0)


@pytest.mark.parametrize("name", ["haar", "db2", "sym4"])
def test_decimated_coefficients_are_the_wavelet_transform(name):
    batch = images(2, 1, 16, 24)
    ours = TranslationInvariantWavelet(name, 2).analysis(batch)[:, 0]
    wavelet = Wavelet(name, 2)
    coefficients, labels = wavelet.analysis(batch)[:, 0], wavelet.bands((1, 16, 24))
    for index in range(7):
        step = 4 if index < 4 else 2
        expected = coefficients[:, labels == index].reshape(2, 16 // step, 24 // step)
        torch.testing.assert_close(step * ours[:, index, ::step, ::step], expected, atol=1e-10, rtol=0)


def test_ti_bands_are_subbands():
    basis = TranslationInvariantWavelet("haar", 2)
    labels = basis.bands((1, 16, 16))
    assert labels.flatten().tolist() == list(range(7))
    # Vertical stripes of period 2 are in the finest band of horizontal changes, and a constant in band 0.
    stripes = (torch.arange(16) % 2).double().sub(0.5).repeat(1, 1, 16, 1)
    powers = basis.analysis(stripes).square().sum((0, 1, 3, 4))
    assert powers[5] == pytest.approx(powers.sum().item())
    powers = basis.analysis(torch.ones(1, 1, 16, 16, dtype=torch.float64)).square().sum((0, 1, 3, 4))
    assert powers[0] == pytest.approx(256)


@pytest.mark.parametrize(("size", "levels"), [((64, 64), 4), ((32, 40), 3), ((25, 31), 2), ((7, 90), 1), ((1, 1), 1)])
def test_ti_default_depth(size, levels):
    assert TranslationInvariantWavelet().analysis(images(1, 1, *size)).shape[2] == 3 * levels + 1


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


def test_packet_coefficients_agree_with_pywavelets():
    batch = textures(2, 32)[1:] + 0.3 * images(1, 1, 32, 32, seed=3)
    result = WaveletPacket("sym4", 2).adapt(batch, 1.5).analysis(batch)[0, 0].numpy()
    packets = nodes(batch[0, 0], "sym4", 2)
    indices = {"a": (0, 0), "h": (1, 0), "v": (0, 1), "d": (1, 1)}
    splits = {}
    for letter, (row, column) in indices.items():
        quarter = result[16 * row : 16 * row + 16, 16 * column : 16 * column + 16]
        children = np.block(
            [[packets[letter + "a"], packets[letter + "v"]], [packets[letter + "h"], packets[letter + "d"]]]
        )
        saved = np.minimum(packets[letter] ** 2, 1.5**2).sum() - np.minimum(children**2, 1.5**2).sum()
        splits[letter] = letter == "a" or saved > 0
        np.testing.assert_allclose(quarter, children if splits[letter] else packets[letter], atol=1e-9)
    assert set(list(splits.values())[1:]) == {False, True}


@pytest.mark.parametrize("name", ["haar", "db2", "sym4", "sym8"])
@pytest.mark.parametrize(("threshold", "levels"), [(0.03, 2), (0.3, None), (1, None), (3, 2)])
def test_packets_are_never_worse_than_the_wavelet_and_better_on_textures(name, threshold, levels):
    batch = torch.cat([textures(8, 32), images(4, 1, 32, 32), textures(4, 32) + 0.3 * images(4, 1, 32, 32)])
    packet = cost(WaveletPacket(name, levels).adapt(batch, threshold).analysis(batch), threshold)
    wavelet = cost(Wavelet(name, levels).analysis(batch), threshold)
    assert (packet <= wavelet + 1e-9).all()
    assert threshold != 1 or packet[:8].mean() < 0.9 * wavelet[:8].mean()


def test_packets_without_gain_are_the_wavelet():
    batch = images(3, 2, 32, 32)
    for threshold, noisy in ((0.0, False), (1e3, False), (1e3, True)):
        adapted = WaveletPacket("sym4").adapt(batch, threshold, noisy)
        # Products of matrices of other sizes may round differently.
        torch.testing.assert_close(adapted.analysis(batch), Wavelet("sym4").analysis(batch), rtol=0, atol=1e-13)


def further_splits(basis):
    return sum(int(split.sum()) - split.shape[0] * split.shape[1] for split in basis._splits)


def test_splits_have_a_penalty_on_noisy_images():
    noise = images(40, 1, 64, 64)
    without_penalty = WaveletPacket("sym4").adapt(noise, 3.0)
    with_penalty = WaveletPacket("sym4").adapt(noise, 3.0, noisy=True)
    assert further_splits(without_penalty) > 10 * 40
    assert further_splits(with_penalty) < 1 * 40
    # A strong texture is still split.
    texture = 3 * textures(40, 64) + noise
    assert further_splits(WaveletPacket("sym4").adapt(texture, 3.0, noisy=True)) > 5 * 40


def test_every_channel_of_every_image_has_a_separate_tree():
    batch = textures(6, 32).reshape(3, 2, 32, 32)
    together = WaveletPacket("sym4").adapt(batch, 0.3)
    for image in range(3):
        for channel in range(2):
            plane = batch[image : image + 1, channel : channel + 1]
            alone = WaveletPacket("sym4").adapt(plane, 0.3).analysis(plane)
            torch.testing.assert_close(together.analysis(batch)[image, channel], alone[0, 0], atol=1e-12, rtol=0)
    # A basis of one image transforms any number of images.
    single = WaveletPacket("sym4").adapt(batch[:1], 0.3)
    torch.testing.assert_close(single.analysis(batch)[1], single.analysis(batch[1:2])[0], atol=1e-12, rtol=0)


def test_bands_of_packets_equal_the_bands_of_the_wavelet():
    basis = WaveletPacket("sym4", 2)
    assert torch.equal(basis.adapt(images(1, 1, 16, 8), 1.0).bands((1, 16, 8)), Wavelet("sym4", 2).bands((1, 16, 8)))
    # The coarse scale is the same for every tree.
    batch = textures(5, 32)
    coarse = Wavelet("sym4").bands((1, 32, 32)) == 0
    result = WaveletPacket("sym4").adapt(batch, 0.3).analysis(batch)
    torch.testing.assert_close(result[..., coarse], Wavelet("sym4").analysis(batch)[..., coarse], rtol=0, atol=1e-13)
