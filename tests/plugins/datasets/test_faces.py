"""Embedded faces, faces of files, and faces that scikit-learn downloads."""

import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from gahbench._util.errors import DataError
from gahbench_plugins.datasets._reading import fetched
from gahbench_plugins.datasets._reading.cache import cache_folder
from gahbench_plugins.datasets.faces import Faces

RNG = np.random.default_rng(0)
EMBEDDED = {"train": 64, "validation": 12, "test": 24}


def grey(*shape):
    return RNG.integers(0, 256, shape, dtype=np.uint8)


def npz(path, images, key="images"):
    np.savez(path, **{key: images})
    return str(path)


def whole(faces):
    return torch.cat([faces.images(split, count) for split, count in EMBEDDED.items()])


def test_embedded_faces_are_the_first_hundred_of_scikit_image():
    skimage_data = pytest.importorskip("skimage.data")
    faces = Faces()
    assert {split: faces.available(split) for split in EMBEDDED} == EMBEDDED
    published = np.load(Path(skimage_data.__file__).parent / "lfw_subset.npy")[:100]
    np.testing.assert_allclose(whole(faces)[:, 0].numpy(), published, atol=1e-7)
    # At size 24, images are cropped to the pixels of the published board.
    assert torch.equal(whole(Faces(size=24)), whole(faces)[:, :, :24, :24])


def test_embedded_faces_have_no_near_duplicates():
    small = torch.nn.functional.adaptive_avg_pool2d(whole(Faces(near_duplicates="keep")), 20)
    correlation = np.corrcoef(small.flatten(1).double().numpy()) - 2 * np.eye(100)
    assert 0.9 < correlation.max() < 0.95


def test_halves_divide_train_and_depend_on_the_seed():
    faces, other = Faces(), Faces(seed=1)
    train = {image.numpy().tobytes() for image in faces.images("train", 64)}
    halves = [{image.numpy().tobytes() for image in faces.images(name, 32)} for name in ("A", "B")]
    assert halves[0] | halves[1] == train
    assert not halves[0] & halves[1]
    assert {image.numpy().tobytes() for image in other.images("A", 32)} not in halves


def test_near_duplicates_do_not_depend_on_size_or_colour(tmp_path):
    # Two of the images differ only in details that disappear at a small size.
    images = grey(12, 48, 48, 3)
    images[7] = np.clip(images[2].astype(int) + RNG.integers(-9, 10, (48, 48, 3)), 0, 255)
    path = npz(tmp_path / "a.npz", images)
    for parameters in ({}, {"size": 16}, {"size": 8, "colour": "luma"}, {"colour": "rgb"}):
        assert sum(Faces(path, **parameters).available(split) for split in EMBEDDED) == 11


def test_near_duplicates_and_neighbours_of_many_images_are_compared_once(tmp_path, monkeypatch):
    images = grey(40, 8, 8)
    images[30] = images[4]
    path = npz(tmp_path / "a.npz", images)
    monkeypatch.setattr("gahbench_plugins.datasets.faces.QUICK", 10)
    result = Faces(path)
    expected = result.images("test", 9), result.notes
    for name in ("distinct_indices", "similar_neighbours"):
        monkeypatch.setattr(f"gahbench_plugins.datasets.faces.{name}", lambda *_: pytest.fail("compared again"))
    again = Faces(path)
    assert torch.equal(again.images("test", 9), expected[0])
    assert again.notes == expected[1]
    images[30] = images[5]
    with pytest.raises(pytest.fail.Exception):
        Faces(npz(tmp_path / "a.npz", images)).images("test", 9)


def test_a_slightly_smaller_size_is_a_centre_crop_and_a_small_size_is_not(tmp_path):
    images = grey(10, 26, 30)
    path = npz(tmp_path / "a.npz", images)
    cropped = Faces(path, size=24).images("train", 6)
    np.testing.assert_allclose(cropped[:, 0].numpy(), images[:6, 1:25, 3:27] / 255, atol=1e-7)
    assert Faces(path, size=13).shape == (1, 13, 13)
    assert Faces(path).shape == (1, 26, 30)


@pytest.mark.parametrize("layout", ["nhwc", "nchw", "float"])
def test_layouts_give_the_same_images(tmp_path, layout):
    colours = grey(8, 12, 14, 3)
    stored = {"nhwc": colours, "nchw": colours.transpose(0, 3, 1, 2), "float": colours / 255}[layout]
    path = npz(tmp_path / "a.npz", stored)
    # The mean of 8-bit channels is rounded to 8 bits.
    error = 0.5 / 255 if layout != "float" else 0
    assert np.abs(Faces(path).images("train", 5)[:, 0].numpy() - colours[:5].mean(3) / 255).max() < error + 1e-6
    kept = Faces(path, colour="rgb").images("train", 5)
    np.testing.assert_allclose(kept, colours[:5].transpose(0, 3, 1, 2) / 255, atol=1e-7)


def test_every_source_has_a_card(tmp_path):
    for source in ("lfw-subset", "lfw", "olivetti"):
        card = Faces(source=source).card
        assert "research" in card.licence
        assert "not stated" not in (card.origin, card.licence)
    own = Faces(str(tmp_path / "private" / "mine.npz")).card
    assert "mine.npz" in own.origin
    assert "private" not in own.origin


