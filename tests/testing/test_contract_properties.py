"""Properties of plugins for random sizes, numbers of images and noise levels."""

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from small_plugins import mark_extras, small

from gahbench._util.errors import GahbenchError
from gahbench.registry.registry import Registry
from gahbench.testing.samples import sample_images, sample_noise

levels = st.floats(1e-3, 2.0)
# The fixtures return the same values for every example.
quick = settings(max_examples=3, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


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
