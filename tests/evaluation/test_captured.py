"""Evaluations under recorded noise: noise levels of images, planning, and what is refused."""

import numpy as np
import pytest
import torch
import yaml

import gahbench
from gahbench._util.errors import GahbenchError
from gahbench.contracts.datasets import Captured, captured_level
from gahbench.contracts.references import Reference
from gahbench.contracts.truth import DenoiserKind
from gahbench.evaluation import Evaluation
from gahbench.planning.plan import make_plan
from gahbench.planning.suite import load_suite
from gahbench.registry.registry import Registry


class Recorder(Reference):
    """A denoiser that returns its noise level in every pixel."""

    kind: DenoiserKind = "classical"

    def denoise(self, noisy, sigma, truth):
        return torch.full_like(noisy, sigma)


@pytest.fixture
def clean():
    return gahbench.create("dataset", "faces[size=16]").images("test", 6)


@pytest.fixture
def captured(clean):
    sigma = torch.tensor([0.1, 0.3, 0.1, 0.2, 0.4, 0.1], dtype=torch.float64)
    noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(0)) * sigma.view(-1, 1, 1, 1).float()
    return Captured(clean + noise, sigma, torch.zeros_like(sigma))


def test_each_image_is_denoised_at_its_own_level_in_any_batch(clean, captured):
    evaluation = Evaluation(Recorder(), clean, [0.2], captured=captured)
    for size in (1, 4, 6):
        evaluation.batches.size = size
        evaluation._denoised.clear()
        assert torch.allclose(evaluation.denoised(0.2).mean((1, 2, 3)).double(), captured.sigma)
    assert torch.equal(evaluation.noisy(0.2), captured.noisy)
    one = evaluation.select(4)
    assert torch.equal(one.noisy(0.2), captured.noisy[4:5])
    assert torch.allclose(one.denoised(0.2), torch.tensor(0.4))


@pytest.fixture
def pairs(tmp_path, clean, captured):
    np.savez(tmp_path / "pairs.npz", clean=clean[:, 0], noisy=captured.noisy[:, 0])
    return f"captures[path={tmp_path / 'pairs.npz'}]"


def plan(tmp_path, datasets, **scoring):
    content = {
        "name": "mine",
        "datasets": datasets,
        "entrants": ["identity", "bayes-shrink[haar]"],
        "scoring": {"sigmas": "measured", "images": 6, **scoring},
    }
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(content))
    registry = Registry()
    return make_plan(load_suite(tmp_path / "mine.yaml", registry))


def test_the_level_of_scores_is_the_geometric_mean(tmp_path, pairs, captured):
    dataset = gahbench.create("dataset", pairs)
    level = captured_level(dataset, 6)
    assert level == pytest.approx(float(dataset.captured(6).sigma.log().mean().exp()), rel=1e-3)
    units = plan(tmp_path, [pairs]).units
    assert all(unit.payload["sigmas"] == [level] and unit.payload["captured"] for unit in units)


@pytest.mark.parametrize(
    ("dataset", "scoring", "problem"),
    [
        ("discs[size=16]", {}, "the dataset has no recorded noisy images"),
        (None, {"splits": ["test", "train"], "images": 1}, "images=1 requested from the train split, which holds 0"),
        (None, {"metrics": ["psnr", "alignment[haar]"]}, "not defined under recorded noise"),
        (None, {"metrics": ["psnr", "transfer-gap"], "sigmas": [0.1]}, "set 'sigmas: measured' under 'scoring'"),
        (None, {"images": 7}, "images=7 requested from the test split, which holds 6"),
    ],
)
def test_what_recorded_noise_cannot_measure_is_refused_before_a_run(tmp_path, pairs, dataset, scoring, problem):
    with pytest.raises(GahbenchError, match=problem) as caught:
        plan(tmp_path, [dataset or pairs], **scoring)
    assert "\n" not in str(caught.value)
