"""Pictures of denoised images and eigenvectors that come with a board, galleries, and curves of training."""

import hashlib
import io
import json
import shutil

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from tiny_runs import UNET

import gahbench
from gahbench._util.errors import ParameterError, ResultsError
from gahbench._util.noise import evaluation_noise
from gahbench._util.records import seal
from gahbench.board.results import load_results
from gahbench.evaluation.evaluation import Evaluation
from gahbench.registry.registry import Registry
from gahbench.report.bases import gallery_figure, geometric_ranks
from gahbench.report.page.report import html_report
from gahbench.report.pictures import METRICS, denoised_figures, find_sheets, first_seeds, make_sheets
from gahbench.store.plan_file import require_plan
from gahbench.store.store import StoredArrays, stored_arrays, stored_weights

WAVES = "sinusoids[size=16]"
RANKS = (1, 2, 3, 5, 9, 17, 33, 65)
KINDS = pytest.mark.parametrize("kind", METRICS)


def create_arrays(kind, entrants, *, sigmas=(0.1, 0.2, 0.3), shape=(1, 16, 12), seed=0):
    """Return random arrays: images that were denoised at several noise levels, or eigenvectors at the first."""
    random = np.random.default_rng(seed)

    def images(*axes):
        return random.integers(1, 256, (*axes, *shape), dtype=np.uint8)

    levels = len(sigmas)
    shared = {"clean": images(3), "sigmas": np.asarray(sigmas), "noisy": images(levels, 3)}
    if kind == "eigenvectors":
        shared |= {"noisy": shared["noisy"][0], "sigmas": np.asarray(sigmas[:1]), "ranks": np.asarray(RANKS)}
    stored = []
    for index in range(entrants):
        if kind == "pictures":
            own = {"denoised": images(levels, 3), "psnr": random.uniform(10, 40, (levels, 3))}
        else:
            own = {"eigenvectors": images(3, 8), "eigenvalues": -np.sort(-random.uniform(0, 1, (3, 8)), axis=1)}
        stored.append(StoredArrays("d", f"entrant {index}", METRICS[kind], 0, {**shared, **own}))
    return stored


def write_sheet(folder, key, sheet, record=None, content=None):
    """Write a sheet and an index that describes it under a key, or another content or description in their place."""
    content = sheet.content if content is None else content
    (folder / "pictures").mkdir(exist_ok=True)
    (folder / sheet.name).write_bytes(content)
    index = {
        "format": "gahbench-results",
        "version": 1,
        "files": {sheet.name: hashlib.sha256(content).hexdigest()},
        key: [sheet.record if record is None else record],
    }
    (folder / "results.json").write_bytes(seal((json.dumps(index, indent=1) + "\n").encode()))


def test_a_published_folder_has_two_images_of_each_entrant_at_one_noise_level(kept_run, tmp_path):
    published = shutil.copytree(kept_run, tmp_path / "published", ignore=shutil.ignore_patterns("units"))
    (kept,), (shown,) = (find_sheets(folder, "pictures") for folder in (kept_run, published))
    assert (shown.dataset, shown.sigma, shown.entrants) == (WAVES, kept.sigma, kept.entrants)
    assert shown.rows.shape == (2 + len(kept.entrants), 2, 1, 1, 16, 16)
    assert np.abs(shown.rows.astype(float) - kept.rows).max() <= 2
    assert shown.values == pytest.approx(kept.values, abs=0.005)


@KINDS
def test_sheets_are_cropped_to_their_limit(kind):
    # Noise cannot be compressed.
    kept = {f"d{index}": create_arrays(kind, 24, shape=(1, 64, 48), seed=index) for index in range(2)}
    for limit, expected in ((10**7, (64, 48)), (200_000, None), (1, (16, 16))):
        sheets = make_sheets(kind, kept, limit)
        assert expected in (None, sheets[0].rows.shape[-2:])
        assert limit == 1 or sum(len(sheet.content) for sheet in sheets) <= limit


