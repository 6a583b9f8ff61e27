"""Sheets of denoised images and of eigenvectors that come with a board."""

import io
import shutil

import numpy as np
import pytest
from PIL import Image
from sheet_folders import write_sheet

import gahbench
from gahbench.registry.registry import Registry
from gahbench.report.contact_sheet import kept_images
from gahbench.report.page.report import html_report
from gahbench.report.pictures import METRICS, kept_arrays, make_sheets
from gahbench.store.store import StoredArrays

DISCS = "discs[size=16]"
RANKS = (1, 2, 3, 5, 9, 17, 33, 65)
KINDS = pytest.mark.parametrize("kind", METRICS)


@pytest.fixture
def published(kept_run, tmp_path):
    """A results folder without its units."""
    return shutil.copytree(kept_run, tmp_path / "published", ignore=shutil.ignore_patterns("units"))


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


def test_a_published_folder_has_two_images_of_each_entrant_at_one_noise_level(kept_run, published):
    kept = {images.entrant: images for images in kept_images(kept_run)[DISCS]}
    shown = {images.entrant: images for images in kept_images(published)[DISCS]}
    assert list(shown) == list(kept)
    for entrant, images in shown.items():
        level = kept[entrant].arrays["sigmas"].tolist().index(images.arrays["sigmas"].item())
        assert images.arrays["clean"].shape == (2, 1, 16, 16)
        for name in ("noisy", "denoised"):
            difference = images.arrays[name][0].astype(float) - kept[entrant].arrays[name][level][:2]
            assert np.abs(difference).max() <= 2
        assert images.arrays["psnr"] == pytest.approx(kept[entrant].arrays["psnr"][[level]][:, :2], abs=0.005)


@pytest.mark.parametrize(
    ("kind", "size", "expected"),
    [("pictures", 96, {"shape": [2, 1, 48, 48]}), ("eigenvectors", 32, {"ranks": [1, 2, 3]})],
)
def test_sheets_stay_below_their_limit(kind, size, expected):
    # Noise cannot be compressed, so that a larger sheet would not fit.
    kept = {f"d{index}": create_arrays(kind, 24, shape=(1, size, size), seed=index) for index in range(2)}
    limit = 210_000 if kind == "pictures" else 100_000
    sheets = make_sheets(kind, kept, limit)
    assert 0 < sum(len(sheet.content) for sheet in sheets) <= limit
    assert {name: sheets[0].record[name] for name in expected} == expected
    with pytest.warns(UserWarning, match=f"no {kind} are published"):
        assert make_sheets(kind, kept, 1000) == []


@KINDS
@pytest.mark.parametrize("channels", [1, 2, 3])
def test_a_sheet_keeps_images_levels_ranks_and_entrants_in_order(kind, channels, tmp_path):
    if (kind, channels) == ("eigenvectors", 2):
        return
    kept = create_arrays(kind, 3, shape=(channels, 12, 20))
    kept[1].arrays["psnr" if kind == "pictures" else "eigenvalues"][1, 0] = np.nan
    (sheet,) = make_sheets(kind, {"d": kept})
    write_sheet(tmp_path, kind, sheet)
    for before, after in zip(kept, kept_arrays(tmp_path, kind)["d"], strict=True):
        arrays = dict(before.arrays)
        if kind == "pictures":
            # A sheet has two images, at the middle one of three noise levels.
            arrays |= {name: arrays[name][[1]] for name in ("noisy", "denoised", "psnr", "sigmas")}
        assert (after.entrant, set(after.arrays)) == (before.entrant, set(arrays))
        for name, array in after.arrays.items():
            expected = arrays[name].astype(float)
            if name not in ("sigmas", "ranks"):
                images = 1 if name in ("noisy", "denoised", "psnr") and kind == "pictures" else 0
                expected = expected.take(range(2), axis=images)
            if channels == 2 and array.ndim > 3:
                expected = expected.mean(axis=-3, keepdims=True)
            tolerance = {"psnr": 0.005, "eigenvalues": 5e-5, "sigmas": 0, "ranks": 0, "eigenvectors": 8}.get(name, 3)
            np.testing.assert_allclose(array.astype(float), expected, rtol=0, atol=tolerance, err_msg=name)


def test_eigenvectors_at_another_noise_level_are_left_out():
    kept = [*create_arrays("eigenvectors", 1), *create_arrays("eigenvectors", 1, sigmas=(0.2,))]
    (sheet,) = make_sheets("eigenvectors", {"d": kept})
    assert len(sheet.record["entrants"]) == 1


@KINDS
@pytest.mark.parametrize(
    "change",
    [
        {"file": "../secret.png"},
        {"file": "results.json"},
        {"shape": [2, 1, 16, 11]},
        {"shape": [2, 2, 16, 12]},
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
        assert kept_arrays(tmp_path, kind) == {}


@KINDS
def test_a_sheet_that_is_not_a_picture_or_was_changed_is_left_out(kind, tmp_path):
    (sheet,) = make_sheets(kind, {"d": create_arrays(kind, 2)})
    buffer = io.BytesIO()
    Image.new("L", (3, 3)).save(buffer, "PNG")
    for content in (b"no picture", buffer.getvalue()):
        write_sheet(tmp_path, kind, sheet, content=content)
        with pytest.warns(UserWarning, match=f"{kind} are left out"):
            assert kept_arrays(tmp_path, kind) == {}
    write_sheet(tmp_path, kind, sheet)
    (tmp_path / sheet.name).write_bytes(sheet.content + b"changed")
    with pytest.warns(UserWarning, match="its checksum differs"):
        assert kept_arrays(tmp_path, kind) == {}


SUITE = """
name: eigen
datasets: [discs: {size: 12}, faces: {size: 12}]
entrants: [identity, low-pass]
training: {steps: 1}
scoring: {sigmas: [0.1], images: 2, metrics: [psnr, spectrum]}
"""


@pytest.mark.usefixtures("figures_not_rendered")
def test_a_run_shows_all_pictures_and_publishes_those_of_free_images(tmp_path):
    (tmp_path / "eigen.yaml").write_text(SUITE, encoding="utf-8")
    folder = tmp_path / "out"
    gahbench.run(tmp_path / "eigen.yaml", folder, engine="inline", quiet=True)
    vectors = kept_arrays(folder, "eigenvectors")
    discs, _ = vectors
    names = {file.name for file in (folder / "pictures").iterdir()}
    assert names == {"discs_size=12.png", "eigenvectors-discs_size=12.png"}
    # The low-pass filter keeps a share of the frequencies, and removes the others.
    (low_pass,) = [item for item in vectors[discs] if item.entrant.startswith("low-pass")]
    assert set(np.round(low_pass.arrays["eigenvalues"].ravel(), 3)) == {0.0, 1.0}
    page = html_report(folder, Registry())
    assert page.count("<h4>") == 2
    assert 'alt="eigenvector 3 of Low-pass' in page
    (folder / "units").rename(tmp_path / "units")
    assert [list(kept_arrays(folder, kind)) for kind in METRICS] == [[discs]] * 2
    assert html_report(folder, Registry()).count("<h4>") == 1
