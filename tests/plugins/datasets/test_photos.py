"""Photographs: patches of them, and whole photographs."""

import hashlib
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from isolation import real_data
from PIL import Image

import gahbench
from gahbench._util.errors import DataError
from gahbench.contracts.datasets import SPLITS
from gahbench.testing import check_configured
from gahbench_plugins.datasets.photos import Photos, Whole


def ramps(count, height=40, width=56):
    """Return photographs whose three channels encode the number, row and column of each pixel."""
    rows, columns = np.mgrid[:height, :width]
    return np.stack([np.stack([np.full_like(rows, 20 * index), rows, columns], -1) for index in range(count)]).astype(
        np.uint8
    )


def patch_positions(photos, split, count, start=0):
    """Return photograph, row and column of patches of ``ramps``, after checking that they are such patches."""
    images = (255 * photos.images(split, count, start)).round().long()
    corners = images[:, :, 0, 0]
    steps = torch.arange(photos.size)
    assert (images[:, 0] == corners[:, 0, None, None]).all()
    assert (images[:, 1] == corners[:, 1, None, None] + steps[:, None]).all()
    assert (images[:, 2] == corners[:, 2, None, None] + steps).all()
    return corners[:, 0] // 20, corners[:, 1], corners[:, 2]


@pytest.fixture
def ten(tmp_path):
    np.savez(tmp_path / "ten.npz", images=ramps(10))
    return str(tmp_path / "ten.npz")


def test_splits_are_by_photograph(ten):
    photos = Photos(ten, size=16, colour="rgb", test=3)
    held = {split: set(patch_positions(photos, split, photos.available(split) or 2000)[0].tolist()) for split in SPLITS}
    assert held["train"] == set(range(6))
    assert held["validation"] == {6}
    assert held["test"] == {7, 8, 9}
    assert held["A"] | held["B"] == held["train"]
    assert not held["A"] & held["B"]
    assert len(held["A"]) == 3


def test_training_positions_are_uniform(tmp_path):
    # Photographs have two sizes, with 25 x 41 and 13 x 9 positions of patches.
    named = {f"{index}": photo for index, photo in enumerate(ramps(5))} | {"1": ramps(2, 28, 24)[1]}
    np.savez(tmp_path / "a.npz", **named)
    photos = Photos(str(tmp_path / "a.npz"), size=16, colour="rgb", test=2)
    which, rows, columns = patch_positions(photos, "train", 20_000)
    assert (rows[which == 0].max(), columns[which == 0].max()) == (24, 40)
    assert (rows[which == 1].max(), columns[which == 1].max()) == (12, 8)
    share = 13 * 9 / (13 * 9 + 25 * 41)
    assert (which == 1).double().mean().item() == pytest.approx(share, abs=4 * (share / 20_000) ** 0.5)
    # Rows are uniform from 0 to 24, with mean 12 and standard deviation 7.2.
    assert rows[which == 0].double().mean().item() == pytest.approx(12, abs=4 * 7.2 / 17_000**0.5)


def test_tiles_for_testing_cover_each_pixel_once(ten):
    photos = Photos(ten, size=16, colour="rgb", test=2)
    # Photographs of 40 x 56 pixels contain 2 x 3 squares with sides of 16 pixels.
    assert [photos.available(split) for split in ("validation", "test")] == [6, 12]
    result = set(zip(*(part.tolist() for part in patch_positions(photos, "test", 12)), strict=True))
    assert result == {(photo, 16 * row, 16 * column) for photo in (8, 9) for row in range(2) for column in range(3)}
    # Patches are in random order, so the first patches are not all from the same photograph.
    assert len(set(patch_positions(photos, "test", 6)[0].tolist())) == 2
    with pytest.raises(DataError, match="13 test images requested, but the split holds 12 of 16x16"):
        photos.images("test", 8, start=5)


