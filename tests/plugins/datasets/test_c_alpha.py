"""C^alpha images: contours, backgrounds, and the published construction."""

import contextlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gahbench.devices.hardware import Cuda
from gahbench_plugins.datasets import _c_alpha_published as c_alpha_published
from gahbench_plugins.datasets.c_alpha import FIELD_STD, LINE_STD, MEAN_STD, CAlpha, _background_amplitude, coverage


def slope(amplitude, frequency):
    return np.polyfit(np.log(frequency), np.log(amplitude), 1)[0]


def regularity(functions, order, lags):
    """Return the exponent of functions (N, ..., side) and its standard error, from differences of a higher order.

    If the spectrum is |k|^-(2 a + 1), the mean square of the differences is proportional to lag^(2 a). Unlike a
    periodogram, differences are blind to polynomials, which functions that are not periodic contain.
    """
    squares = []
    for lag in lags:
        differences = functions
        for _ in range(order):
            differences = differences[..., lag:] - differences[..., :-lag]
        squares.append(differences.square().flatten(1).mean(1))
    squares = torch.stack(squares, dim=1).numpy()
    parts = np.array_split(np.arange(len(squares)), 16)
    # The jackknife leaves out each part in turn.
    without = [slope(np.delete(squares, part, axis=0).mean(0), lags) / 2 for part in parts]
    return slope(squares.mean(0), lags) / 2, np.std(without) * (len(parts) - 1) ** 0.5


@pytest.mark.parametrize("alpha", [0.5, 1.0, 2.0, 4.0])
def test_exact_contours_are_as_regular_as_designed(alpha):
    masks = CAlpha(alpha, 128).masks(torch.Generator().manual_seed(0), 1024)
    inside = (masks[:, 0].amax(1) == 0) & (masks[:, -1].amin(1) == 1)
    assert inside.float().mean() > 0.95
    result, error = regularity(128 - masks[inside].double().sum(1), int(alpha) + 2, [6, 8, 12, 16])
    assert error < 0.02
    assert result == pytest.approx(alpha, abs=0.05)


@pytest.mark.parametrize("alpha", [0.5, 1.0, 2.0, 4.0])
def test_exact_backgrounds_are_as_regular_as_designed(alpha):
    fields = torch.cat(CAlpha(alpha, 128)._draw_backgrounds(torch.Generator().manual_seed(0), 128)).double()
    for directed in (fields, fields.mT):
        result, error = regularity(directed, int(alpha) + 2, [6, 8, 12, 16])
        assert error < 0.02
        assert result == pytest.approx(alpha, abs=0.05)


def test_exact_backgrounds_have_the_covariance_of_the_amplitude():
    dataset = CAlpha(2.0, 8)
    first, second = dataset._draw_backgrounds(torch.Generator().manual_seed(0), 20000)
    amplitude = _background_amplitude(8, 2.0, None)
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


def test_exact_images_are_gaussian_given_the_contour_and_rarely_leave_the_unit_interval():
    images = CAlpha(2.0, 32).images("train", 2048)
    outside = (images < 0) | (images > 1)
    # Two-sided tail of a Gaussian of standard deviation 0.144 at 0.5 is 5.3e-4.
    assert outside.float().mean() < 1.5e-3
    assert outside.flatten(1).any(1).float().mean() < 0.02
    corner = (images[:, 0, 0, 0] - 0.5).double()
    assert corner.mean().abs() < 4 * corner.std() / 2048**0.5
    kurtosis = corner.pow(4).mean() / corner.square().mean() ** 2
    # Standard error of the kurtosis is sqrt(24 / n) = 0.11.
    assert kurtosis == pytest.approx(3, abs=0.45)


def test_line_masks_are_monotone_and_average_the_contour():
    dataset = CAlpha(2.0, 32)
    masks = dataset.masks(torch.Generator().manual_seed(0), 256)
    assert masks.min() >= 0
    assert masks.max() <= 1
    assert (masks.diff(dim=1) >= -1e-5).all()
    # The covered part of a column is below the mean height of the contour in the column.
    heights = dataset._draw_functions(torch.Generator().manual_seed(0), 256, 2 * 8 * 32)[:, : 8 * 32 + 1]
    heights = 32 * (0.5 + LINE_STD * heights)
    middles = ((heights[:, 1:] + heights[:, :-1]) / 2).clamp(0, 32).reshape(256, 32, 8).mean(2)
    torch.testing.assert_close(masks.sum(1), 32 - middles, atol=1e-3, rtol=0)


def test_closed_masks_are_connected_and_have_the_expected_area():
    dataset = CAlpha(2.0, 64, contour="closed")
    masks = dataset.masks(torch.Generator().manual_seed(0), 128)
    inside = (masks[:, 1:-1, 1:-1] > 0.99).flatten(1).any(1)
    assert inside.all()
    # r = 0.25 exp(0.25 g): E r^2 = 0.0625 exp(2 * 0.0625), so the mean area is pi times E r^2, partly outside.
    expected = np.pi * 0.0625 * np.exp(2 * 0.0625)
    area = masks.mean((1, 2)).double()
    assert expected - 0.02 - 4 * area.std() / 128**0.5 < area.mean() < expected + 4 * area.std() / 128**0.5


