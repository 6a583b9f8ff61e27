from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import gahbench
from gahbench._util.errors import DataError
from gahbench.contracts.datasets import SPLITS
from gahbench_plugins.datasets.photos import Photos


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
    with pytest.raises(DataError, match="13 test patches requested, but the split holds 12 of 16x16"):
        photos.images("test", 8, start=5)


def test_streams_are_endless_and_depend_on_the_seed(ten):
    photos = Photos(ten, size=8)
    assert photos.images("train", 2, start=7 << 32).shape == (2, 1, 8, 8)
    for split in SPLITS:
        assert photos.available(split) is None or split in ("validation", "test")
        assert not torch.equal(Photos(ten, size=8, seed=1).images(split, 20), photos.images(split, 20))


def test_a_folder_of_photographs_of_all_sizes(tmp_path):
    random, stored = np.random.default_rng(0), []
    for index in range(6):
        stored.append(random.integers(0, 256, (30 + 7 * index, 50 - 3 * index, 3), dtype=np.uint8))
        (tmp_path / "f" / "deep").mkdir(parents=True, exist_ok=True)
        Image.fromarray(stored[-1]).save(tmp_path / "f" / "deep" / f"{index}.png")
    photos = Photos(str(tmp_path / "f"), size=20, colour="rgb", test=2)
    np.savez(tmp_path / "a.npz", **{str(index): photo for index, photo in enumerate(stored)})
    arrays = Photos(str(tmp_path / "a.npz"), size=20, colour="rgb", test=2)
    for split in SPLITS:
        assert torch.equal(photos.images(split, 4), arrays.images(split, 4))
    # The last two photographs have 58 x 38 and 65 x 35 pixels.
    expected = [stored[index][row : row + 20, :20] for index, row in ((4, 0), (4, 20), (5, 0), (5, 20), (5, 40))]
    result = (255 * photos.images("test", photos.available("test"))).round().long()
    assert {tuple(tile.flatten().tolist()) for tile in result} == {
        tuple(tile.transpose(2, 0, 1).flatten().tolist()) for tile in expected
    }
    grey = Photos(str(tmp_path / "f"), size=20, test=2).images("train", 4)
    assert (grey - photos.images("train", 4).mean(1, keepdim=True)).abs().max() < 0.501 / 255


def test_embedded_photographs_need_no_download_and_do_not_share():
    photos = Photos()
    assert photos.shape == (1, 64, 64)
    # Test photographs have 512 x 512 and 300 x 451 pixels, validation photographs 512 x 512 and 427 x 640.
    assert [photos.available(split) for split in ("test", "validation")] == [8 * 8 + 4 * 7, 8 * 8 + 6 * 10]
    assert Photos(colour="rgb").available("test") == 4 * 7
    for colour, count in (("mean", 8), ("rgb", 4)):
        parts = {split: numbers.tolist() for split, numbers in Photos(colour=colour)._photographs.items()}
        assert sorted(parts["train"] + parts["validation"] + parts["test"]) == list(range(count))
        assert sorted(parts["train"]) == sorted(parts["A"] + parts["B"])
        assert len(set(map(len, (parts["A"], parts["B"], parts["validation"], parts["test"])))) == 1


def test_embedded_patches_are_of_their_photographs():
    skimage_data = pytest.importorskip("skimage.data")
    chelsea = np.asarray(Image.open(Path(skimage_data.__file__).parent / "chelsea.png"))
    photos = Photos(size=100, colour="rgb")
    tiles = {tile.astype(np.uint8).tobytes() for tile in (255 * photos.images("test", 12)).round().numpy()}
    expected = {
        np.ascontiguousarray(chelsea[row : row + 100, column : column + 100].transpose(2, 0, 1)).tobytes()
        for row in range(0, 300, 100)
        for column in range(0, 400, 100)
    }
    assert tiles == expected


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
        (ramps(5) / 255, {}, r"own\.npz: image 0 of shape .* accepted: photographs"),
        (ramps(5)[:, 0, :, 0], {}, r"own\.npz: image 0 of shape .* accepted: photographs"),
        (np.zeros((5, 9, 9, 2), np.uint8), {}, r"own\.npz: image 0 of shape .* accepted: photographs"),
        (ramps(5)[..., 1], {"colour": "rgb"}, "grey images; colour=rgb accepts"),
        (None, {}, "no photographs; accepted"),
    ],
)
def test_photographs_that_cannot_be_used_are_refused(tmp_path, arrays, parameters, message):
    np.savez(tmp_path / "own.npz", **({} if arrays is None else {"images": arrays}))
    with pytest.raises(DataError, match=message):
        Photos(str(tmp_path / "own.npz"), **{"size": 8, **parameters}).images("train", 1)


def test_embedded_photographs_may_be_too_small():
    with pytest.raises(DataError, match=r"chelsea\.png: smaller than 301x301 pixels"):
        Photos(size=301).shape  # noqa: B018


def test_card_names_the_photographs_in_use():
    assert "camera" in Photos().card.origin
    assert "camera" not in Photos(colour="rgb").card.origin
    assert Photos().card.licence == "CC0 or public domain"
    assert Photos("folder/mine").card.origin.endswith("from mine")


def test_sources_of_patches_are_their_photographs():
    photos = gahbench.create("dataset", "photos", size=64)
    sources = photos.sources("test", 20)
    assert len(set(sources)) == 2
    shuffled = gahbench.create("dataset", "shuffled[photos]")
    assert shuffled.sources("test", 4) == gahbench.create("dataset", "photos").sources("test", 4)
    # Patches of the same photograph have more similar means.
    means = photos.images("test", 20).mean((1, 2, 3))
    first = torch.tensor([source == sources[0] for source in sources])
    assert float(means.var()) > float((means[first].var() + means[~first].var()) / 2)
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


def test_folds_are_of_the_embedded_photographs(tmp_path):
    with pytest.raises(ValueError, match="fold=1: accepted only without a 'path'"):
        Photos(str(tmp_path), fold=1)