@KINDS
@pytest.mark.parametrize("channels", [1, 2, 3])
def test_a_sheet_keeps_images_levels_ranks_and_entrants_in_order(kind, channels, tmp_path):
    kept = create_arrays(kind, 3, shape=(channels, 12, 20))
    arrays = [item.arrays for item in kept]
    values = [each["psnr"][1, :2, None] if kind == "pictures" else each["eigenvalues"][:2] for each in arrays]
    values[1][1, 0] = np.nan
    if kind == "pictures":
        # A sheet has two images, at the middle one of three noise levels.
        images = [arrays[0]["clean"], arrays[0]["noisy"][1], *(each["denoised"][1] for each in arrays)]
        expected = np.stack(images)[:, :2, None].astype(float)
    else:
        vectors = [each["eigenvectors"] for each in arrays]
        expected = np.stack([0 * vectors[0], *vectors])[:, :2].astype(float)
        expected[0, :, 0], expected[0, :, 1] = arrays[0]["clean"][:2], arrays[0]["noisy"][:2]
    if channels == 2:
        expected = expected.mean(axis=3, keepdims=True)
    (sheet,) = make_sheets(kind, first_seeds(kept))
    write_sheet(tmp_path, kind, sheet)
    (after,) = find_sheets(tmp_path, kind)
    assert (after.dataset, after.entrants, after.record) == ("d", [item.entrant for item in kept], sheet.record)
    np.testing.assert_allclose(after.rows.astype(float), expected, rtol=0, atol=3 if kind == "pictures" else 8.5)
    np.testing.assert_allclose(after.values, values, rtol=0, atol=0.005)


def test_tables_have_rows_of_titled_pictures():
    (sheet,) = make_sheets("pictures", {"d": create_arrays("pictures", 2, shape=(3, 8, 8))})
    table = sheet.table({"entrant 1": "One"})
    assert [(name, len(cells)) for name, cells in table] == [("", 4), ("One", 4)]
    clean, denoised, error = table[0][1][2], *table[1][1][2:]
    assert denoised.title == f"{sheet.values[1, 1, 0]:.1f} dB"
    errors = (0.5 + (denoised.picture - clean.picture) / (4 * sheet.sigma)).clip(0, 1)
    np.testing.assert_allclose(error.picture, errors, atol=1e-6)
    (sheet,) = make_sheets("eigenvectors", {"d": create_arrays("eigenvectors", 2)})
    table = sheet.table({"entrant 0": "Zero", "entrant 1": "One"})
    assert [(name, len(cells)) for name, cells in table] == 2 * [("", 2), ("Zero", 8), ("One", 8)]
    assert table[1][1][3].title == f"λ₅ = {sheet.values[0, 0, 3]:.2f}"


@KINDS
@pytest.mark.parametrize(
    "change",
    [
        {"file": "../secret.png"},
        {"shape": [2, 1, 16, 11]},
        {"shape": [2, 1, 100_000, 100_000]},
        {"shape": [0, 1, 16, 12]},
        {"sigmas": []},
        {"psnr": [[["a"]]], "eigenvalues": [[1.0]]},
        {"ranks": ["a"]},
        {"entrants": None},
        {"dataset": 3},
    ],
)
def test_a_forged_description_is_left_out(kind, change, tmp_path):
    (sheet,) = make_sheets(kind, {"d": create_arrays(kind, 2)})
    write_sheet(tmp_path, kind, sheet, {**sheet.record, **change})
    with pytest.warns(UserWarning, match=f"{kind} are left out"):
        assert find_sheets(tmp_path, kind) == []


@KINDS
def test_a_sheet_that_is_not_a_picture_or_was_changed_is_left_out(kind, tmp_path):
    (sheet,) = make_sheets(kind, {"d": create_arrays(kind, 2)})
    buffer = io.BytesIO()
    Image.new("L", (3, 3)).save(buffer, "PNG")
    for content in (b"no picture", buffer.getvalue()):
        write_sheet(tmp_path, kind, sheet, content=content)
        with pytest.warns(UserWarning, match=f"{kind} are left out"):
            assert find_sheets(tmp_path, kind) == []
    write_sheet(tmp_path, kind, sheet)
    (tmp_path / sheet.name).write_bytes(sheet.content + b"changed")
    with pytest.warns(UserWarning, match="its checksum differs"):
        assert find_sheets(tmp_path, kind) == []


SUITE = """
name: eigen
datasets: [sinusoids: {size: 12}, faces: {size: 12}]
entrants: [identity, low-pass]
training: {steps: 1}
scoring: {sigmas: [0.1], images: 2, metrics: [psnr, spectrum]}
"""


