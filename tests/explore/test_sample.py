"""``gahbench.sample``: denoisers that can be sampled, settings, and files of samples."""

import numpy as np
import pytest
import torch

import gahbench
from gahbench.explore.sample import EntrantSamples
from gahbench.sampling import Sampling, draw_samples

FINITE = "finite[discs[size=8],count=4]"


def denoise_with_nan(noisy, sigma):
    """Denoise images, but return NaN for the first image of a batch."""
    denoised = 0.5 + (noisy - 0.5) / (1 + 100 * sigma.view(-1, 1, 1, 1) ** 2)
    denoised[0] = torch.nan
    return denoised


@pytest.mark.parametrize("sampler", ["flow", "stochastic"])
def test_files_are_complete_and_reproducible(tmp_path, sampler):
    drawn = draw_samples(denoise_with_nan, (1, 8, 8), Sampling(sampler=sampler, count=4))
    samples = EntrantSamples(**vars(drawn) | {"source": "mine"})
    contents = [[file.read_bytes() for file in samples.save(tmp_path / name)] for name in "ab"]
    assert contents[0] == contents[1]
    assert "diverged" in drawn.status
    with np.load(tmp_path / "a" / "samples.npz", allow_pickle=False) as saved:
        for name, values in samples.arrays().items():
            np.testing.assert_array_equal(saved[name], values)
        assert Sampling.model_validate_json(str(saved["settings"])) == drawn.settings


def test_networks_are_sampled_with_their_weights(tmp_path):
    network = gahbench.create("architecture", "bf-cnn", width=4, layers=3)
    torch.save(network.state_dict(), tmp_path / "w.pt")
    entrant, settings = f"bf-cnn[width=4,layers=3,checkpoint={tmp_path / 'w.pt'}]", {"count": 2, "max_steps": 3}
    samples = gahbench.sample(entrant, dataset="discs[size=8]", **settings)
    expected = draw_samples(network.eval(), (1, 8, 8), Sampling(**settings))
    assert torch.allclose(samples.images, expected.images, atol=1e-5)


def test_a_reference_is_fitted_before_sampling():
    samples = gahbench.sample("wiener-linear[images=64]", dataset="gaussian-field[size=8]", count=3, sampler="flow")
    assert samples.status == ("converged",) * 3
    assert abs(float(samples.images.mean()) - 0.5) < 0.2
