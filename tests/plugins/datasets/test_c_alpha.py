import contextlib

import numpy as np
import pytest
import torch

from gahbench.devices.hardware import Cuda
from gahbench_plugins.datasets import _c_alpha_published as c_alpha_published
from gahbench_plugins.datasets.c_alpha import FIELD_STD, LINE_STD, MEAN_STD, CAlpha


def slope(amplitude, frequency):
    return np.polyfit(np.log(frequency), np.log(amplitude), 1)[0]


def regularity(functions, order, lags):
    """Exponent of functions (N, ..., side), and its standard error, from their differences of an order above it.

    The mean square of the differences of a function of spectrum |k|^-(2 a + 1) is as lag^(2 a); unlike a periodogram it
    is blind to polynomials, which a function that is not periodic has as good as any in it.
    """
    squares = []
    for lag in lags:
        differences = functions
        for _ in range(order):
            differences = differences[..., lag:] - differences[..., :-lag]
        squares.append(differences.square().flatten(1).mean(1))
    squares = torch.stack(squares, dim=1).numpy()
    parts = np.array_split(np.arange(len(squares)), 16)
    # The jackknife: each part left out in turn.
    without = [slope(np.delete(squares, part, axis=0).mean(0), lags) / 2 for part in parts]
    return slope(squares.mean(0), lags) / 2, np.std(without) * (len(parts) - 1) ** 0.5


@pytest.mark.parametrize("alpha", [0.5, 1.0, 2.0, 4.0])
def test_exact_background_amplitude_falls_as_alpha_plus_one(alpha):
    amplitude = CAlpha(1.0, 32, background_alpha=alpha).background_amplitude()
    along = amplitude[0, 1:].numpy()
    assert slope(along, np.arange(1, len(along) + 1)) == pytest.approx(-(alpha + 1))
    assert amplitude[3, 4] == pytest.approx(amplitude[0, 5].item())
    assert amplitude[0, 0] == 0


@pytest.mark.parametrize("alpha", [0.5, 1.0, 2.0, 4.0])
def test_exact_contours_are_as_regular_as_designed(alpha):
    dataset = CAlpha(alpha, 256)
    masks = torch.cat([dataset.masks(torch.Generator().manual_seed(block), 64) for block in range(16)])
    inside = (masks[:, 0].amax(1) == 0) & (masks[:, -1].amin(1) == 1)
    assert inside.float().mean() > 0.95
    found, error = regularity(256 - masks[inside].double().sum(1), int(alpha) + 2, [8, 12, 16, 24])
    assert error < 0.02
    assert found == pytest.approx(alpha, abs=0.05)


@pytest.mark.parametrize("alpha", [0.5, 1.0, 2.0, 4.0])
def test_exact_backgrounds_are_as_regular_as_designed(alpha):
    fields = torch.cat(CAlpha(alpha, 128)._backgrounds(torch.Generator().manual_seed(0), 128)).double()
    for directed in (fields, fields.mT):
        found, error = regularity(directed, int(alpha) + 2, [6, 8, 12, 16])
        assert error < 0.02
        assert found == pytest.approx(alpha, abs=0.05)


@pytest.mark.parametrize("alpha", [0.5, 1.0, 2.0])
def test_exact_contour_amplitude_falls_as_alpha_plus_a_half(alpha):
    contours = CAlpha(alpha)._contours(torch.Generator().manual_seed(0), 2000, 256).double()
    # The variance of one point: a relative error of sqrt(2 / n) = 3 %.
    assert contours[:, 7].square().mean().item() == pytest.approx(1, abs=0.13)
    amplitude = torch.fft.rfft(contours).abs().square().mean(0).sqrt()[1:33].numpy()
    assert slope(amplitude, np.arange(1, 33)) == pytest.approx(-(alpha + 0.5), abs=0.03)


