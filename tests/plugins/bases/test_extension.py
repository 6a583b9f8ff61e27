"""Curvelets, and bases of images that are extended."""

import numpy as np
import pytest
import pywt
import torch
from random_images import uniform as images

import gahbench
from gahbench_plugins.bases import curvelet
from gahbench_plugins.bases.curvelet import Curvelet
from gahbench_plugins.bases.wavelet import Wavelet


@pytest.fixture
def package():
    return pytest.importorskip("curvelets.numpy")


@pytest.mark.parametrize(("size", "scales"), [((64, 64), 4), ((32, 48), 3), ((16, 20), 2), ((32, 64), 5)])
def test_coefficients_equal_those_of_the_package(package, size, scales):
    batch = images(2, 2, *size)
    ours = Curvelet(scales).analysis(batch)
    transform = package.UDCT(shape=size, num_scales=scales, wedges_per_direction=3, window_threshold=0)
    for image, coefficients in zip(batch.flatten(0, 1), ours.flatten(0, 1), strict=True):
        theirs = []
        for scale, fans in enumerate(transform.forward(image.numpy())):
            for fan in fans:
                stacked = np.stack(fan).ravel()
                theirs += [stacked.real, stacked.imag] if scale else [stacked.real]
        np.testing.assert_allclose(coefficients.flatten().numpy(), np.concatenate(theirs), atol=1e-5)


def test_a_missing_package_raises_an_error_that_names_the_extra(monkeypatch):
    monkeypatch.setattr(curvelet.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r'pip install "gahbench\[curvelets\]"'):
        Curvelet()


EXTENDED = ["sym4", "wavelet[bior2.2]", "wavelet[db2,levels=2]", "wavelet-packet", "block-dct"]
SIZES = [(17, 23), (30, 45), (33, 33)]
THRESHOLD = 0.3


def adapted(name, batch):
    return gahbench.create("basis", name).adapt(batch, THRESHOLD)


def threshold_images(name, batch):
    """Return images without the coefficients that are small compared with their noise levels."""
    basis = adapted(name, batch)
    coefficients = basis.analysis(batch)
    levels = basis.noise_levels(tuple(batch.shape[1:]))
    return basis.synthesis(coefficients * (coefficients.abs() > THRESHOLD * levels))


@pytest.mark.parametrize("name", EXTENDED)
@pytest.mark.parametrize("size", SIZES)
def test_thresholding_commutes_with_transposition_and_keeps_constants(name, size):
    batch = images(2, 1, *size)
    torch.testing.assert_close(threshold_images(name, batch.mT), threshold_images(name, batch).mT)
    constant = torch.full((1, 1, *size), 0.5, dtype=torch.float64)
    torch.testing.assert_close(threshold_images(name, constant), constant)


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


def test_filters_of_extended_images_are_refused():
    basis = Wavelet("sym4")
    basis.check_filters((1, 18, 24))
    with pytest.raises(ValueError, match=r"images of 321x481 are extended.*such as 352x512"):
        basis.check_filters((1, 321, 481))
