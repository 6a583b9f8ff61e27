import contextlib

import numpy as np
import pytest
import pywt
import torch
from random_images import normal as images

from gahbench.registry.registry import Registry
from gahbench_plugins.bases import wavelet
from gahbench_plugins.bases.wavelet import (
    Wavelet,
    wavelet_inverse,
    wavelet_matrix,
)

#: One or more of every family that is not orthogonal.
BIORTHOGONAL = ["bior1.3", "bior2.2", "bior3.1", "bior4.4", "bior6.8", "rbio1.5", "rbio3.3", "rbio5.5", "dmey"]


def pywavelets(batch, name, levels):
    """Return what PyWavelets computes; it warns of levels that only make sense for periodic signals."""
    deep = levels > pywt.dwt_max_level(min(batch.shape[-2:]), name)
    with pytest.warns(UserWarning, match="boundary effects") if deep else contextlib.nullcontext():
        return pywt.wavedec2(batch.numpy(), name, mode="periodization", level=levels)


@pytest.mark.parametrize(
    "name", ["haar", "db2", "db4", "db20", "db38", "sym4", "sym8", "sym20", "coif2", "coif17", *BIORTHOGONAL]
)
@pytest.mark.parametrize(("size", "levels"), [((16, 48), 2), ((64, 64), 6)])
def test_agrees_with_pywavelets_coefficientwise(name, size, levels):
    batch = images(2, 3, *size)
    ours = Wavelet(name, levels).analysis(batch)
    theirs, _ = pywt.coeffs_to_array(pywavelets(batch, name, levels), axes=(-2, -1))
    np.testing.assert_allclose(ours.numpy(), theirs, atol=1e-10)


@pytest.mark.parametrize("name", wavelet.BIORTHOGONAL)
def test_every_biorthogonal_wavelet_is_inverted_as_by_its_dual_filters(name):
    batch = images(2, 2, 24, 16)
    basis = Wavelet(name, 3)
    assert not basis.orthonormal
    assert not pywt.Wavelet(name).orthogonal or name == "dmey"
    coefficients = basis.analysis(batch)
    torch.testing.assert_close(basis.synthesis(coefficients), batch, atol=1e-12, rtol=0)
    assert torch.linalg.cond(wavelet_matrix(name, 24)) < 4.01
    if name == "dmey":
        return
    # Synthesis of what is no image's analysis too, as of shrunk coefficients.
    other = images(2, 2, 24, 16, seed=1)
    nested = pywavelets(other, name, 3)
    theirs = pywt.waverec2([nested[0], *(tuple(map(np.sign, level)) for level in nested[1:])], name, "periodization")
    coefficients = basis.analysis(other)
    signs = torch.where(basis.bands((2, 24, 16)) > 0, coefficients.sign(), coefficients)
    np.testing.assert_allclose(basis.synthesis(signs).numpy(), theirs, atol=1e-9)


def test_dmey_is_nearly_orthogonal_and_exactly_inverted():
    matrix = wavelet_matrix("dmey", 64)
    identity = torch.eye(64, dtype=torch.float64)
    assert 1e-6 < (matrix @ matrix.T - identity).abs().max() < 1e-2
    torch.testing.assert_close(wavelet_inverse("dmey", 64) @ matrix, identity, atol=1e-12, rtol=0)


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
    # One level more would either be refused or give something else.
    try:
        deeper = Wavelet("haar", levels + 1).analysis(batch)
    except ValueError:
        return
    assert not torch.equal(Wavelet("haar").analysis(batch), deeper)


def test_bands_are_where_subbands_are():
    basis = Wavelet("haar", 2)
    labels = basis.bands((1, 16, 8))
    assert labels.shape == (16, 8)
    assert labels.flatten().bincount().tolist() == [8, 8, 8, 8, 32, 32, 32]
    # Vertical stripes of period 2 lie in the finest band of horizontal changes alone; a constant in band 0.
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