@pytest.mark.parametrize(
    "parameters",
    [{"construction": "paper"}, {}, {"render_size": 16}, {"contour": "closed", "background_alpha": "flat"}],
)
def test_images_can_be_drawn_on_any_device(parameters):
    """Torch refuses operations on tensors of two devices; the device ``meta`` exists on every machine."""
    result = CAlpha(2.0, 8, **parameters).draw(torch.Generator(), 4, "meta")
    assert result.device.type == "meta"
    assert result.shape == (4, 1, 8, 8)


def test_only_training_images_are_drawn_on_a_gpu(monkeypatch):
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


@pytest.mark.parametrize("alpha", [0.5, 1.0, 2.0])
def test_exact_contour_amplitude_falls_as_alpha_plus_a_half(alpha):
    contours = CAlpha(alpha)._draw_functions(torch.Generator().manual_seed(0), 2000, 256).double()
    # The variance of a point has a relative error of sqrt(2 / n) = 3 %.
    assert contours[:, 7].square().mean().item() == pytest.approx(1, abs=0.13)
    amplitude = torch.fft.rfft(contours).abs().square().mean(0).sqrt()[1:33].numpy()
    assert slope(amplitude, np.arange(1, 33)) == pytest.approx(-(alpha + 0.5), abs=0.03)


