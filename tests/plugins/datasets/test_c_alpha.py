"""C^alpha images: contours, backgrounds, and the published construction."""

import contextlib

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gahbench.devices.hardware import Cuda
from gahbench_plugins.datasets.c_alpha import CAlpha, coverage, published_masks
from gahbench_plugins.datasets.fields import filter_noise, power_law, unit_variance


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


@settings(deadline=None, max_examples=25)
@given(
    shape=st.one_of(st.tuples(st.integers(4, 20)), st.tuples(st.integers(4, 12), st.integers(4, 12))),
    exponent=st.floats(0.5, 5),
    constant=st.sampled_from([0.0, 1.0]),
)
def test_unit_variance(shape, exponent, constant):
    # A filter turns white noise into noise whose variance is the energy of its impulse response.
    amplitude = unit_variance(power_law(shape, exponent, constant), shape)
    impulse = torch.zeros(1, *shape, dtype=torch.float64)
    impulse[(0,) * (len(shape) + 1)] = 1
    assert filter_noise(impulse, amplitude).square().sum().item() == pytest.approx(1)


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
    count, generator = 6, torch.Generator().manual_seed(3)
    dataset = CAlpha(alpha, size, "paper", background_alpha=background_alpha)
    images = dataset.draw(torch.Generator().manual_seed(3), count)[:, 0]
    # Contours are drawn first, then backgrounds, then limits.
    contours = 2 * torch.rand(count, size, generator=generator) - 1
    noise = 2 * torch.rand(2 * count, size, size, generator=generator) - 1
    limits = torch.rand(3, count, 1, 1, generator=generator)
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
    below, above = published_masks(noise, 2.0)
    assert (below == 0).all()
    assert (above == 1).all()


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


@settings(deadline=None, max_examples=40)
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