def test_exact_backgrounds_have_the_covariance_of_the_amplitude():
    dataset = CAlpha(2.0, 8)
    first, second = dataset._backgrounds(torch.Generator().manual_seed(0), 20000)
    amplitude = dataset.background_amplitude()
    kernel = torch.fft.irfft2(amplitude.square().to(torch.complex128), s=(16, 16))
    assert kernel[0, 0].item() == pytest.approx(FIELD_STD**2)
    for region in (first, second):
        centred = region.double() - 0.5
        for other, shift in (((0, 0), (0, 0)), ((0, 3), (0, 3)), ((7, 7), (7, 7)), ((5, 1), (5, 1))):
            measured = (centred[:, 0, 0] * centred[:, other[0], other[1]]).mean().item()
            # Standard error of a product of Gaussians of variance v: at most v sqrt(2 / n), here 1 %.
            assert measured == pytest.approx(MEAN_STD**2 + kernel[shift].item(), abs=0.04 * 0.0208)
    across = ((first - 0.5) * (second - 0.5)).mean((1, 2)).double()
    assert across.mean().abs() < 4 * across.std() / 20000**0.5


def test_exact_is_gaussian_given_the_contour_and_rarely_leaves_the_unit_interval():
    images = CAlpha(2.0, 32).images("train", 2048)
    outside = (images < 0) | (images > 1)
    # Two-sided tail of a Gaussian of standard deviation .144 at .5 is 5.3e-4.
    assert outside.float().mean() < 1.5e-3
    assert outside.flatten(1).any(1).float().mean() < 0.02
    corner = (images[:, 0, 0, 0] - 0.5).double()
    assert corner.mean().abs() < 4 * corner.std() / 2048**0.5
    kurtosis = corner.pow(4).mean() / corner.square().mean() ** 2
    # Standard error of the kurtosis is sqrt(24 / n) = .11.
    assert kurtosis == pytest.approx(3, abs=0.45)


def test_line_masks_are_monotone_and_average_the_contour():
    dataset = CAlpha(2.0, 32)
    masks = dataset.masks(torch.Generator().manual_seed(0), 256)
    assert masks.min() >= 0
    assert masks.max() <= 1
    assert (masks.diff(dim=1) >= -1e-5).all()
    # The covered rows of a column are what is below the mean height of the contour there.
    heights = dataset._contours(torch.Generator().manual_seed(0), 256, 2 * 8 * 32)[:, : 8 * 32 + 1]
    heights = 32 * (0.5 + LINE_STD * heights)
    middles = ((heights[:, 1:] + heights[:, :-1]) / 2).clamp(0, 32).reshape(256, 32, 8).mean(2)
    torch.testing.assert_close(masks.sum(1), 32 - middles, atol=1e-3, rtol=0)


def test_closed_masks_are_connected_islands_of_the_area_of_their_radius():
    dataset = CAlpha(2.0, 64, contour="closed")
    masks = dataset.masks(torch.Generator().manual_seed(0), 128)
    inside = (masks[:, 1:-1, 1:-1] > 0.99).flatten(1).any(1)
    assert inside.all()
    # r = .25 exp(.25 g): E r^2 = .0625 exp(2 * .0625), so the mean area is pi times that, some of it outside.
    expected = np.pi * 0.0625 * np.exp(2 * 0.0625)
    area = masks.mean((1, 2)).double()
    assert expected - 0.02 - 4 * area.std() / 128**0.5 < area.mean() < expected + 4 * area.std() / 128**0.5


def test_only_pixels_at_the_contour_mix_regions():
    # A smooth contour of slope below some units crosses a column in few pixels.
    masks = CAlpha(4.0, 64).masks(torch.Generator().manual_seed(0), 64)
    mixed = ((masks > 1e-4) & (masks < 1 - 1e-4)).sum(1)
    assert mixed.max() <= 8
    assert mixed.float().mean() < 3