@pytest.mark.usefixtures("figures_not_rendered")
def test_a_run_shows_all_pictures_and_publishes_those_of_free_images(tmp_path):
    (tmp_path / "eigen.yaml").write_text(SUITE, encoding="utf-8")
    folder = tmp_path / "out"
    gahbench.run(tmp_path / "eigen.yaml", folder, engine="inline", quiet=True)
    vectors = find_sheets(folder, "eigenvectors")
    assert {file.name for file in (folder / "pictures").iterdir()} == {
        "sinusoids_size=12.png",
        "eigenvectors-sinusoids_size=12.png",
    }
    # The low-pass filter keeps a share of the frequencies, and removes the others.
    (index,) = [index for index, label in enumerate(vectors[0].entrants) if label.startswith("low-pass")]
    assert set(np.round(vectors[0].values[index].ravel(), 3)) == {0.0, 1.0}
    assert html_report(folder, Registry()).count('class="vectors"') == 2
    (folder / "units").rename(tmp_path / "units")
    assert [[sheet.dataset for sheet in find_sheets(folder, kind)] for kind in METRICS] == [[vectors[0].dataset]] * 2
    assert html_report(folder, Registry()).count('class="vectors"') == 1


def test_ranks_double_until_an_eigenvalue_is_small():
    assert geometric_ranks(torch.ones(40)) == [1, 2, 3, 5, 9, 17, 33]
    assert geometric_ranks(torch.tensor([1.0, 0.9, 0.5, 0.4, 0.01, 0.0])) == [1, 2, 3, 5]
    assert geometric_ranks(torch.zeros(9)) == [1]


@pytest.mark.parametrize("channels", [1, 3])
def test_eigenvectors_are_shown_with_zero_in_the_middle_of_the_colours(channels):
    size = channels * 20
    clean = torch.full((channels, 4, 5), 0.5)
    images = {"clean": clean, "noisy": clean + 0.1, "denoised": clean + 0.01}
    figure = gallery_figure(images, torch.linspace(1.2, -0.2, size), torch.eye(size) / 2, [1, size])
    vector = np.asarray(figure.axes[0].images[3].get_array())
    # The largest value is 1; zero is white, or grey in colour images.
    assert vector[0, 0].tolist() == ([103, 0, 31] if channels == 1 else [255, 128, 128])
    assert (vector[1, 1] >= 246).all() if channels == 1 else (vector[1, 1] == 128).all()
    with pytest.raises(ParameterError, match=f"0, 99; .* 1 to {size}"):
        gallery_figure(images, torch.ones(size), torch.eye(size), [0, 1, 99])


def test_kept_images_are_the_scored_images(kept_run):
    kept = first_seeds(stored_arrays(kept_run, "psnr"))
    assert {dataset: [stored.entrant for stored in images] for dataset, images in kept.items()} == {
        WAVES: [UNET, "identity", "optimal", "oracle-threshold[haar]"],
    }
    waves = gahbench.create("dataset", "sinusoids", size=16)
    clean = waves.images("test", 4)
    for stored in kept[WAVES]:
        assert stored.arrays["clean"].shape == (3, 1, 16, 16)
        assert np.abs(stored.arrays["clean"] / 255 - clean[:3].numpy()).max() < 0.51 / 255
        for index, sigma in enumerate(stored.arrays["sigmas"]):
            noisy = clean + evaluation_noise(4, waves.shape, float(sigma), 0, "test")
            assert np.abs(stored.arrays["noisy"][index] / 255 - noisy[:3].clamp(0, 1).numpy()).max() < 0.51 / 255
            if stored.entrant == "optimal":
                best = waves.posterior(noisy[:3], float(sigma)).mean.clamp(0, 1).numpy()
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

    def draw(sigma=0.1, datasets=("sinusoids",), entrants=()):
        (figure,) = denoised_figures(results, kept_run, sigma, datasets, entrants)
        return {text.get_text() for text in figure.axes[0].texts}

    texts, scores = draw(entrants=["identity", "opt*"]), results.scores
    rows = scores[(scores["dataset"] == WAVES) & (scores["entrant"] == "optimal") & (scores["sigma"] == 0.1)]
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
    loss, psnr = results.figure("training", dataset="sinusoids", folder=kept_run).axes
    assert loss.lines[0].get_ydata().tolist() == history["loss"].tolist()
    levels = history[[name for name in history if name.startswith("psnr@")]]
    assert np.allclose(psnr.lines[0].get_ydata(), levels.mean(axis=1))
    with pytest.raises(ResultsError, match="no finished fits"):
        results.figure("training", entrants="identity", folder=kept_run)
