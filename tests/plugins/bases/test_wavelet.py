import contextlib

import numpy as np
import pytest
import pywt
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gahbench._util.errors import ParameterError
from gahbench.registry.registry import Registry
from gahbench_plugins.bases.wavelet import (
    Wavelet,
    accepted_names,
    biorthogonal_names,
    wavelet_inverse,
    wavelet_matrix,
)

#: One or more of every family that is not orthogonal.
BIORTHOGONAL = ["bior1.3", "bior2.2", "bior3.1", "bior4.4", "bior6.8", "rbio1.5", "rbio3.3", "rbio5.5", "dmey"]
WAVELETS = st.sampled_from(["haar", "db2", "db4", "db11", "sym4", "sym8", "sym13", "coif1", "coif4"])


def images(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


@settings(deadline=None, max_examples=40)
@given(
    name=WAVELETS, levels=st.integers(1, 3), rows=st.integers(1, 5), columns=st.integers(1, 5), seed=st.integers(0, 99)
)
def test_orthonormal(name, levels, rows, columns, seed):
    basis = Wavelet(name, levels)
    shape = (2, 2, rows << levels, columns << levels)
    first, second = images(*shape, seed=seed), images(*shape, seed=seed + 1000)
    coefficients = basis.analysis(first)
    assert coefficients.dtype == torch.float64
    torch.testing.assert_close(basis.synthesis(coefficients), first, atol=1e-9, rtol=0)
    torch.testing.assert_close(coefficients.square().sum(), first.square().sum())
    # Synthesis is the adjoint of analysis.
    torch.testing.assert_close((coefficients * second).sum(), (first * basis.synthesis(second)).sum())


def pywavelets(batch, name, levels):
    """Return what PyWavelets computes; it warns of levels that only make sense for periodic signals."""
    deep = levels > pywt.dwt_max_level(min(batch.shape[-2:]), name)
    with pytest.warns(UserWarning, match="boundary effects") if deep else contextlib.nullcontext():
        return pywt.wavedec2(batch.numpy(), name, mode="periodization", level=levels)


@pytest.mark.parametrize(
    "name", ["haar", "db2", "db4", "db20", "db38", "sym4", "sym8", "sym20", "coif2", "coif17", *BIORTHOGONAL]
)
@pytest.mark.parametrize(("size", "levels"), [((32, 32), 3), ((16, 48), 2), ((20, 12), 2), ((64, 64), 6)])
def test_agrees_with_pywavelets_coefficientwise(name, size, levels):
    batch = images(2, 3, *size)
    ours = Wavelet(name, levels).analysis(batch)
    theirs, _ = pywt.coeffs_to_array(pywavelets(batch, name, levels), axes=(-2, -1))
    np.testing.assert_allclose(ours.numpy(), theirs, atol=1e-10)
    single = Wavelet(name, levels).analysis(batch.float())
    assert single.dtype == torch.float32
    np.testing.assert_allclose(single.numpy(), theirs, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", biorthogonal_names())
def test_every_biorthogonal_wavelet_is_inverted_as_by_its_dual_filters(name):
    batch = images(2, 2, 24, 16)
    basis = Wavelet(name, 3)
    assert not basis.orthonormal
    assert not pywt.Wavelet(name).orthogonal or name == "dmey"
    coefficients = basis.analysis(batch)
    torch.testing.assert_close(basis.synthesis(coefficients), batch, atol=1e-12, rtol=0)
    assert basis.synthesis(coefficients.float()).dtype == torch.float32
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


@pytest.mark.parametrize("name", BIORTHOGONAL)
@pytest.mark.parametrize(("size", "levels"), [((16, 8), 3), ((12, 20), 2), ((16, 16), None)])
def test_noise_levels_are_the_norms_of_the_atoms(name, size, levels):
    basis = Wavelet(name, levels)
    pixels = torch.eye(size[0] * size[1], dtype=torch.float64).unflatten(1, (1, *size))
    norms = basis.analysis(pixels).square().sum((0, 1)).sqrt()
    found = basis.noise_levels((1, *size))
    assert found.dtype == torch.float64
    torch.testing.assert_close(found, norms)
    assert (found - 1).abs().max() > 1e-5


def test_noise_levels_of_orthonormal_wavelets_are_one():
    basis = Wavelet("sym4")
    assert basis.orthonormal
    assert basis.noise_levels((1, 32, 32)).tolist() == 1


@pytest.mark.parametrize("name", accepted_names())
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


def test_input_is_left_alone_and_gradients_pass():
    batch = images(2, 1, 16, 16)
    kept = batch.clone()
    basis = Wavelet("sym4")
    basis.synthesis(basis.analysis(batch))
    assert torch.equal(batch, kept)
    assert torch.autograd.gradcheck(basis.analysis, batch[:1, :, :8, :8].clone().requires_grad_())


def test_more_levels_than_sides_allow_are_refused():
    with pytest.raises(ValueError, match="levels=5 needs image sides of at least 32, not 31x64"):
        Wavelet("sym4", 5).check_shape((1, 31, 64))
    Wavelet("sym4", 4).check_shape((1, 31, 64))


def test_unknown_wavelets_are_refused():
    with pytest.raises(ValueError, match=r"did you mean 'sym4'\?"):
        Wavelet("symm4")
    for name in ("bior2.3", "mexh", "sym1"):
        with pytest.raises(ValueError, match=r"accepted: haar, db1 to db38, .*, bior1\.1, .*, rbio6\.8"):
            Wavelet(name)
    with pytest.raises(ValueError, match="levels=0"):
        Wavelet("haar", 0)


def test_short_names_are_presets():
    registry = Registry()
    batch = images(1, 1, 16, 16)
    for name in ("haar", "db2", "db4", "sym4", "sym8"):
        assert torch.equal(registry.create("basis", name).analysis(batch), Wavelet(name).analysis(batch))
    assert registry.configure("basis", "wavelet").label == "wavelet[sym4]"
    with pytest.raises(ParameterError, match="unknown parameter 'name'"):
        registry.configure("basis", "haar[name=db2]")