def paper_backgrounds(noise, alpha, limits):
    """Images of one region alone."""
    shape = (len(noise) // 2, *noise.shape[1:])
    return [c_alpha_published.images(torch.full(shape, share), noise, alpha, limits) for share in (1.0, 0.0)]


def test_paper_regions_are_rescaled_to_their_ranges():
    generator = torch.Generator().manual_seed(0)
    noise, limits = torch.rand(4000, 32, 32, generator=generator), torch.rand(3, 2000, 1, 1, generator=generator)
    first, second = paper_backgrounds(2 * noise - 1, 2.0, limits)
    bright_first = first.amax((1, 2)) > 1 - 1e-6
    bright = torch.where(bright_first[:, None, None], first, second)
    dark = torch.where(bright_first[:, None, None], second, first)
    assert (bright.amax((1, 2)) > 1 - 1e-6).all()
    assert (dark.amin((1, 2)) < 1e-6).all()
    # u and v are uniform, the coin is fair.
    for uniform in (bright.amin((1, 2)), dark.amax((1, 2))):
        ordered = uniform.sort().values
        # Kolmogorov-Smirnov, beyond the 1e-4 quantile.
        assert (ordered - torch.linspace(0, 1, 2000)).abs().max() < 2.2 / 2000**0.5
    assert bright_first.float().mean() == pytest.approx(0.5, abs=4 * 0.5 / 2000**0.5)


def test_paper_contour_variance_and_blur():
    size, alpha = 64, 2.0
    masks = CAlpha(alpha, size, "paper").masks(torch.Generator().manual_seed(0), 3000)
    assert set(masks.unique().tolist()) <= {0, 0.25, 0.5, 0.75, 1}
    tops = size - masks.sum(1)
    # White noise of variance 1/3 through |k|^-alpha has variance (1 + 2 zeta(2 alpha)) / (3 size), here in rows^2.
    expected = (1 + 2 * sum(k ** (-2 * alpha) for k in range(1, size // 2))) / (3 * size) * size**2
    centred = tops[:, 8].double() - tops[:, 8].double().mean()
    assert centred.square().mean().item() == pytest.approx(expected, rel=0.12)
    # The blur averages a row with the one above, which lowers the edge by half a row. The constant of a contour has a
    # standard deviation of 4.6 rows.
    assert tops.mean().item() == pytest.approx(size // 2 + 0.5, abs=4 * 4.6 / 3000**0.5)


def test_paper_background_spectrum_falls_as_alpha():
    # Rescaling changes an image by a factor and a constant, not the slope of its spectrum.
    noise = 2 * torch.rand(2000, 32, 32, generator=torch.Generator().manual_seed(0)) - 1
    first, _ = paper_backgrounds(noise, 2.0, torch.rand(3, 1000, 1, 1, generator=torch.Generator().manual_seed(1)))
    first = (first - first.mean((1, 2), keepdim=True)) / first.std((1, 2), keepdim=True)
    power = torch.fft.rfft2(first.double()).abs().square().mean(0)[0, 1:16].sqrt().numpy()
    assert slope(power, np.arange(1, 16)) == pytest.approx(-2.0, abs=0.1)


def test_same_seed_draws_the_same_noise_for_every_alpha():
    smooth, rough = (CAlpha(alpha, 32).images("test", 64).flatten(1) for alpha in (4.0, 2.0))
    correlation = torch.corrcoef(torch.cat([smooth, rough]))[:64, 64:]
    assert correlation.diagonal().median() > 0.9


def test_optimum_is_that_of_the_rougher_part():
    assert CAlpha(4.0).optimum.slope == pytest.approx(0.8)
    assert CAlpha(4.0, background_alpha=1.0).optimum.slope == pytest.approx(0.5)
    assert CAlpha(2.0, background_alpha=5.0).optimum.kind == "bracket"
    assert CAlpha(2.0, construction="paper").optimum.kind == "rate"


@pytest.mark.parametrize(
    "parameters", [{"construction": "paper"}, {}, {"master": 16}, {"contour": "closed", "background_alpha": "flat"}]
)
def test_images_are_made_on_any_device(parameters):
    """Torch refuses to compute with tensors of two devices; ``meta`` is one that every machine has."""
    found = CAlpha(2.0, 8, **parameters).draw(torch.Generator(), 4, "meta")
    assert found.device.type == "meta"
    assert found.shape == (4, 1, 8, 8)


def test_training_images_alone_are_made_on_a_gpu(monkeypatch):
    dataset, devices = CAlpha(2.0, 8), []

    def draw(generator, count, device="cpu"):
        devices.append(device)
        return torch.zeros(count, 1, 8, 8)

    monkeypatch.setattr(dataset, "draw", draw)
    monkeypatch.setattr(Cuda, "devices", classmethod(lambda cls: [cls("cuda:0")]))
    monkeypatch.setattr(Cuda, "stream", lambda self: contextlib.nullcontext())
    for split in ("train", "A", "B", "validation", "test"):
        dataset.images(split, 1)
    assert list(map(str, devices)) == ["cuda", "cuda", "cuda", "cpu", "cpu"]
