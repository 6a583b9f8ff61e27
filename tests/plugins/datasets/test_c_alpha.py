"""C^alpha images: contours, backgrounds, the published construction, and block averages of larger images.

The genie, whose error is a lower bound, knows the contours.
"""

import contextlib
import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import avg_pool2d, max_pool2d

import gahbench
from gahbench._util.noise import evaluation_noise
from gahbench.devices.hardware import Cuda
from gahbench.evaluation import Evaluation
from gahbench_plugins.datasets import c_alpha, fields
from gahbench_plugins.datasets.c_alpha import FIELD_STD, MEAN_STD, CAlpha, coverage, published_masks
from gahbench_plugins.datasets.fields import AveragedField, filter_noise, power_law, unit_variance


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
    masks = CAlpha(alpha, 128).masks(torch.Generator().manual_seed(0), 768)
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


SIGMAS = (1 / 255, 4 / 255, 16 / 255, 64 / 255)
CONTOURS = ("line", "closed", "disc")


def masks_of(dataset, split, count, start=0):
    """Return the masks of images of the first block of a split, shape (count, d), float64."""
    masks = dataset.masks(dataset.generator_of(split, 0), dataset.block_size)
    return masks[start : start + count].flatten(1).double()


def explicit(dataset):
    """Return the covariance of averaged backgrounds, shape (d, d), from all pairs of pixels at the render size."""
    render_size, size, exponent = dataset.render_size or dataset.size, dataset.size, dataset.background_alpha + 1
    waves = torch.fft.fftfreq(2 * render_size, 1 / (2 * render_size)).double()
    moduli = torch.hypot(waves[:, None], waves)
    power = torch.where(moduli == 0, 0.0, moduli.clamp(min=1) ** (-2 * exponent))
    kernel = torch.fft.ifft2(power).real
    kernel *= FIELD_STD**2 / kernel[0, 0]
    indices = torch.cartesian_prod(torch.arange(render_size), torch.arange(render_size))
    lags = (indices[:, None] - indices) % (2 * render_size)
    full = kernel[lags[..., 0], lags[..., 1]]
    # Each pixel of the smaller size is the mean of its block.
    blocks = torch.eye(size).repeat_interleave(render_size // size, 1).double() * (size / render_size)
    means = torch.kron(blocks, blocks)
    return means @ full @ means.T


@pytest.mark.parametrize("contour", ["line", "closed"])
@pytest.mark.parametrize(("alpha", "render_size"), [(0.5, 16), (1.0, 24), (4.0, 8), (2.0, None)])
def test_bound_filter_and_basis_are_those_of_the_explicit_covariance_given_the_contour(contour, alpha, render_size):
    dataset = CAlpha(alpha, 8, contour=contour, render_size=render_size)
    background = explicit(dataset) + MEAN_STD**2
    noisy = dataset.images("test", 3, 2) + 0.05
    basis = dataset.true_basis("test", 3, 2)
    for sigma in (1e-3, *SIGMAS, 3.0):
        results = dataset.genie(noisy, sigma, "test", 2), dataset.optimal_filters(noisy, sigma, "test", 2).matrices()
        bounds = dataset.lower_bound("test", 3, sigma, 2)
        for index, mask in enumerate(masks_of(dataset, "test", 3, 2)):
            covariance = background * (torch.outer(mask, mask) + torch.outer(1 - mask, 1 - mask))
            gain = torch.linalg.solve(covariance + sigma**2 * torch.eye(64).double(), covariance)
            expected = 0.5 + (noisy[index].flatten().double() - 0.5) @ gain
            torch.testing.assert_close(results[0][index].flatten().double(), expected, atol=1e-5, rtol=0)
            torch.testing.assert_close(results[1][index].double(), gain, atol=1e-5, rtol=0)
            assert float(bounds[index]) == pytest.approx(sigma**2 * float(gain.trace()) / 64, rel=1e-5)
            vectors, energies = basis.vectors[index], basis.energies[index]
            torch.testing.assert_close(vectors * energies @ vectors.T, covariance, atol=1e-8, rtol=0)
            assert (energies.diff() <= 0).all()


def test_the_optimum_is_known_for_up_to_4096_pixels(monkeypatch):
    monkeypatch.setattr(c_alpha, "MAX_PIXELS", 256)
    small, large = CAlpha(2.0, 16), CAlpha(2.0, 17)
    assert small.lower_bound("test", 0, 0.1).shape == (0,)
    assert small.genie(torch.empty(0, 1, 16, 16), 0.1, "test").shape == (0, 1, 16, 16)
    assert small.true_basis("test", 0).vectors.shape == (0, 256, 256)
    assert large.optimum == small.optimum
    assert not large.has_true_basis
    noisy = large.images("test", 1)
    assert large.true_basis("test", 1) is None is large.optimal_filters(noisy, 0.1, "test")
    assert large.level_sets("test", 1) is not None
    for compute in (lambda: large.lower_bound("test", 1, 0.1), lambda: large.genie(noisy, 0.1, "test")):
        with pytest.raises(gahbench.OptimumError, match=r"size=17.*accepted: construction=exact and a size of at most"):
            compute()


def test_large_bases_contain_all_vectors_of_sufficient_energy(monkeypatch):
    monkeypatch.setattr(c_alpha, "COMPLETE_PIXELS", 100)
    complete, part = (CAlpha(3.0, size, contour="closed") for size in (10, 18))
    assert complete.true_basis("test", 1).vectors.shape == (1, 100, 100)
    basis = part.true_basis("test", 2)
    monkeypatch.setattr(c_alpha, "COMPLETE_PIXELS", 1024)
    exact = part.true_basis("test", 2).energies
    count = basis.energies.shape[1]
    assert count < 200
    torch.testing.assert_close(basis.energies, exact[:, :count])
    assert exact[:, count].max() < c_alpha.MIN_ENERGY


def test_on_flat_regions_the_genie_estimates_two_grey_values():
    """With a broad prior on two constants the error is about 2 sigma^2, summed over pixels."""
    for size in (16, 33):
        dataset = CAlpha(2.0, size, contour="disc", background_alpha="flat")
        bound = dataset.lower_bound("test", 2, 1e-3) * size**2
        torch.testing.assert_close(bound, torch.full((2,), 2e-6).double(), rtol=1e-3, atol=0)
    assert dataset.optimum.slope == 1
    assert dataset.true_basis("test", 1).vectors.shape == (1, 33**2, 2)
    image, mask = dataset.images("test", 1).flatten(), masks_of(dataset, "test", 1)[0]
    assert len(image[mask == 0].unique()) == len(image[mask == 1].unique()) == 1


@pytest.mark.parametrize("contour", CONTOURS)
@pytest.mark.parametrize(("alpha", "background"), [(1.0, 0.5), (2.0, 4.0), (4.0, "flat")])
def test_masks_and_backgrounds_are_block_averages_of_those_of_twice_the_size(contour, alpha, background):
    """Masks and backgrounds are averaged separately; 12 is not a power of 2."""
    for render_size, sizes in ((32, (32, 16, 8)), (96, (24, 12))):
        parts_by_size = []
        for size in sizes:
            dataset, generator = (
                CAlpha(alpha, size, "exact", contour, background, render_size),
                torch.Generator().manual_seed(3),
            )
            parts_by_size.append((dataset.masks(generator, 2), *dataset.backgrounds(generator, 2)))
        for large, small in itertools.pairwise(parts_by_size):
            for fine, coarse in zip(large, small, strict=True):
                torch.testing.assert_close(coarse, avg_pool2d(fine[:, None], 2)[:, 0], atol=2e-6, rtol=0)
        assert 0.05 < parts_by_size[-1][0].mean() < 0.95


def test_blocks_of_images_depend_only_on_the_render_size_and_images_are_composed_of_averages():
    assert [CAlpha(2.0, 8, render_size=size).block_size for size in (64, 256, 512, 4096)] == [64, 16, 4, 1]
    dataset = CAlpha(4.0, 8, render_size=512)
    images = dataset.images("test", 6)
    assert torch.equal(dataset.images("test", 3, 3), images[3:])
    assert not torch.equal(dataset.images("train", 1), images[:1])
    generator = dataset.generator_of("test", 1)
    masks, (first, second) = dataset.masks(generator, 4), dataset.backgrounds(generator, 4)
    torch.testing.assert_close(images[4:, 0], (masks * first + (1 - masks) * second)[:2])


@pytest.mark.parametrize("render_size", [None, 32])
def test_drawn_backgrounds_have_the_covariance_of_the_formula(render_size):
    dataset, count = CAlpha(1.0, 8, render_size=render_size), 2000
    pairs = dataset.backgrounds(torch.Generator().manual_seed(0), count)
    result = torch.cat(pairs).flatten(1).double() - 0.5
    expected = explicit(dataset) + MEAN_STD**2
    # A covariance estimated from n pairs has a standard error of at most sqrt(2 / n) of the variance.
    assert (result.T @ result / len(result) - expected).abs().max() < 5 * (2 / len(result)) ** 0.5 * expected.max()
    # The two backgrounds of an image are independent.
    cross = result[:count].T @ result[count:] / count
    assert cross.abs().max() < 5 * count**-0.5 * expected.max()


@pytest.mark.parametrize("alpha", [3.0, 4.0])
def test_omitted_frequencies_are_below_rounding(alpha, monkeypatch):
    """The variance summed over all frequencies exceeds that of the kept frequencies by less than rounding errors."""
    kept = AveragedField(256, alpha, FIELD_STD).highest
    assert kept < 256
    monkeypatch.setattr(fields, "ROUNDING", 1e-30)
    squares = AveragedField(256, alpha, FIELD_STD).quarter.double().square()
    counts = torch.full((257,), 2.0).double()
    counts[[0, -1]] = 1
    inside = counts[: kept + 1] @ squares[: kept + 1, : kept + 1] @ counts[: kept + 1]
    assert 0 < counts @ squares @ counts - inside < inside * (2.0**-25 / FIELD_STD) ** 2


@pytest.mark.parametrize("contour", CONTOURS)
@pytest.mark.parametrize("render_size", [None, 64])
def test_level_sets_are_zero_on_the_contour(contour, render_size):
    """Pixels are covered where levels around them are negative; near zero, level over slope is the distance."""
    dataset = CAlpha(4.0, 16, contour=contour, render_size=render_size)
    levels, masks = dataset.level_sets("test", 10, 3), masks_of(dataset, "test", 10, 3).reshape(10, 16, 16)
    assert (levels.shape, levels.dtype) == ((10, 16, 16), torch.float64)
    highest, lowest = (sign * max_pool2d(sign * levels[:, None], 3, 1, 1)[:, 0] for sign in (1, -1))
    # A contour may still cut a corner.
    assert (masks[highest < 0] > 0.95).all()
    assert (masks[lowest > 0] < 0.05).all()
    slopes = torch.hypot(*torch.gradient(levels, dim=(1, 2))).clamp(min=0.5)
    assert (masks - (0.5 - levels / slopes).clamp(0, 1)).abs().mean() < 0.01
    if contour == "disc":
        # The level set is not smooth around the centre, which is therefore excluded.
        away = levels[:, 1:-1, 1:-1] > levels.amin((1, 2), keepdim=True) + 3
        assert (slopes[:, 1:-1, 1:-1][away] - 1).abs().max() < 0.1


def test_noise_at_equal_sigma_over_side_is_the_same_at_every_size():
    noise = []
    for size, sigma in ((8, 0.1), (16, 0.2)):
        dataset = CAlpha(2.0, size, render_size=32)
        clean = dataset.images("test", 2)
        evaluation = Evaluation(gahbench.create("reference", "identity"), clean, [sigma], dataset=dataset)
        noise.append(evaluation.noisy(sigma) - clean)
    # An average of four pixels has half the standard deviation, the noise level of the smaller size.
    torch.testing.assert_close(noise[0], avg_pool2d(noise[1], 2), atol=1e-6, rtol=0)
    many = evaluation_noise(400, (1, 8, 8), 0.1, 5, "test", render_size=32)
    assert float(many.std()) == pytest.approx(0.1, rel=4 / (2 * many.numel()) ** 0.5)
    with pytest.raises(ValueError, match="block averages"):
        evaluation_noise(3, (1, 12, 12), 0.1, render_size=32)
