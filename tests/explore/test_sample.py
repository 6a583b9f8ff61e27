"""Files of samples."""

import numpy as np
import pytest
import torch

from gahbench.explore.sample import EntrantSamples
from gahbench.sampling import Sampling, draw_samples


def denoise_with_nan(noisy, sigma):
    """Denoise images, but return NaN for the first image of a batch."""
    denoised = 0.5 + (noisy - 0.5) / (1 + 100 * sigma.view(-1, 1, 1, 1) ** 2)
    denoised[0] = torch.nan
    return denoised


@pytest.mark.parametrize("sampler", ["flow", "stochastic"])
def test_files_are_complete_and_reproducible(tmp_path, sampler):
    drawn = draw_samples(denoise_with_nan, (1, 8, 8), Sampling(sampler=sampler, count=4))
    samples = EntrantSamples(drawn.images, drawn.steps, drawn.sigma, drawn.status, drawn.settings, drawn.first, "mine")
    contents = [[file.read_bytes() for file in samples.save(tmp_path / name)] for name in "ab"]
    assert contents[0] == contents[1]
    with np.load(tmp_path / "a" / "samples.npz", allow_pickle=False) as saved:
        np.testing.assert_array_equal(saved["images"], drawn.images)
        np.testing.assert_array_equal(saved["sigma"], drawn.sigma)
        assert saved["steps"].tolist() == drawn.steps.tolist()
        assert tuple(saved["status"].tolist()) == drawn.status
        assert "diverged" in drawn.status
        assert str(saved["source"]) == "mine"
        assert Sampling.model_validate_json(str(saved["settings"])) == drawn.settings