@pytest.mark.parametrize("name", ["images", "faces", "photos"])
def test_fingerprint_depends_only_on_the_pixels(tmp_path, ten, name):
    def fingerprint(path, **parameters):
        return gahbench.create("dataset", name, path=str(path), **{"size": 16, **parameters}).fingerprint()

    images = ramps(10)
    np.savez(tmp_path / "elsewhere.npz", images=images)
    assert fingerprint(ten) == fingerprint(tmp_path / "elsewhere.npz", size=8, colour="luma", seed=3, test=2)
    assert len(fingerprint(ten)) == 64
    images[9, 39, 55, 0] ^= 1
    np.savez(tmp_path / "other.npz", images=images)
    assert fingerprint(tmp_path / "other.npz") != fingerprint(ten)
    np.savez(tmp_path / "shape.npz", images=ramps(10).reshape(10, 56, 40, 3))
    assert fingerprint(tmp_path / "shape.npz") != fingerprint(ten)


@pytest.mark.parametrize(
    ("arrays", "parameters", "message"),
    [
        (ramps(10), {"size": 41}, r"10 of 10 images .* image 0, .*: smaller than 41x41 pixels \(size=41\)"),
        (ramps(4), {}, "4 photographs, 1 of them for training; accepted: at least 5"),
        (ramps(5) / 255, {}, r"own\.npz: 5 of 5 .* image 0, .*: shape .* and type float64; accepted: \(H, W\)"),
        (ramps(5)[..., 1], {"colour": "rgb"}, "grey images; colour=rgb accepts"),
        (None, {}, "no photographs; accepted"),
    ],
)
def test_photographs_that_cannot_be_used_are_refused(tmp_path, arrays, parameters, message):
    np.savez(tmp_path / "own.npz", **({} if arrays is None else {"images": arrays}))
    with pytest.raises(DataError, match=message):
        Photos(str(tmp_path / "own.npz"), **{"size": 8, **parameters}).images("train", 1)


def test_sources_of_patches_are_their_photographs():
    photos = gahbench.create("dataset", "photos", size=64)
    sources = photos.sources("test", 20)
    assert len(set(sources)) == 2
    shuffled = gahbench.create("dataset", "shuffled[photos]")
    assert shuffled.sources("test", 4) == gahbench.create("dataset", "photos").sources("test", 4)
    assert photos.sources("train", 4) is None
    assert gahbench.create("dataset", "discs").sources("test", 4) is None


@pytest.mark.parametrize("colour", ["mean", "rgb"])
def test_each_embedded_photograph_is_for_testing_in_one_of_four_folds(colour):
    folds = [Photos(size=32, colour=colour, fold=fold) for fold in range(4)]
    parts = [{split: set(numbers.tolist()) for split, numbers in photos._photographs.items()} for photos in folds]
    assert sorted(number for part in parts for number in part["test"]) == list(range(8 if colour == "mean" else 4))
    for part, photos in zip(parts, folds, strict=True):
        assert part["train"] == part["A"] | part["B"]
        assert not part["test"] & part["train"] | part["test"] & part["validation"] | part["A"] & part["B"]
        count = photos.available("test")
        assert set(photos.sources("test", count)) == part["test"]
    assert torch.equal(folds[0].images("test", 9), Photos(size=32, colour=colour).images("test", 9))


DATA = real_data()


@pytest.fixture
def file(tmp_path):
    def write(*sizes):
        draw = np.random.default_rng(0)
        photographs = [draw.integers(0, 256, size, dtype=np.uint8) for size in sizes]
        np.savez(tmp_path / "some.npz", *photographs)
        return str(tmp_path / "some.npz"), photographs

    return write


