"""Sheets of the denoised images that runs keep, and curves of training."""

import numpy as np
import pandas as pd
import pytest
from tiny_runs import UNET

import gahbench
from gahbench._util.errors import ParameterError, ResultsError
from gahbench._util.noise import evaluation_noise
from gahbench.board.results import load_results
from gahbench.evaluation.evaluation import Evaluation
from gahbench.report.pictures import denoised_figures, first_seeds
from gahbench.store.plan_file import require_plan
from gahbench.store.store import stored_arrays, stored_weights


def test_kept_images_are_the_scored_images(kept_run):
    kept = first_seeds(stored_arrays(kept_run, "psnr"))
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
    results = load_results(kept_run)

    def draw(sigma=0.1, datasets=("discs",), entrants=()):
        (figure,) = denoised_figures(results, kept_run, sigma, datasets, entrants)
        return {text.get_text() for text in figure.axes[0].texts}

    texts, scores = draw(entrants=["identity", "opt*"]), results.scores
    rows = scores[(scores["dataset"] == "discs[size=16]") & (scores["entrant"] == "optimal") & (scores["sigma"] == 0.1)]
    expected = rows[rows["metric"] == "psnr"].set_index("image")["value"].sort_index()[:2]
    assert {"Identity", "Optimal denoiser", *(f"{value:.1f} dB" for value in expected)} <= texts
    assert "U-Net" not in texts
    with pytest.raises(ParameterError, match=r"0\.7; accepted: the nearest, 0\.3"):
        draw(sigma=0.7)
    # Labels that are not on the board are errors.
    for choice in ({"datasets": ["photos"]}, {"entrants": ["optimall"]}):
        with pytest.raises(ResultsError, match=r"photos|did you mean 'optimal'"):
            draw(**choice)


def test_training_curves_show_the_recorded_histories(kept_run):
    (fit,) = stored_weights(kept_run, require_plan(kept_run), {UNET})
    history, results = pd.read_csv(fit.history), load_results(kept_run)
    loss, psnr = results.figure("training", dataset="discs", folder=kept_run).axes
    assert loss.lines[0].get_ydata().tolist() == history["loss"].tolist()
    levels = history[[name for name in history if name.startswith("psnr@")]]
    assert np.allclose(psnr.lines[0].get_ydata(), levels.mean(axis=1))
    with pytest.raises(ResultsError, match="no finished fits"):
        results.figure("training", entrants="identity", folder=kept_run)