class ScikitLearn:
    """Stands in for scikit-learn's loaders: 60 images of people, unpacked when they are fetched."""

    def __init__(self, home):
        self.home, self.fetched = home, 0

    def get_data_home(self):
        return str(self.home)

    def fetch_lfw_people(self, **options):
        self.fetched += 1
        for index in range(60):
            person = self.home / "lfw_home" / "lfw_funneled" / f"Person_{index % 9}"
            person.mkdir(parents=True, exist_ok=True)
            Image.fromarray(RNG.integers(0, 256, (250, 250, 3), dtype=np.uint8)).save(person / f"{index:04d}.png")

    def fetch_olivetti_faces(self, download_if_missing=True):
        if not download_if_missing and not self.fetched:
            raise OSError("not here")
        self.fetched += 1
        random = np.random.default_rng(0)
        images = random.uniform(size=(40, 64, 64)).astype(np.float32)
        return type("Bunch", (), {"images": images, "target": np.repeat(np.arange(4), 10)})


@pytest.fixture
def scikit_learn(tmp_path, monkeypatch):
    stand_in = ScikitLearn(tmp_path / "scikit_learn_data")
    monkeypatch.setitem(sys.modules, "sklearn.datasets", stand_in)
    monkeypatch.setattr(fetched, "LFW_IMAGES", 60)
    return stand_in


def test_lfw_is_fetched_once_cropped_shuffled_and_halved_by_person(scikit_learn):
    faces = Faces(source="lfw", colour="rgb", near_duplicates="keep")
    assert faces.shape == (3, 125, 94)
    assert Faces(source="lfw", size=94).shape == (1, 94, 94)
    assert scikit_learn.fetched == 1
    folder = scikit_learn.home / "lfw_home" / "lfw_funneled"
    files = sorted(folder.rglob("*.png"))
    windows = {np.asarray(Image.open(file))[70:195, 78:172].tobytes(): file.parent.name for file in files}

    def people(split):
        images = (255 * faces.images(split, faces.available(split))).round().to(torch.uint8).permute(0, 2, 3, 1)
        return [windows[image.numpy().tobytes()] for image in images]

    train = people("train")
    assert train != sorted(train)
    assert not set(people("A")) & set(people("B"))
    assert sorted(people("A") + people("B")) == sorted(train)
    # An incompletely unpacked archive is refused.
    files[0].unlink()
    with pytest.raises(DataError, match="59 of 60 images; remove the folder"):
        Faces(source="lfw").shape  # noqa: B018


def test_olivetti_keeps_people_together(scikit_learn):
    faces = Faces(source="olivetti", test=10)
    images = scikit_learn.fetch_olivetti_faces().images
    np.testing.assert_array_equal(faces.images("train", 25)[:, 0], images[:25])
    np.testing.assert_array_equal(faces.images("test", 10)[:, 0], images[30:])
    # 10, 10 and 5 images of three people.
    assert sorted([faces.available("A"), faces.available("B")]) == [10, 15]


@pytest.mark.parametrize(
    ("source", "what"), [("lfw", "Labeled Faces in the Wild, 230 MB"), ("olivetti", "the Olivetti faces, 4 MB")]
)
def test_faces_of_scikit_learn_are_missing_until_they_are_prepared(scikit_learn, source, what):
    faces = Faces(source=source)
    assert faces.missing() == (f"{what}, fetched by scikit-learn into {scikit_learn.home}",)
    assert scikit_learn.fetched == 0
    assert not scikit_learn.home.exists()
    faces.prepare()
    assert scikit_learn.fetched == 1
    assert faces.missing() == Faces(source=source, size=32).missing() == ()


def test_lfw_takes_long_to_decode_once_it_is_fetched(scikit_learn, monkeypatch):
    monkeypatch.setattr("gahbench_plugins.datasets._reading.encoded.SLOW_BYTES", 1000)
    scikit_learn.fetch_lfw_people()
    folder = scikit_learn.home / "lfw_home" / "lfw_funneled"
    assert Faces(source="lfw").missing() == (f"60 images of {folder}, decoded into {cache_folder()}",)
    Faces(source="lfw").prepare()
    assert Faces(source="lfw").missing() == ()
    # The cache has the images only at their original size.
    assert Faces(source="lfw", size=32).missing() != ()


def test_missing_scikit_learn_and_failed_downloads_are_explained(scikit_learn, monkeypatch):
    def offline(**options):
        raise OSError("no route")

    scikit_learn.fetch_lfw_people = scikit_learn.fetch_olivetti_faces = offline
    for source, address in (("lfw", "http://vis-www.cs.umass.edu/lfw/"), ("olivetti", "AT&T Laboratories Cambridge")):
        with pytest.raises(DataError, match=f"source={source} cannot be fetched by scikit-learn: no route.*{address}"):
            Faces(source=source).shape  # noqa: B018
        expected_path = re.escape(str(scikit_learn.home / fetched.DOWNLOADS[source].path))
        with pytest.raises(
            DataError, match=rf"https://ndownloader\.figshare\.com/files/\d+; by hand: .* at {expected_path};"
        ):
            Faces(source=source).prepare()
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    for source in ("lfw", "olivetti"):
        with pytest.raises(DataError, match=r"not installed; pip install 'gahbench\[faces\]'"):
            Faces(source=source).shape  # noqa: B018
