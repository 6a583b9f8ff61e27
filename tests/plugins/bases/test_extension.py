"""Curvelets, and bases of images that are extended."""

import math

import numpy as np
import pytest
import pywt
import torch
from random_images import uniform as images

import gahbench
from gahbench_plugins.bases import curvelet
from gahbench_plugins.bases._extension import extend, lay_out
from gahbench_plugins.bases.curvelet import Curvelet
from gahbench_plugins.bases.wavelet import Wavelet


@pytest.fixture
def package():
    return pytest.importorskip("curvelets.numpy")


@pytest.mark.parametrize(
    ("size", "scales", "wedges"), [((64, 64), 4, 3), ((32, 48), 3, 3), ((16, 16), 2, 3), ((48, 32), 3, 6)]
)
def test_coefficients_equal_those_of_the_package(package, size, scales, wedges):
    batch = images(2, 2, *size)
    ours = Curvelet(scales, wedges).analysis(batch)
    transform = package.UDCT(shape=size, num_scales=scales, wedges_per_direction=wedges, window_threshold=0)
    for image, coefficients in zip(batch.flatten(0, 1), ours.flatten(0, 1), strict=True):
        theirs = []
        for scale, fans in enumerate(transform.forward(image.numpy())):
            for fan in fans:
                stacked = np.stack(fan).ravel()
                theirs += [stacked.real, stacked.imag] if scale else [stacked.real]
        np.testing.assert_allclose(coefficients.flatten().numpy(), np.concatenate(theirs), atol=1e-5)


def test_bands_are_scales_and_directions(package):
    basis = Curvelet(4, 3)
    shape = (1, 64, 64)
    labels = basis.bands(shape)
    assert labels.unique().tolist() == list(range(1 + 6 + 12 + 24))
    constant = basis.analysis(torch.ones(1, *shape, dtype=torch.float64))[0, 0].square()
    assert constant[labels == 0].sum() == pytest.approx(64 * 64)
    # Plane waves are in few bands, whose scale and direction depend on their frequency.
    angles = torch.arange(64, dtype=torch.float64) * 2 * math.pi / 64
    strongest = []
    for row, column in [(5, 0), (10, 0), (20, 0), (0, 20), (20, 10), (20, -10)]:
        wave = torch.cos(row * angles[:, None] + column * angles)[None, None]
        powers = torch.zeros(43, dtype=torch.float64)
        powers.index_add_(0, labels.flatten(), basis.analysis(wave)[0, 0].square().flatten())
        assert powers.topk(4).values.sum() > 0.95 * powers.sum()
        strongest.append(int(powers.argmax()))
    assert 1 <= strongest[0] < 7 <= strongest[1] < 19 <= min(strongest[2:])
    assert len(set(strongest)) == 6


def test_invalid_sizes_are_extended(package):
    for scales, wedges, size, extended_size in [
        (4, 3, 50, 56),
        (4, 3, 79, 80),
        (4, 3, 60, 64),
        (2, 3, 50, 52),
        (3, 6, 36, 40),
        (5, 3, 40, 48),
    ]:
        assert Curvelet(scales, wedges).valid_size(size, 64) == (extended_size, 64)
        assert Curvelet(scales, wedges).valid_size(64, size) == (64, extended_size)
    # The smallest valid size works.
    for scales, wedges, multiple in [(4, 3, 8), (2, 3, 4), (3, 6, 8), (2, 9, 12), (4, 12, 32)]:
        batch = images(1, 1, multiple, multiple)
        basis = Curvelet(scales, wedges)
        assert basis.valid_size(multiple, multiple) == (multiple, multiple)
        torch.testing.assert_close(basis.synthesis(basis.analysis(batch)), batch, atol=1e-12, rtol=0)


def test_a_missing_package_raises_an_error_that_names_the_extra(monkeypatch):
    monkeypatch.setattr(curvelet.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r'pip install "gahbench\[curvelets\]"'):
        Curvelet()


EXTENDED = ["sym4", "wavelet[bior2.2]", "wavelet[db2,levels=2]", "wavelet-packet", "block-dct", "curvelet[scales=2]"]
SIZES = [(17, 23), (30, 45), (33, 33)]
LARGE = (321, 481)
THRESHOLD = 0.3


def adapted(name, batch):
    return gahbench.create("basis", name).adapt(batch, THRESHOLD)


def threshold_images(name, batch):
    """Return images without the coefficients that are small compared with their noise levels."""
    basis = adapted(name, batch)
    coefficients = basis.analysis(batch)
    levels = basis.noise_levels(tuple(batch.shape[1:]))
    return basis.synthesis(coefficients * (coefficients.abs() > THRESHOLD * levels))


def test_each_image_of_a_batch_has_separate_noise_levels():
    batch = torch.cat([images(1, 1, 17, 23), torch.linspace(0, 1, 23).double().expand(1, 1, 17, 23)])
    levels = adapted("wavelet-packet", batch).noise_levels((1, 17, 23))
    assert levels.shape[:2] == (2, 1)
    for image, result in zip(batch, levels, strict=True):
        assert torch.equal(adapted("wavelet-packet", image[None]).noise_levels((1, 17, 23))[0], result)
    assert not torch.equal(*levels)


@pytest.mark.parametrize("name", EXTENDED)
@pytest.mark.parametrize("size", SIZES)
def test_thresholding_commutes_with_transposition_and_keeps_constants(name, size):
    batch = images(2, 1, *size)
    torch.testing.assert_close(threshold_images(name, batch.mT), threshold_images(name, batch).mT)
    constant = torch.full((1, 1, *size), 0.5, dtype=torch.float64)
    torch.testing.assert_close(threshold_images(name, constant), constant)


@pytest.mark.parametrize("name", ["sym4", "wavelet-packet", "block-dct", "bandlet", "wavelet-ti"])
def test_photographs_of_bsd(name):
    batch = images(1, 1, *LARGE).float()
    basis = adapted(name, batch)
    basis.check_shape((1, *LARGE))
    torch.testing.assert_close(basis.synthesis(basis.analysis(batch)), batch, atol=1e-5, rtol=0)


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


def test_images_are_extended_by_repeated_reflection():
    row = torch.arange(3.0)[None]
    assert extend(row, (1, 8)).tolist() == [[0, 1, 2, 2, 1, 0, 0, 1]]
    assert extend(row.mT, (5, 1)).flatten().tolist() == [0, 1, 2, 2, 1]
    assert lay_out(torch.arange(1, 6), (1, 3)).tolist() == [[[1, 2, 3]], [[4, 5, 0]]]


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


def test_filters_of_extended_images_are_refused():
    basis = Wavelet("sym4")
    basis.check_filters((1, 18, 24))
    with pytest.raises(ValueError, match=r"images of 321x481 are extended.*such as 352x512"):
        basis.check_filters((1, 321, 481))
