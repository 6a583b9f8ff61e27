"""``gahbench sample`` and :func:`gahbench.sample`."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import gahbench
from gahbench._util.errors import DataError, GahbenchError, ParameterError
from gahbench.sampling import Sampling

FINITE = "finite[discs[size=8],count=4]"
BROKEN = """
def __init__(self, factor: float = 100.0):
    self.factor = factor

def denoise(self, noisy, sigma, truth):
    return self.factor * noisy
"""


@pytest.fixture
def call(command):
    return command("sample")


def test_the_command_prints_a_table_and_writes_a_sheet_and_arrays(call):
    status, printed, stderr = call("optimal", "-d", FINITE, "-n", 5, "--seed", 3, "--out", "here")
    assert status == 0, stderr
    lines = printed.splitlines()
    assert lines[0] == f"optimal for {FINITE}: stochastic sampler, seed 3"
    assert re.fullmatch(r" +5 +\d+ +\d+\.\d +\d+ +(0\.0[345]\d\d +){3}converged", lines[2])
    assert lines[-1] == "wrote samples.png, samples.npz to here/"
    same = gahbench.sample("optimal", dataset=FINITE, count=5, seed=3)
    with np.load("here/samples.npz") as saved:
        np.testing.assert_array_equal(saved["images"], same.images)
        assert saved["status"].tolist() == ["converged"] * 5
        assert str(saved["source"]) == f"optimal\nfor {FINITE}"
    with Image.open("here/samples.png") as sheet:
        assert sheet.width > 5 * 240


def test_the_command_accepts_settings_of_the_flow_sampler(call):
    arguments = ("optimal", "-d", FINITE, "-n", 2, "--sampler", "flow", "--levels", "4,1,0.1", "--solver", "euler")
    status, printed, stderr = call(*arguments)
    assert status == 0, stderr
    with np.load("sample-optimal/samples.npz") as saved:
        settings = Sampling.model_validate_json(str(saved["settings"]))
    assert (settings.sampler, settings.levels, settings.solver) == ("flow", (4.0, 1.0, 0.1), "euler")
    assert (settings.sigma_start, settings.sigma_end) == (4.0, 0.1)
    assert printed.splitlines()[2].split()[:4] == ["2", "2", "2.0", "2"]


def test_the_command_fails_if_all_samples_diverge(call, write_class):
    file = write_class("reference", BROKEN, "explodes")
    status, printed, stderr = call("explodes", "-d", "discs[size=8]", "-p", file, "-n", 3)
    assert status == 1, stderr
    assert "all samples diverged: the residual was not finite, or over 4 per pixel (root mean square)" in printed
    assert Path("sample-explodes/samples.npz").is_file()
    status, printed, stderr = call("identity", "-d", "discs[size=8]", "-n", 3)
    # The identity estimates no noise, so it converges without a step.
    assert (status, printed.splitlines()[2].split()[:2]) == (0, ["3", "0"])
    weak = ("explodes[factor=0.9]", "-d", "discs[size=8]", "-p", file, "-n", 3, "--max-steps", 4, "--mean", 0)
    status, printed, stderr = call(*weak)
    assert status == 0, stderr
    assert "3 of 3 samples ran out of steps, after 4: the estimated noise level did not fall to 0.05" in printed


def test_networks_are_sampled_with_their_weights(tmp_path):
    network = gahbench.create("architecture", "bf-cnn", width=4, layers=3)
    torch.save(network.state_dict(), tmp_path / "w.pt")
    settings = {"dataset": "discs[size=8]", "count": 2, "max_steps": 20}
    by_argument = gahbench.sample("bf-cnn[width=4,layers=3]", checkpoint=tmp_path / "w.pt", **settings)
    by_name = gahbench.sample(f"bf-cnn[width=4,layers=3,checkpoint={tmp_path / 'w.pt'}]", **settings)
    assert torch.equal(by_argument.images, by_name.images)
    with pytest.raises(ParameterError, match=r"'bf-cnn\[width=4\]' has no weights: give .*; untrained\["):
        gahbench.sample("bf-cnn[width=4]", **settings)


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
        ("optimal", {"dataset": FINITE, "sampler": "flo"}, "sampler='flo': input should be 'stochastic' or 'flow'"),
        ("optimal", {"dataset": FINITE, "levels": 7}, "levels belongs to the flow sampler"),
        ("optimal", {"dataset": FINITE, "count": 0}, "count=0: input should be greater than or equal to 1"),
        ("optimal", {"dataset": FINITE, "batch": 0}, r"batch=0; accepted: 1, 2, \.\.\."),
        ("optimal", {"dataset": "discs[sise=8]"}, "did you mean 'size'"),
    ],
)
def test_invalid_entrants_and_settings_raise(entrant, settings, message):
    with pytest.raises(GahbenchError, match=message):
        gahbench.sample(entrant, **settings)


def test_settings_are_checked_before_files_are_read():
    with pytest.raises(ParameterError, match="unknown sampling setting 'bta'; did you mean 'beta'"):
        gahbench.sample("optimal", dataset="faces[path=/nowhere]", bta=1)
    with pytest.raises((DataError, GahbenchError)):
        gahbench.sample("wiener-linear", dataset="faces[path=/nowhere]")
