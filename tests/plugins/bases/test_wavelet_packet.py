import itertools

import numpy as np
import pytest
import pywt
import torch
from random_images import normal as images

from gahbench_plugins.bases.wavelet import Wavelet
from gahbench_plugins.bases.wavelet_packet import WaveletPacket


def textures(count, side):
    """Return plane waves of many frequencies, which wavelets of coarse frequency resolution take many of."""
    places = torch.arange(side, dtype=torch.float64)
    frequencies = torch.rand(count, 2, 1, 1, generator=torch.Generator().manual_seed(7), dtype=torch.float64) * 3
    return torch.cos(frequencies[:, :1] * places[:, None] + frequencies[:, 1:] * places)


def cost(coefficients, threshold):
    return coefficients.square().clamp(max=threshold**2).sum((-2, -1))


def nodes(image, name, levels):
    """Return the packets of one image by their path, computed by PyWavelets."""
    packets = pywt.WaveletPacket2D(image.numpy(), name, mode="periodization", maxlevel=levels)
    return {
        "".join(path): packets["".join(path)].data
        for level in range(1, levels + 1)
        for path in itertools.product("ahvd", repeat=level)
    }


def tree_costs(costs, path, levels):
    """Return the costs of all trees below a path."""
    found = [] if set(path) <= {"a"} and len(path) < levels else [costs[path]]
    if len(path) < levels:
        below = [tree_costs(costs, path + letter, levels) for letter in "ahvd"]
        found += [sum(choice) for choice in itertools.product(*below)]
    return found


@pytest.mark.parametrize(("levels", "trees"), [(1, 1), (2, 2**3), (3, 17**3 * 2**3)])
def test_best_of_all_trees(levels, trees):
    batch = images(2, 2, 16, 8) + 2 * textures(2, 16)[..., :8]
    threshold = 1.3
    found = cost(WaveletPacket("db2", levels).adapt(batch, threshold).analysis(batch), threshold)
    for image, one in zip(batch.flatten(0, 1), found.flatten(), strict=True):
        packets = nodes(image, "db2", levels)
        costs = {path: np.minimum(data**2, threshold**2).sum() for path, data in packets.items()}
        every = tree_costs(costs, "", levels)
        assert len(every) == trees
        assert one == pytest.approx(min(every))


def test_coefficients_are_packets_of_pywavelets():
    batch = textures(2, 32)[1:] + 0.3 * images(1, 1, 32, 32, seed=3)
    found = WaveletPacket("sym4", 2).adapt(batch, 1.5).analysis(batch)[0, 0].numpy()
    packets = nodes(batch[0, 0], "sym4", 2)
    places = {"a": (0, 0), "h": (1, 0), "v": (0, 1), "d": (1, 1)}
    splits = {}
    for letter, (row, column) in places.items():
        quarter = found[16 * row : 16 * row + 16, 16 * column : 16 * column + 16]
        children = np.block(
            [[packets[letter + "a"], packets[letter + "v"]], [packets[letter + "h"], packets[letter + "d"]]]
        )
        saved = np.minimum(packets[letter] ** 2, 1.5**2).sum() - np.minimum(children**2, 1.5**2).sum()
        splits[letter] = letter == "a" or saved > 0
        np.testing.assert_allclose(quarter, children if splits[letter] else packets[letter], atol=1e-9)
    assert set(list(splits.values())[1:]) == {False, True}


@pytest.mark.parametrize("name", ["haar", "db2", "sym4", "sym8"])
@pytest.mark.parametrize(("threshold", "levels"), [(0.03, 2), (0.3, None), (1, None), (3, 2)])
def test_never_worse_than_the_wavelet_and_better_on_textures(name, threshold, levels):
    batch = torch.cat([textures(8, 32), images(4, 1, 32, 32), textures(4, 32) + 0.3 * images(4, 1, 32, 32)])
    packet = cost(WaveletPacket(name, levels).adapt(batch, threshold).analysis(batch), threshold)
    wavelet = cost(Wavelet(name, levels).analysis(batch), threshold)
    assert (packet <= wavelet + 1e-9).all()
    assert threshold != 1 or packet[:8].mean() < 0.9 * wavelet[:8].mean()


def test_without_anything_to_gain_it_is_the_wavelet():
    batch = images(3, 2, 32, 32)
    for threshold, noisy in ((0.0, False), (1e3, False), (1e3, True)):
        adapted = WaveletPacket("sym4").adapt(batch, threshold, noisy)
        # Matrices of other sizes may be multiplied in another order: equal but for rounding.
        torch.testing.assert_close(adapted.analysis(batch), Wavelet("sym4").analysis(batch), rtol=0, atol=1e-13)


def further_splits(basis):
    return sum(int(split.sum()) - split.shape[0] * split.shape[1] for split in basis._splits)


def test_noise_is_charged_for():
    noise = images(40, 1, 64, 64)
    free = WaveletPacket("sym4").adapt(noise, 3.0)
    charged = WaveletPacket("sym4").adapt(noise, 3.0, noisy=True)
    assert further_splits(free) > 10 * 40
    assert further_splits(charged) < 1 * 40
    # What is worth a split is still split: a texture that stands out.
    texture = 3 * textures(40, 64) + noise
    assert further_splits(WaveletPacket("sym4").adapt(texture, 3.0, noisy=True)) > 5 * 40


def test_every_channel_of_every_image_has_a_tree_of_its_own():
    batch = textures(6, 32).reshape(3, 2, 32, 32)
    together = WaveletPacket("sym4").adapt(batch, 0.3)
    for image in range(3):
        for channel in range(2):
            one = batch[image : image + 1, channel : channel + 1]
            alone = WaveletPacket("sym4").adapt(one, 0.3).analysis(one)
            torch.testing.assert_close(together.analysis(batch)[image, channel], alone[0, 0], atol=1e-12, rtol=0)
    # What is adapted to one image takes any number.
    single = WaveletPacket("sym4").adapt(batch[:1], 0.3)
    torch.testing.assert_close(single.analysis(batch)[1], single.analysis(batch[1:2])[0], atol=1e-12, rtol=0)


def test_bands_are_the_wavelets():
    basis = WaveletPacket("sym4", 2)
    assert torch.equal(basis.adapt(images(1, 1, 16, 8), 1.0).bands((1, 16, 8)), Wavelet("sym4", 2).bands((1, 16, 8)))
    # The coarse scale is the same for every tree.
    batch = textures(5, 32)
    coarse = Wavelet("sym4").bands((1, 32, 32)) == 0
    found = WaveletPacket("sym4").adapt(batch, 0.3).analysis(batch)
    torch.testing.assert_close(found[..., coarse], Wavelet("sym4").analysis(batch)[..., coarse], rtol=0, atol=1e-13)
