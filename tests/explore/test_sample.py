"""``gahbench.sample``: denoisers that can be sampled, settings, and files of samples."""

import numpy as np
import pytest
import torch

import gahbench
from gahbench._util.errors import DataError, GahbenchError, ParameterError
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
    with np.load(tmp_path / "a" / "samples.npz", allow_pickle=False) as saved:
        np.testing.assert_array_equal(saved["images"], drawn.images)
        np.testing.assert_array_equal(saved["sigma"], drawn.sigma)
        assert saved["steps"].tolist() == drawn.steps.tolist()
        assert tuple(saved["status"].tolist()) == drawn.status
        assert "diverged" in drawn.status
        assert str(saved["source"]) == "mine"
        assert Sampling.model_validate_json(str(saved["settings"])) == drawn.settings


def test_networks_are_sampled_with_their_weights(tmp_path):
    network = gahbench.create("architecture", "bf-cnn", width=4, layers=3)
    torch.save(network.state_dict(), tmp_path / "w.pt")
    settings = {"dataset": "discs[size=8]", "count": 2, "max_steps": 20}
    by_argument = gahbench.sample("bf-cnn[width=4,layers=3]", checkpoint=tmp_path / "w.pt", **settings)
    by_name = gahbench.sample(f"bf-cnn[width=4,layers=3,checkpoint={tmp_path / 'w.pt'}]", **settings)
    assert torch.equal(by_argument.images, by_name.images)


def test_a_reference_is_fitted_before_sampling():
    samples = gahbench.sample("wiener-linear[images=64]", dataset="gaussian-field[size=8]", count=3, sampler="flow")
    assert samples.status == ("converged",) * 3
    assert abs(float(samples.images.mean()) - 0.5) < 0.2


@pytest.mark.parametrize(
    ("entrant", "settings", "message"),
    [
        ("optimall", {}, "did you mean 'optimal'"),
        ("unet", {}, "has no weights: give a checkpoint"),
        ("oracle-shrink", {"dataset": "discs[size=8]"}, r"on discs\[size=8\]: denoisers of kind 'oracle' need"),
        ("optimal", {"dataset": "c-alpha[size=8]"}, "not defined on a dataset whose optimum is 'bracket'"),
        ("optimal", {"dataset": FINITE, "step": 0.0}, r"step=0\.0: input should be greater than 0"),
        ("optimal", {"dataset": FINITE, "levels": 7}, "levels belongs to the flow sampler"),
        ("optimal", {"dataset": FINITE, "batch": 0}, r"batch=0; accepted: 1, 2, \.\.\."),
    ],
)
def test_invalid_entrants_and_settings_raise(entrant, settings, message):
    with pytest.raises(GahbenchError, match=message):
        gahbench.sample(entrant, **settings)


def test_settings_are_checked_before_files_are_read():
    with pytest.raises(ParameterError, match="unknown sampling setting 'bta'; did you mean 'beta'"):
        gahbench.sample("optimal", dataset="faces[path=/nowhere]", bta=1)
    with pytest.raises(DataError):
        gahbench.sample("wiener-linear", dataset="faces[path=/nowhere]")
