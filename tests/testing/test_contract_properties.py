"""Properties of plugins for random sizes, numbers of images and noise levels."""

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from small_plugins import mark_extras, small

from gahbench._util.errors import GahbenchError
from gahbench.contracts.truth import TrainingData, Truth
from gahbench.registry.registry import Registry
from gahbench.testing.samples import SampleDataset, sample_images, sample_noise

BASES = [plugin.name for plugin in Registry().plugins("basis") if not plugin.preset]
levels = st.floats(1e-3, 2.0)
# The fixtures return the same values for every example.
quick = settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.mark.parametrize("name", mark_extras(Registry().names("architecture")))
@quick
@given(st.integers(1, 3), st.integers(4, 40), st.integers(4, 40), st.lists(levels, min_size=1, max_size=3))
def test_an_architecture_denoises_images_or_names_accepted_sizes(
    builtin, tmp_path, name, channels, height, width, sigmas
):
    configured = builtin.configure("architecture", name, **small(name, tmp_path))
    clean, sigma = sample_images(len(sigmas), (channels, height, width)), torch.tensor(sigmas)
    noisy = clean + sigma.view(-1, 1, 1, 1) * sample_noise(clean, 1.0)
    try:
        network = configured.build((channels, height, width)).eval()
        with torch.no_grad():
            denoised = network(noisy, sigma)
            separate = torch.cat([network(noisy[i : i + 1], sigma[i : i + 1]) for i in range(len(sigmas))])
    except (ValueError, GahbenchError) as error:
        refusal = str(error)
    else:
        refusal = None
    if refusal is not None:
        # The error names accepted sizes.
        assert any(letter.isdigit() for letter in refusal), refusal
        return
    assert (denoised.shape, denoised.dtype) == (noisy.shape, torch.float32)
    assert denoised.isfinite().all()
    assert torch.allclose(separate, denoised, rtol=1e-4, atol=1e-4 * float(denoised.abs().max()))


@pytest.mark.parametrize("name", [name for name in BASES if name not in ("curvelet", "true-basis", "true-flow")])
@quick
@given(st.sampled_from([(1, 16, 16), (1, 16, 32), (2, 32, 16), (3, 16, 16)]), st.floats(0.01, 1.0))
def test_an_adapted_basis_reconstructs_images(builtin, name, shape, threshold):
    basis = builtin.create("basis", name)
    dataset = SampleDataset(shape)
    basis.check_shape(shape)
    basis.fit(TrainingData(dataset))
    images = dataset.images("test", 2).double()
    adapted = basis.adapt_to(Truth(images, dataset), threshold)
    coefficients = adapted.analysis(images)
    assert torch.allclose(adapted.synthesis(coefficients), images, atol=1e-8)
    if adapted.is_orthonormal(shape):
        assert torch.allclose(coefficients.square().sum(), images.square().sum())
