"""``gahbench preview`` and ``gahbench sample``: images, noise, optimum, card and faults of datasets, and samples."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from fake_families import HARD_AT_LOW_NOISE
from PIL import Image

import gahbench
from gahbench import PluginError
from gahbench.evaluation import Evaluation
from gahbench.explore.preview import contact_sheet
from gahbench.explore.sample import EntrantSamples
from gahbench.report.drawing import encode
from gahbench.sampling import Sampling, draw_samples

FINITE = "finite[discs[size=8],count=4]"


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


def test_preview_prints_a_card_and_writes_a_sheet(command, families):
    arguments = ("-p", families.file, "--sigma", "0.1,0.3", "-s", "0.2", "--split", "A", "--start", 1, "--count", 2)
    status, printed, _ = command("preview")("files", *arguments)
    assert status == 0
    assert printed.splitlines()[0] == f"dataset files  ({families.file})"
    preview = families.preview("files", [0.1, 0.3, 0.2], split="A", start=1, count=2)
    lines = " ".join(printed.split())
    # Labels in a card, such as [bold], are no markup.
    assert all(f"{name} {' '.join(fact.split())}" in lines for name, fact in preview.card.items())
    assert printed.endswith("wrote preview-files.png\n")
    assert Path("preview-files.png").read_bytes() == encode(contact_sheet(preview), ".png")


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


def test_sample_writes_a_sheet_and_arrays_with_all_settings(command):
    settings = ("--set", "count=5", "--set", "sampler=flow", "--set", "levels=3", "--set", "solver=euler")
    status, printed, stderr = command("sample")("optimal", "-d", FINITE, *settings, "--set", "seed=3", "--out", "here")
    assert status == 0, stderr
    given = Sampling(count=5, sampler="flow", levels=3, solver="euler", seed=3)
    same = gahbench.sample("optimal", dataset=FINITE, **given.model_dump(exclude_unset=True))
    assert str(same) in printed
    with np.load("here/samples.npz") as saved:
        np.testing.assert_array_equal(saved["images"], same.images)
        assert Sampling.model_validate_json(str(saved["settings"])) == given
    with Image.open("here/samples.png") as sheet:
        assert sheet.width > 5 * 240


def test_sample_fails_if_all_samples_diverge(command, write_class):
    file = write_class("reference", "def denoise(self, noisy, sigma, truth):\n    return 100 * noisy", "explodes")
    status, printed, stderr = command("sample")("explodes", "-d", "discs[size=8]", "-p", file, "--set", "count=3")
    assert status == 1, stderr
    assert "3 diverged" in printed
    assert Path("sample-explodes/samples.npz").is_file()
