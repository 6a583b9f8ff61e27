from pathlib import Path

import numpy as np
import pytest
import torch

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
    # The pixels of the published board.
    assert torch.equal(whole(Faces(size=24)), whole(faces)[:, :, :24, :24])


def test_embedded_faces_hold_no_near_repeats():
    small = torch.nn.functional.adaptive_avg_pool2d(whole(Faces(near_repeats="keep")), 20)
    correlation = np.corrcoef(small.flatten(1).double().numpy()) - 2 * np.eye(100)
    assert 0.9 < correlation.max() < 0.95


def test_halves_are_of_train_and_follow_the_seed():
    faces, other = Faces(), Faces(seed=1)
    train = {image.numpy().tobytes() for image in faces.images("train", 64)}
    halves = [{image.numpy().tobytes() for image in faces.images(name, 32)} for name in ("A", "B")]
    assert halves[0] | halves[1] == train
    assert not halves[0] & halves[1]
    assert {image.numpy().tobytes() for image in other.images("A", 32)} not in halves


def test_near_repeats_do_not_depend_on_size_or_colour(tmp_path):
    # Two images that only differ in detail that a small size would lose.
    images = grey(12, 48, 48, 3)
    images[7] = np.clip(images[2].astype(int) + RNG.integers(-9, 10, (48, 48, 3)), 0, 255)
    path = npz(tmp_path / "a.npz", images)
    for parameters in ({}, {"size": 16}, {"size": 8, "colour": "luma"}, {"colour": "rgb"}):
        assert sum(Faces(path, **parameters).available(split) for split in EMBEDDED) == 11


def test_near_repeats_and_neighbours_of_many_images_are_compared_once(tmp_path, monkeypatch):
    images = grey(40, 8, 8)
    images[30] = images[4]
    path = npz(tmp_path / "a.npz", images)
    monkeypatch.setattr("gahbench_plugins.datasets.faces.QUICK", 10)
    found = Faces(path)
    expected = found.images("test", 9), found.notes
    for name in ("without_repeats", "alike_neighbours"):
        monkeypatch.setattr(f"gahbench_plugins.datasets.faces.{name}", lambda *_: pytest.fail("compared again"))
    again = Faces(path)
    assert torch.equal(again.images("test", 9), expected[0])
    assert again.notes == expected[1]
    images[30] = images[5]
    with pytest.raises(pytest.fail.Exception):
        Faces(npz(tmp_path / "a.npz", images)).images("test", 9)


def test_nearly_fitting_size_is_a_centre_crop_and_a_small_one_is_not(tmp_path):
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
