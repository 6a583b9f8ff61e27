"""Pictures of published folders: sheets of denoised images that come with a board."""

import io
import shutil

import numpy as np
import pytest
from PIL import Image
from sheet_folders import write_sheet

import gahbench
from gahbench.report import pictures
from gahbench.report.contact_sheet import kept_images
from gahbench.report.pictures import MAX_BYTES, load_pictures, make_sheets
from gahbench.store.store import StoredArrays

DISCS = "discs[size=16]"


@pytest.fixture
def published(kept_run, tmp_path):
    """A results folder without its units."""
    return shutil.copytree(kept_run, tmp_path / "published", ignore=shutil.ignore_patterns("units"))


def create_arrays(entrants, *, sigmas=(0.1, 0.2, 0.3), count=3, shape=(1, 96, 96), seed=0):
    random = np.random.default_rng(seed)

    def images(*axes):
        return random.integers(0, 256, (*axes, count, *shape), dtype=np.uint8)

    clean, noisy = images(), images(len(sigmas))
    return [
        StoredArrays(
            "d",
            f"entrant {index}",
            "psnr",
            0,
            {
                "clean": clean,
                "noisy": noisy,
                "denoised": images(len(sigmas)),
                "sigmas": np.asarray(sigmas),
                "psnr": random.uniform(10, 40, (len(sigmas), count)),
            },
        )
        for index in range(entrants)
    ]


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


def test_sheets_stay_below_their_limit():
    kept = {f"d{index}": create_arrays(24, seed=index) for index in range(2)}
    sheets = make_sheets(kept)
    assert sum(len(sheet.content) for sheet in sheets) <= MAX_BYTES
    # Noise cannot be compressed, so that a larger picture would not fit.
    count, _, height, width = sheets[0].record["shape"]
    assert (count, height, width) == (2, 48, 48)


@pytest.mark.parametrize("shape", [(1, 12, 20), (3, 12, 20), (2, 12, 20)])
def test_a_sheet_keeps_the_order_of_images_levels_and_entrants(shape, tmp_path):
    kept = create_arrays(3, shape=shape)
    kept[1].arrays["psnr"][1, 0] = np.nan
    (sheet,) = make_sheets({"d": kept})
    write_sheet(tmp_path, "pictures", sheet)
    read = load_pictures(tmp_path)["d"]
    for before, after in zip(kept, read, strict=True):
        assert after.entrant == before.entrant
        for name in ("clean", "noisy", "denoised"):
            # A sheet has two images, at the middle one of three noise levels.
            expected = (before.arrays[name] if name == "clean" else before.arrays[name][[1]])[..., :2, :, :, :]
            expected = expected.astype(float)
            if shape[0] == 2:
                expected = expected.mean(axis=-3, keepdims=True)
            assert np.abs(after.arrays[name] - expected).max() <= 3
        assert after.arrays["psnr"] == pytest.approx(before.arrays["psnr"][[1], :2], abs=0.005, nan_ok=True)


@pytest.mark.parametrize(
    "change",
    [
        {"file": "../secret.png"},
        {"file": "results.json"},
        {"shape": [2, 1, 96, 95]},
        {"shape": [2, 1, 100_000, 100_000]},
        {"shape": [0, 1, 96, 96]},
        {"sigmas": []},
        {"psnr": [[["a"]]]},
        {"entrants": None},
        {"dataset": 3},
    ],
)
def test_a_forged_description_is_left_out(change, tmp_path):
    (sheet,) = make_sheets({"d": create_arrays(2)})
    write_sheet(tmp_path, "pictures", sheet, {**sheet.record, **change})
    with pytest.warns(UserWarning, match="pictures are left out"):
        assert load_pictures(tmp_path) == {}


def test_a_sheet_that_is_not_a_picture_or_was_changed_is_left_out(tmp_path):
    (sheet,) = make_sheets({"d": create_arrays(2)})
    buffer = io.BytesIO()
    Image.new("L", (3, 3)).save(buffer, "PNG")
    for content in (b"no picture", buffer.getvalue()):
        write_sheet(tmp_path, "pictures", sheet, content=content)
        with pytest.warns(UserWarning, match="pictures are left out"):
            assert load_pictures(tmp_path) == {}
    write_sheet(tmp_path, "pictures", sheet)
    (tmp_path / sheet.name).write_bytes(sheet.content + b"changed")
    with pytest.warns(UserWarning, match="its checksum differs"):
        assert load_pictures(tmp_path) == {}


@pytest.mark.usefixtures("figures_not_rendered")
def test_images_that_are_not_free_are_not_published(tmp_path):
    settings = {"scoring.images": 2}
    gahbench.run(
        "quick",
        tmp_path,
        datasets=["discs", "faces"],
        metrics=["psnr"],
        only=["identity"],
        settings=settings,
        engine="inline",
        quiet=True,
    )
    assert list(load_pictures(tmp_path)) == [DISCS.replace("16", "32")]
    assert (tmp_path / "pictures" / "discs_size=32.png").is_file()


def test_a_board_whose_smallest_pictures_are_too_large_has_none(monkeypatch):
    monkeypatch.setattr(pictures, "MAX_BYTES", 100)
    with pytest.warns(UserWarning, match="no pictures are published"):
        assert make_sheets({"d": create_arrays(2)}) == []