def paper_backgrounds(noise, alpha, limits):
    """Return images with a single region."""
    shape = (len(noise) // 2, *noise.shape[1:])
    return [c_alpha_published.build_images(torch.full(shape, share), noise, alpha, limits) for share in (1.0, 0.0)]


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
    # White noise of variance 1/3 filtered by |k|^-alpha has variance (1 + 2 zeta(2 alpha)) / (3 size), here in rows^2.
    expected = (1 + 2 * sum(k ** (-2 * alpha) for k in range(1, size // 2))) / (3 * size) * size**2
    centred = tops[:, 8].double() - tops[:, 8].double().mean()
    assert centred.square().mean().item() == pytest.approx(expected, rel=0.12)
    # The blur averages a row with the row above, which lowers the edge by half a row. The constant of a contour has a
    # standard deviation of 4.6 rows.
    assert tops.mean().item() == pytest.approx(size // 2 + 0.5, abs=4 * 4.6 / 3000**0.5)


def test_paper_background_spectrum_falls_as_alpha():
    # Rescaling changes an image by a factor and a constant, not the slope of its spectrum.
    noise = 2 * torch.rand(2000, 32, 32, generator=torch.Generator().manual_seed(0)) - 1
    first, _ = paper_backgrounds(noise, 2.0, torch.rand(3, 1000, 1, 1, generator=torch.Generator().manual_seed(1)))
    first = (first - first.mean((1, 2), keepdim=True)) / first.std((1, 2), keepdim=True)
    power = torch.fft.rfft2(first.double()).abs().square().mean(0)[0, 1:16].sqrt().numpy()
    assert slope(power, np.arange(1, 16)) == pytest.approx(-2.0, abs=0.1)


def wave_filter(noise, exponent):
    """Multiply by |k|^-exponent, 1 at frequency 0, in the full Fourier domain, frequency by frequency."""
    spectrum = np.fft.fftn(noise)
    for index in np.ndindex(*noise.shape):
        signed = [k if k <= side / 2 else k - side for k, side in zip(index, noise.shape, strict=True)]
        modulus = np.sqrt(sum(k**2 for k in signed))
        spectrum[index] *= modulus**-exponent if modulus else 1.0
    return np.fft.ifftn(spectrum).real


def one_image(contour_noise, first_noise, second_noise, bottom, top, first_is_bright, alpha, background_alpha):
    """Return an image of the published procedure, pixel by pixel, in float64."""
    size = len(contour_noise)
    tops = [round(size * height) + size // 2 for height in wave_filter(contour_noise, alpha)]
    below = np.array([[float(row >= tops[column]) for column in range(size)] for row in range(size)])
    first, second = (wave_filter(noise, background_alpha) for noise in (first_noise, second_noise))
    first, second = ((field - field.min()) / (field.max() - field.min()) for field in (first, second))
    if first_is_bright:
        first, second = first * (1 - bottom) + bottom, second * top
    else:
        first, second = first * top, second * (1 - bottom) + bottom
    image = np.empty((size, size))
    for row in range(size):
        for column in range(size):
            neighbours = [(abs(row - up), abs(column - left)) for up in (0, 1) for left in (0, 1)]
            # Rows and columns are mirrored at the border: index -1 becomes index 1.
            share = np.mean([below[index] for index in neighbours])
            image[row, column] = share * first[row, column] + (1 - share) * second[row, column]
    return image


@pytest.mark.parametrize("size", [16, 21])
@pytest.mark.parametrize(("alpha", "background_alpha"), [(1.0, 1.0), (2.0, 3.0), (4.0, 2.0)])
def test_images_agree_with_the_published_procedure(size, alpha, background_alpha):
    generator = torch.Generator().manual_seed(3)
    count = 6
    contours = 2 * torch.rand(count, size, generator=generator) - 1
    noise = 2 * torch.rand(2 * count, size, size, generator=generator) - 1
    limits = torch.rand(3, count, 1, 1, generator=generator)
    masks = c_alpha_published.build_masks(contours, alpha)
    images = c_alpha_published.build_images(masks, noise, background_alpha, limits)
    bright = set()
    for index in range(count):
        bottom, top, coin = limits[:, index, 0, 0].double().tolist()
        bright.add(coin < 0.5)
        parts = contours[index], noise[index], noise[count + index]
        expected = one_image(
            *(part.double().numpy() for part in parts), bottom, top, coin < 0.5, alpha, background_alpha
        )
        np.testing.assert_allclose(images[index].numpy(), expected, atol=1e-5)
    assert bright == {True, False}


def test_a_contour_that_leaves_the_image_stays_at_its_border():
    noise = torch.full((2, 16), 0.9)
    noise[1] *= -1
    below, above = c_alpha_published.build_masks(noise, 2.0)
    assert (below == 0).all()
    assert (above == 1).all()


def test_a_dataset_draws_contours_then_backgrounds_then_limits():
    dataset = CAlpha(2.0, 16, "paper", background_alpha=3.0)
    images = dataset.draw(torch.Generator().manual_seed(5), 7)
    generator = torch.Generator().manual_seed(5)
    masks = c_alpha_published.build_masks(2 * torch.rand(7, 16, generator=generator) - 1, 2.0)
    noise = 2 * torch.rand(14, 16, 16, generator=generator) - 1
    expected = c_alpha_published.build_images(masks, noise, 3.0, torch.rand(3, 7, 1, 1, generator=generator))
    assert torch.equal(images[:, 0], expected)


def test_images_do_not_depend_on_the_batch_size(monkeypatch):
    together = CAlpha(2.0, 20, "paper").images("test", 64)
    monkeypatch.setattr(c_alpha_published, "BATCH", 5)
    # Batches of other sizes may round differently.
    torch.testing.assert_close(CAlpha(2.0, 20, "paper").images("test", 64), together, atol=1e-6, rtol=0)


def test_threads_do_not_share_noise_buffers():
    dataset = CAlpha(2.0, 16, "paper")
    alone = [dataset.draw(torch.Generator().manual_seed(seed), 64) for seed in range(4)]
    with ThreadPoolExecutor(4) as pool:
        result = list(pool.map(lambda seed: dataset.draw(torch.Generator().manual_seed(seed), 64), range(4)))
    assert all(torch.equal(first, other) for first, other in zip(alone, result, strict=True))


SIZE = 16


def line(nodes, start, end):
    share = torch.linspace(0, 1, nodes, dtype=torch.float64)
    return (start + (end - start) * share)[None]


@pytest.mark.parametrize("ends", [(3.0, 12.0), (1.3, 4.9), (11.7, 2.2), (-3.0, 20.0)])
def test_slanted_line_agrees_with_fine_supersampling(ends):
    inside = coverage(line(8 * SIZE + 1, 0, SIZE), line(8 * SIZE + 1, *ends), SIZE)[0].numpy()
    fine = 64
    indices = (np.arange(SIZE * fine) + 0.5) / fine
    right = indices[None, :] > ends[0] + (ends[1] - ends[0]) * indices[:, None] / SIZE
    expected = right.reshape(SIZE, fine, SIZE, fine).mean((1, 3))
    # Steps are 1/8 pixel long, so squares of steps are 1/64.
    assert np.abs(inside - expected).max() < 1 / 64


def step_by_step(rows, columns, size):
    """Return the area of each pixel to the right of a path, as a sum over steps, rows and columns."""
    area = np.zeros((size, size))
    for step in range(len(rows) - 1):
        middle = (columns[step] + columns[step + 1]) / 2
        for row in range(size):
            depth = min(max(rows[step + 1] - row, 0), 1) - min(max(rows[step] - row, 0), 1)
            for column in range(size):
                area[row, column] += depth * min(max(column + 1 - middle, 0), 1)
    return area.clip(0, 1)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(st.floats(-3, 9), st.floats(-3, 9)), min_size=2, max_size=12))
def test_the_coverage_of_a_path_is_the_sum_over_its_steps(nodes):
    """Steps have any length, go up and down, cross many rows, and leave the image."""
    rows, columns = np.array(nodes).T
    expected = step_by_step(rows, columns, 6)
    np.testing.assert_allclose(
        coverage(torch.tensor(rows)[None], torch.tensor(columns)[None], 6)[0], expected, atol=1e-12
    )
    # The result is the same in single precision and in a batch with another path.
    both = coverage(
        torch.tensor(np.stack([rows, rows[::-1]])).float(), torch.tensor(np.stack([columns] * 2)).float(), 6
    )
    np.testing.assert_allclose(both[0], expected, atol=1e-5)
