"""Faces that scikit-learn downloads."""

import re
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from gahbench._util.errors import DataError
from gahbench_plugins.datasets._reading import fetched
from gahbench_plugins.datasets._reading.cache import cache_folder
from gahbench_plugins.datasets.faces import Faces

RNG = np.random.default_rng(0)


class ScikitLearn:
    """Stands in for scikit-learn's loaders: 60 images of people, unpacked when they are fetched."""

    def __init__(self, home):
        self.home, self.fetched = home, 0

    def get_data_home(self):
        return str(self.home)

    def fetch_lfw_people(self, **options):
        self.fetched += 1
        for place in range(60):
            person = self.home / "lfw_home" / "lfw_funneled" / f"Person_{place % 9}"
            person.mkdir(parents=True, exist_ok=True)
            Image.fromarray(RNG.integers(0, 256, (250, 250, 3), dtype=np.uint8)).save(person / f"{place:04d}.png")

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
    faces = Faces(source="lfw", colour="rgb", near_repeats="keep")
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
    # An archive that was not unpacked to the end is no data set.
    files[0].unlink()
    with pytest.raises(DataError, match="59 images, of 60; remove the folder"):
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
def test_what_scikit_learn_has_to_fetch_is_missing_until_it_is_prepared(scikit_learn, source, what):
    faces = Faces(source=source)
    assert faces.missing() == (f"{what}, fetched by scikit-learn into {scikit_learn.home}",)
    assert scikit_learn.fetched == 0
    assert not scikit_learn.home.exists()
    faces.prepare()
    assert scikit_learn.fetched == 1
    assert faces.missing() == Faces(source=source, size=32).missing() == ()


def test_lfw_takes_long_to_decode_once_it_is_fetched(scikit_learn, monkeypatch):
    monkeypatch.setattr("gahbench_plugins.datasets._reading.encoded.LONG", 1000)
    scikit_learn.fetch_lfw_people()
    folder = scikit_learn.home / "lfw_home" / "lfw_funneled"
    assert Faces(source="lfw").missing() == (f"60 images of {folder}, decoded into {cache_folder()}",)
    Faces(source="lfw").prepare()
    assert Faces(source="lfw").missing() == ()
    # The cache has them at their own size alone.
    assert Faces(source="lfw", size=32).missing() != ()


def test_missing_scikit_learn_and_failed_downloads_are_explained(scikit_learn, monkeypatch):
    def offline(**options):
        raise OSError("no route")

    scikit_learn.fetch_lfw_people = scikit_learn.fetch_olivetti_faces = offline
    for source, address in (("lfw", "http://vis-www.cs.umass.edu/lfw/"), ("olivetti", "AT&T Laboratories Cambridge")):
        with pytest.raises(DataError, match=f"source={source} cannot be fetched by scikit-learn: no route.*{address}"):
            Faces(source=source).shape  # noqa: B018
        by_hand = re.escape(str(scikit_learn.home / fetched.DOWNLOADS[source].place))
        with pytest.raises(
            DataError, match=rf"https://ndownloader\.figshare\.com/files/\d+; by hand: .* at {by_hand};"
        ):
            Faces(source=source).prepare()
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    for source in ("lfw", "olivetti"):
        with pytest.raises(DataError, match=r"not installed; pip install 'gahbench\[faces\]'"):
            Faces(source=source).shape  # noqa: B018
