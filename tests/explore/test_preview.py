"""``gahbench.preview``: images, noise, optimum, the card of a dataset, and faults of datasets."""

from types import SimpleNamespace

import pytest
import torch
from fake_families import HARD_AT_LOW_NOISE

from gahbench import PluginError
from gahbench.evaluation import Evaluation


def test_the_noise_equals_the_noise_of_runs(families):
    preview = families.preview("white", [0.2, 0.05], count=5, split="validation")
    dataset = preview.configured.build()
    denoiser = SimpleNamespace(kind="classical")
    evaluation = Evaluation(denoiser, dataset.images("validation", 5), [0.2, 0.05], split="validation", dataset=dataset)
    for level in preview.levels:
        assert torch.equal(level.noisy, evaluation.noisy(level.sigma))
        assert torch.equal(preview.clean, evaluation.clean)


def test_the_noise_of_an_image_does_not_depend_on_the_start(families):
    # Noise is drawn in blocks of 64.
    first = families.preview("white", [0.1], start=62, count=4)
    second = families.preview("white", [0.1], start=64, count=2)
    assert torch.equal(first.clean[2:], second.clean)
    assert torch.equal(first.levels[0].noisy[2:], second.levels[0].noisy)
    assert torch.equal(first.levels[0].denoised[2:], second.levels[0].denoised)


@pytest.mark.parametrize(("name", "sigma"), [("white", 0.7), ("genied", 0.03)])
def test_the_optimal_error_equals_the_closed_form(families, name, sigma):
    preview = families.preview(f"{name}[spread=0.2,depth=3]", [sigma], count=32)
    (level,) = preview.levels
    truth = 1 / (1 / 0.2**2 + 1 / sigma**2)
    assert level.expected == pytest.approx(truth, rel=1e-6)
    # The mean square of 32 * 240 = 7680 Gaussian errors has a relative standard error of sqrt(2 / 7680).
    measured = float((level.denoised - preview.clean).square().mean())
    assert abs(measured / truth - 1) < 4 * (2 / 7680) ** 0.5


def test_the_genie_is_given_the_index_of_its_images(families):
    preview = families.preview("noiseless-genie", [0.3], count=3, split="train", start=7)
    assert torch.equal(preview.levels[0].denoised, preview.clean)


def test_the_card_holds_the_properties_of_a_dataset(families):
    white = families.preview("white[spread=0.2]", [0.1, 0.2]).card
    # 1 / (1 / 0.04 + 1 / 0.01) in dB.
    assert white["σ = 0.1"] == "noisy 20.0 dB, optimal 21.0 dB"
    files = families.preview("files", [0.1]).card
    assert (files["origin"], files["licence"]) == ("[bold]Nowhere[/bold]", "CC0 [1]")
    assert files["images"] == "train 6, validation 0, test 3, A 3, B 3"
    assert families.preview("genied[spread=0.2]", [0.2]).card["σ = 0.2"] == "noisy 14.0 dB, genie, at most 17.0 dB"


def test_a_failing_optimum_keeps_the_rest_of_the_preview(families):
    preview = families.preview("mine", [0.05, 0.2], body=HARD_AT_LOW_NOISE)
    low, high = preview.levels
    assert (low.denoised, low.obstacle) == (None, "too few effective samples")
    assert (high.expected > 0, high.obstacle) == (True, "")
    assert preview.card["σ = 0.05"].endswith(low.obstacle)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("def __init__(self):\n    open('/no/such/file')", "FileNotFoundError"),
        ("def images(self, split, count, start=0): return [[0.5]]", "it returned a list; accepted: a dense tensor"),
        ("def posterior(self, noisy, sigma): return 3", "AttributeError"),
        ("optimum = gahbench.Optimum('exactly')", "KeyError: 'exactly'"),
    ],
)
def test_faults_of_datasets_are_reported_with_their_place(families, body, message):
    with pytest.raises(PluginError, match=rf"dataset 'mine'( cannot be previewed)?: .*{message}"):
        families.preview("mine", body=body)