def test_photographs_are_whole_and_rotated_to_the_same_orientation(file):
    path, pixels = file((12, 16), (16, 12), (12, 16))
    whole = Whole(path)
    assert whole.shape == (1, 12, 16)
    images = (255 * whole.images("test", 3)).round().numpy().astype(np.uint8)[:, 0]
    assert np.array_equal(images[0], pixels[0])
    assert np.array_equal(images[2], pixels[2])
    # A quarter turn counter-clockwise: the right-hand column becomes the top row.
    assert np.array_equal(images[1], np.rot90(pixels[1]))
    assert [whole.available(split) for split in SPLITS] == [3 * (split == "test") for split in SPLITS]
    assert whole.images("train", 0).shape == (0, 1, 12, 16)
    with pytest.raises(DataError, match="whole photographs are for testing only"):
        whole.images("train", 1)


def test_photographs_of_different_sizes_are_one_set(file):
    path, pixels = file((16, 12), (20, 20), (12, 16), (12, 16), (20, 20))
    whole = Whole(path)
    assert whole.available("test") == 5
    assert whole.shape == (1, 12, 16)
    assert whole.shapes(4) == [(1, 12, 16), (1, 20, 20), (1, 12, 16), (1, 12, 16)]
    wide, square = whole.of_shape((1, 12, 16)), whole.of_shape((1, 20, 20))
    assert (wide.available("test"), square.available("test")) == (3, 2)
    assert wide.shapes(1) is None
    assert np.array_equal((255 * wide.images("test", 1)[0, 0]).round().numpy(), np.rot90(pixels[0]))
    assert np.array_equal((255 * square.images("test", 2)[1, 0]).round().numpy(), pixels[4])
    assert wide.fingerprint() == whole.fingerprint()
    with pytest.raises(DataError, match=r"12x16 \(3\), 20x20 \(2\); set 'height' and 'width'"):
        whole.images("test", 1)
    with pytest.raises(DataError, match="no image of shape"):
        whole.of_shape((1, 16, 20))
    with pytest.raises(DataError, match="all images have the shape"):
        gahbench.create("dataset", "discs").of_shape((1, 8, 8))


def test_a_set_of_several_shapes_keeps_the_contract(file, builtin):
    path, _ = file((16, 12), (20, 20), (12, 16))
    report = check_configured(builtin.configure("dataset", "whole", path=path))
    assert report.passed, report
    assert sum("of_shape has all images" in finding.check for finding in report.findings) == 2


def test_a_folder_has_the_fingerprint_of_an_array_file(file, tmp_path):
    path, pixels = file((12, 16), (20, 20))
    folder = tmp_path / "folder"
    folder.mkdir()
    for index, photograph in enumerate(pixels):
        Image.fromarray(photograph).save(folder / f"arr_{index}.png")
    result = Whole(str(folder)).fingerprint()
    assert result == Whole(path).fingerprint()
    expected = hashlib.sha256(b"12x16x1" + pixels[0].tobytes() + b"20x20x1" + pixels[1].tobytes()).hexdigest()
    assert result == expected
    assert Whole(path, sha256=result).fingerprint() == Whole(path, sha256=result[:8]).fingerprint() == result
    with pytest.raises(DataError, match=f"SHA-256 {result}, not 01234567; accepted"):
        Whole(path, sha256="01234567").fingerprint()


@pytest.mark.parametrize(
    ("suite_name", "name", "sizes"),
    [("classic", "bsd68", [68]), ("classic", "set12", [7, 5]), ("classic-colour", "cbsd68", [68])],
)
def test_the_sets_of_the_classic_suites_have_their_fingerprints(suite_name, name, sizes):
    path = DATA / f"{name}.npz"
    if not path.exists():
        pytest.skip(f"{path} does not exist")
    suite = yaml.safe_load((Path(__file__).parents[3] / "suites" / f"{suite_name}.yaml").read_text(encoding="utf-8"))
    (stated,) = (entry["whole"] for entry in suite["datasets"] if entry["whole"]["path"] == f"{suite_name}/{name}.npz")
    whole = Whole(str(path), colour=stated.get("colour", "mean"), sha256=stated["sha256"])
    assert whole.fingerprint() == stated["sha256"]
    shapes = whole.shapes(100) or [whole.shape] * whole.available("test")
    assert list(Counter(shapes).values()) == sizes
