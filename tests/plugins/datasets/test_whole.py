import hashlib
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import yaml
from isolation import real_data
from PIL import Image

import gahbench
from gahbench._util.errors import DataError
from gahbench.testing import check_configured
from gahbench_plugins.datasets.whole import Whole

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
    assert np.array_equal(images[1][0], pixels[1][:, -1])


def test_a_size_selects_photographs_in_either_orientation(file):
    path, pixels = file((12, 16), (20, 20), (16, 12), (10, 9))
    for height, width, count in ((12, 16, 2), (16, 12, 2), (20, 20, 1)):
        whole = Whole(path, height, width)
        assert whole.available("test") == count
        assert whole.images("test", count).shape == (count, 1, height, width)
    turned = Whole(path, 16, 12).images("test", 2)[1, 0]
    assert np.array_equal((255 * turned).round().numpy(), pixels[2])


@pytest.mark.parametrize("colour", ["rgb", "mean"])
def test_colours_are_kept_or_averaged(file, colour):
    path, (pixels,) = file((8, 9, 3))
    (image,) = Whole(path, colour=colour).images("test", 1)
    expected = pixels.transpose(2, 0, 1) if colour == "rgb" else pixels.mean(2)[None]
    assert np.abs(255 * image.numpy() - expected).max() <= 0.5 + 1e-4


def test_there_are_only_test_images(file):
    path, _ = file((12, 16), (12, 16))
    whole = Whole(path)
    assert [whole.available(split) for split in ("train", "validation", "A", "B", "test")] == [0, 0, 0, 0, 2]
    assert whole.images("train", 0).shape == (0, 1, 12, 16)
    with pytest.raises(
        DataError, match="1 train images requested, but the split holds 0; whole photographs are for testing only"
    ):
        whole.images("train", 1)
    with pytest.raises(DataError, match="3 test images requested, but the split holds 2"):
        whole.images("test", 2, start=1)


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
    with pytest.raises(DataError, match=r"set 'height' and 'width' to one of 12x16 \(3\), 20x20 \(2\)"):
        whole.images("test", 1)
    with pytest.raises(DataError, match="no photograph has 16x20"):
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
