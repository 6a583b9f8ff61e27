import pytest
import pywt
import torch
from random_images import normal as images

from gahbench_plugins.bases.wavelet import Wavelet
from gahbench_plugins.bases.wavelet_ti import TranslationInvariantWavelet


@pytest.mark.parametrize("name", ["haar", "db3", "sym4", "sym8", "coif2"])
@pytest.mark.parametrize(("size", "levels"), [((16, 24), 3), ((32, 32), 4), ((20, 12), 1)])
def test_agrees_with_pywavelets(name, size, levels):
    batch = images(2, 3, *size)
    approximation, *details = pywt.swt2(batch.numpy(), name, levels, norm=True, trim_approx=True)
    expected = [approximation, *(subband for level in details for subband in level)]
    ours = TranslationInvariantWavelet(name, levels).analysis(batch)
    assert ours.shape == (2, 3, 3 * levels + 1, *size)
    for index, subband in enumerate(expected):
        torch.testing.assert_close(ours[:, :, index], torch.from_numpy(subband), atol=1e-10, rtol=0)


def test_coefficients_move_with_the_image():
    basis = TranslationInvariantWavelet("sym4", 2)
    batch = images(1, 2, 15, 18)
    moved = basis.analysis(batch.roll((3, 5), (-2, -1)))
    torch.testing.assert_close(moved, basis.analysis(batch).roll((3, 5), (-2, -1)), atol=1e-12, rtol=0)


@pytest.mark.parametrize("name", ["haar", "db2", "sym4"])
def test_decimated_it_is_the_wavelet_transform(name):
    batch = images(2, 1, 16, 24)
    ours = TranslationInvariantWavelet(name, 2).analysis(batch)[:, 0]
    wavelet = Wavelet(name, 2)
    coefficients, labels = wavelet.analysis(batch)[:, 0], wavelet.bands((1, 16, 24))
    for index in range(7):
        step = 4 if index < 4 else 2
        expected = coefficients[:, labels == index].reshape(2, 16 // step, 24 // step)
        torch.testing.assert_close(step * ours[:, index, ::step, ::step], expected, atol=1e-10, rtol=0)


@pytest.mark.parametrize("name", ["haar", "sym4"])
def test_hard_thresholding_is_cycle_spinning_over_all_shifts(name):
    batch = images(2, 1, 16, 12)
    wavelet = Wavelet(name, 2)
    spun = torch.zeros_like(batch)
    for down in range(4):
        for across in range(4):
            coefficients = wavelet.analysis(batch.roll((down, across), (-2, -1)))
            kept = coefficients * (coefficients.abs() > 1.1)
            spun += wavelet.synthesis(kept).roll((-down, -across), (-2, -1)) / 16
    basis = TranslationInvariantWavelet(name, 2)
    coefficients = basis.analysis(batch)
    kept = coefficients * (coefficients.abs() > 1.1 * basis.noise_levels((1, 16, 12)))
    torch.testing.assert_close(basis.synthesis(kept), spun, atol=1e-10, rtol=0)
    assert not torch.allclose(spun, batch, atol=0.1)


def test_noise_levels():
    found = TranslationInvariantWavelet("sym4", 3).noise_levels((1, 64, 32)).flatten()
    expected = torch.tensor([3, 3, 3, 3, 2, 2, 2, 1, 1, 1]).double().neg().exp2()
    torch.testing.assert_close(found, expected, atol=1e-10, rtol=0)


def test_bands_are_subbands():
    basis = TranslationInvariantWavelet("haar", 2)
    labels = basis.bands((1, 16, 16))
    assert labels.flatten().tolist() == list(range(7))
    # Vertical stripes of period 2 lie in the finest band of horizontal changes, a constant in band 0.
    stripes = (torch.arange(16) % 2).double().sub(0.5).expand(1, 1, 16, 16)
    powers = basis.analysis(stripes).square().sum((0, 1, 3, 4))
    assert powers[5] == pytest.approx(powers.sum().item())
    powers = basis.analysis(torch.ones(1, 1, 16, 16, dtype=torch.float64)).square().sum((0, 1, 3, 4))
    assert powers[0] == pytest.approx(256)


@pytest.mark.parametrize(("size", "levels"), [((64, 64), 4), ((32, 40), 3), ((25, 31), 2), ((7, 90), 1), ((1, 1), 1)])
def test_default_depth(size, levels):
    assert TranslationInvariantWavelet().analysis(images(1, 1, *size)).shape[2] == 3 * levels + 1
