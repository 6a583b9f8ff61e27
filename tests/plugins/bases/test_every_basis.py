"""Properties of all bases, for many sizes and parameters, and errors before adaptation."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from random_images import uniform as images

import gahbench
from gahbench._util.errors import BasisError

THRESHOLD = 0.3
BASES = [
    "pixel",
    "dct",
    "block-dct",
    "block-dct[size=5]",
    "haar",
    "sym4",
    "wavelet[db2,levels=2]",
    "wavelet[coif4]",
    "wavelet[bior2.2]",
    "wavelet[dmey]",
    "wavelet-packet",
    "wavelet-packet[haar,levels=2]",
    "wavelet-ti[haar]",
    "wavelet-ti[db20,levels=2]",
    "bandlet",
    "bandlet[haar,largest=8,directions=5,moments=1]",
    "bandlet[null,smallest=2,moments=3]",
    "bandlet[sym5,largest=null,directions=fine,count=parameters]",
]


def adapted(name, batch, noisy=False):
    return gahbench.create("basis", name).adapt(batch, THRESHOLD, noisy)


@pytest.mark.parametrize("name", BASES)
@settings(deadline=None, max_examples=8)
@given(height=st.integers(4, 40), width=st.integers(4, 40), channels=st.integers(1, 2), noisy=st.booleans())
def test_images_are_reconstructed_and_orthonormal_bases_keep_energy(name, height, width, channels, noisy):
    shape = (channels, height, width)
    batch = images(2, *shape)
    basis = adapted(name, batch, noisy)
    coefficients = basis.analysis(batch)
    torch.testing.assert_close(basis.synthesis(coefficients), batch, atol=1e-9, rtol=0)
    single = basis.analysis(batch.float())
    torch.testing.assert_close(single, coefficients.float(), atol=1e-4, rtol=1e-4)
    assert basis.synthesis(single).dtype == torch.float32
    for each in (basis.noise_levels(shape), basis.bands(shape)):
        assert each.expand(coefficients.shape).shape == coefficients.shape
    is_frame = name.startswith("wavelet-ti")
    if basis.is_orthonormal(shape):
        assert coefficients.shape == batch.shape
    if basis.is_orthonormal(shape) or is_frame:
        torch.testing.assert_close(coefficients.square().sum(), batch.square().sum())
        other = images(*coefficients.shape, seed=1)
        torch.testing.assert_close((coefficients * other).sum(), (batch * basis.synthesis(other)).sum())


@pytest.mark.parametrize("name", BASES)
@pytest.mark.parametrize("size", [(16, 24), (17, 23)])
def test_noise_levels_are_the_norms_of_the_atoms(name, size):
    pixels = torch.eye(size[0] * size[1], dtype=torch.float64).unflatten(1, (1, *size))
    # All images share the basis of a single image.
    basis = adapted(name, images(1, 1, *size))
    analysed = basis.analysis(pixels)
    levels = basis.noise_levels((1, *size))
    assert levels.dtype == torch.float64
    if levels.ndim == 5:
        levels = levels[0, 0]
    norms = analysed.square().sum((0, 1)).sqrt()
    torch.testing.assert_close(levels.expand(norms.shape), norms, atol=1e-9, rtol=0)
    if basis.is_orthonormal((1, *size)):
        assert levels.tolist() == 1 or (levels == 1).all()


@pytest.mark.parametrize("name", ["dct", "sym4", "wavelet-ti[haar]", "wavelet-packet", "bandlet"])
def test_a_basis_that_was_first_used_for_inference_has_derivatives(name):
    # No other test uses this size, as tensors are cached by size.
    clean = images(1, 1, 44, 28).float()
    with torch.inference_mode():
        adapted(name, clean.clone()).analysis(clean.clone())
    batch = clean.clone().requires_grad_()
    basis = adapted(name, clean)
    basis.synthesis(basis.analysis(batch)).square().sum().backward()
    torch.testing.assert_close(batch.grad, 2 * clean, atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("bandlet", r"call adapt\(images, threshold\)"),
        ("wavelet-packet", r"no basis yet: call adapt\(images, threshold\)"),
        ("graph-laplacian", "GraphLaplacian has a basis for each image: call adapt"),
        ("pca", r"call fit\(examples\) first"),
        ("true-basis", r"call adapt_to\(truth, threshold\)"),
        ("true-flow", r"call adapt_to\(truth, threshold\)"),
    ],
)
def test_errors_before_adaptation_name_the_method_to_call(name, message):
    basis = gahbench.create("basis", name)
    for call in (basis.analysis, basis.synthesis):
        with pytest.raises(BasisError, match=message):
            call(torch.zeros(1, 1, 16, 16))
