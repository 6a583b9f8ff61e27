import pytest
import pywt
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gahbench_plugins.bases.wavelet import Wavelet
from gahbench_plugins.bases.wavelet_ti import TranslationInvariantWavelet


def images(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


@settings(deadline=None, max_examples=30)
@given(
    name=st.sampled_from(["haar", "db2", "sym4", "db20", "coif3"]),
    levels=st.one_of(st.none(), st.integers(1, 3)),
    height=st.integers(8, 24),
    width=st.integers(8, 24),
)
def test_parseval_frame_at_any_size(name, levels, height, width):
    basis = TranslationInvariantWavelet(name, levels)
    batch = images(2, 2, height, width)
    coefficients = basis.analysis(batch)
    torch.testing.assert_close(basis.synthesis(coefficients), batch, atol=1e-10, rtol=0)
    torch.testing.assert_close(coefficients.square().sum(), batch.square().sum())
    other = images(*coefficients.shape, seed=1)
    torch.testing.assert_close((coefficients * other).sum(), (batch * basis.synthesis(other)).sum())
    # The trace of a projection: as many dimensions as pixels.
    powers = basis.noise_levels((2, height, width)).square().expand(coefficients.shape[2:])
    assert float(powers.sum()) == pytest.approx(height * width)


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
    single = TranslationInvariantWavelet(name, levels).analysis(batch.float())
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), ours, atol=1e-5, rtol=0)


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
    # On sizes that no decimation divides they are the norms of the atoms, which meet themselves around the border.
    basis = TranslationInvariantWavelet("db4", 3)
    pixels = torch.eye(9 * 11, dtype=torch.float64).reshape(99, 1, 9, 11)
    norms = basis.analysis(pixels).square().sum((0, 1)).sqrt()
    torch.testing.assert_close(basis.noise_levels((1, 9, 11)).expand(norms.shape), norms, atol=1e-10, rtol=0)
    assert (basis.noise_levels((1, 9, 11))[1:4] - 1 / 8).abs().max() > 1e-4


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


def test_gradients_pass():
    basis = TranslationInvariantWavelet("db2", 1)
    assert torch.autograd.gradcheck(basis.analysis, images(1, 1, 5, 6).requires_grad_())
    assert torch.autograd.gradcheck(basis.synthesis, images(1, 1, 4, 5, 6).requires_grad_())


def test_what_is_refused():
    for name in ("bior2.2", "dmey"):
        with pytest.raises(ValueError, match="not an orthogonal wavelet"):
            TranslationInvariantWavelet(name)
    with pytest.raises(ValueError, match="levels=0"):
        TranslationInvariantWavelet("haar", 0)
    with pytest.raises(ValueError, match="sides of at least 16, not 12x64"):
        TranslationInvariantWavelet("haar", 4).check_shape((1, 12, 64))
