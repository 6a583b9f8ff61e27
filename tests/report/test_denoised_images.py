"""Sheets of the denoised images that runs keep, and curves of training."""

from pathlib import Path

import numpy as np
import pytest
from tiny_runs import UNET

import gahbench
from gahbench._util.errors import ParameterError, ResultsError
from gahbench._util.noise import evaluation_noise
from gahbench.board.results import load_results
from gahbench.evaluation.evaluation import Evaluation
from gahbench.report.contact_sheet import denoised_sheet, kept_images
from gahbench.report.training import histories


def test_kept_images_are_the_scored_images(kept_run):
    kept = kept_images(kept_run)
    assert {dataset: [stored.entrant for stored in images] for dataset, images in kept.items()} == {
        "discs[size=16]": [UNET, "identity", "optimal", "oracle-threshold[haar]"],
    }
    discs = gahbench.create("dataset", "discs", size=16)
    clean = discs.images("test", 4)
    for stored in kept["discs[size=16]"]:
        assert stored.arrays["clean"].shape == (3, 1, 16, 16)
        assert np.abs(stored.arrays["clean"] / 255 - clean[:3].numpy()).max() < 0.51 / 255
        for index, sigma in enumerate(stored.arrays["sigmas"]):
            noisy = clean + evaluation_noise(4, discs.shape, float(sigma), 0, "test")
            assert np.abs(stored.arrays["noisy"][index] / 255 - noisy[:3].clamp(0, 1).numpy()).max() < 0.51 / 255
            if stored.entrant == "optimal":
                best = discs.posterior(noisy[:3], float(sigma)).mean.clamp(0, 1).numpy()
                assert np.abs(stored.arrays["denoised"][index] / 255 - best).max() < 0.51 / 255


def test_large_images_are_kept_cropped_and_bounds_keep_no_images():
    dataset = gahbench.create("dataset", "c-alpha", size=112)
    psnr = gahbench.create("metric", "psnr")
    images = dataset.images("test", 4)
    kept = psnr.score(Evaluation(gahbench.create("reference", "identity"), images, [0.1], dataset=dataset)).arrays
    assert kept["clean"].shape == (3, 1, 96, 96)
    assert (kept["clean"] / 255 - images[:3, :, 8:104, 8:104].clamp(0, 1)).abs().max() < 0.51 / 255
    small = gahbench.create("dataset", "c-alpha", size=16)
    bound = Evaluation(gahbench.create("reference", "lower-bound"), small.images("test", 4), [0.1], dataset=small)
    assert psnr.score(bound).arrays is None


def test_a_sheet_shows_the_psnr_of_denoised_images(kept_run):
    kept = kept_images(kept_run, ["discs"], ["identity", "opt*"])["discs[size=16]"]
    figure = denoised_sheet(kept, 0.1, count=2)
    titles = [axes.get_title(loc="left") or axes.get_title() for axes in figure.axes]
    scores = gahbench.load_results(kept_run).scores
    rows = scores[(scores["dataset"] == "discs[size=16]") & (scores["entrant"] == "optimal") & (scores["sigma"] == 0.1)]
    expected = rows[rows["metric"] == "psnr"].set_index("image")["value"].sort_index()[:2]
    texts = " ".join(titles) + " ".join(text.get_text() for axes in figure.axes for text in axes.texts)
    for value in expected:
        assert f"{value:.1f} dB" in texts
    with pytest.raises(ParameterError, match=r"no images at sigma 0\.2; accepted: 0\.1, 0\.3"):
        denoised_sheet(kept, 0.2)
    # Labels that are not on the board are errors.
    with pytest.raises(ResultsError, match="datasets photos are not in the results; accepted: "):
        kept_images(kept_run, ["photos"])
    with pytest.raises(ResultsError, match="entrants optimall are not in the results; did you mean 'optimal'"):
        kept_images(kept_run, None, ["optimall"])


def test_training_curves_show_the_recorded_histories(kept_run):
    fits_by_dataset = histories(kept_run, ["discs"])
    ((fit, history),) = fits_by_dataset["discs[size=16]"]
    assert fit.entrant == UNET
    loss, psnr = load_results(kept_run).figure("training", dataset="discs", folder=kept_run).axes
    assert loss.lines[0].get_ydata().tolist() == history["loss"].tolist()
    levels = history[[name for name in history if name.startswith("psnr@")]]
    assert np.allclose(psnr.lines[0].get_ydata(), levels.mean(axis=1))
    with pytest.raises(ResultsError, match="no finished fits"):
        histories(kept_run, entrants=["identity"])


def test_the_commands_draw_denoised_images_and_training(kept_run, command):
    for name in ("denoised", "training"):
        status, printed, errors = command("draw")(name, kept_run, "-o", f"{name}.png")
        assert (status, printed) == (0, f"wrote {name}.png\n"), errors
        assert Path(f"{name}.png").read_bytes().startswith(b"\x89PNG")
    status, _, errors = command("draw")("denoised[sigma=0.7]", kept_run)
    assert (status, "accepted: 0.1, 0.3" in errors) == (2, True)
