"""Datasets of images from files: what is cropped, resized and mixed, near duplicates, splits, CelebA, and the cache."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import skimage
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from gahbench import DataError
from gahbench_plugins.datasets import images as module
from gahbench_plugins.datasets import reading
from gahbench_plugins.datasets.faces import Faces
from gahbench_plugins.datasets.images import Images, Source, distinct_indices

RNG = np.random.default_rng(0)
PARTS = ("train", "validation", "test")


def pixels(*shape):
    return RNG.integers(0, 256, shape, dtype=np.uint8)


@pytest.fixture
def file(tmp_path):
    def write(images, **arrays):
        np.savez(tmp_path / "a.npz", images=images, **arrays)
        return str(tmp_path / "a.npz")

    return write


def everything(dataset):
    """Return all images in the order of the files, shape (N, C, H, W)."""
    return torch.cat([dataset.images(split, dataset.available(split)) for split in PARTS]).numpy()


def test_embedded_faces_are_the_first_hundred_of_scikit_image():
    faces = Faces()
    assert [faces.available(split) for split in PARTS] == [64, 12, 24]
    published = np.load(Path(skimage.__file__).parent / "data" / "lfw_subset.npy")[:100]
    np.testing.assert_allclose(everything(faces)[:, 0], published, atol=1e-7)
    np.testing.assert_array_equal(everything(Faces(size=24)), everything(faces)[:, :, :24, :24])
    assert "research" in faces.card.licence
    small = torch.nn.functional.adaptive_avg_pool2d(torch.from_numpy(everything(Faces(near_duplicates="keep"))), 20)
    correlation = np.corrcoef(small.flatten(1).double().numpy()) - 2 * np.eye(100)
    assert 0.9 < correlation.max() < 0.95


@pytest.mark.parametrize("layout", ["nhw", "nhwc", "nchw", "float", "folder", "npy"])
def test_layouts_give_the_same_images(tmp_path, file, layout):
    colours = pixels(8, 12, 14, 3) if layout != "nhw" else pixels(8, 12, 14, 1).repeat(3, 3)
    stored = {"nhw": colours[..., 0], "nchw": colours.transpose(0, 3, 1, 2), "float": colours / 255}.get(
        layout, colours
    )
    path = file(stored)
    if layout == "npy":
        np.save(tmp_path / "a.npy", stored)
        path = str(tmp_path / "a.npy")
    elif layout == "folder":
        (tmp_path / "f").mkdir()
        for index, image in enumerate(colours):
            Image.fromarray(image).save(tmp_path / "f" / f"{index}.png")
        path = str(tmp_path / "f")
    # The mean of 8-bit channels is rounded to 8 bits.
    error = 0.5 / 255 if layout != "float" else 0
    assert np.abs(everything(Images(path))[:, 0] - colours.mean(3) / 255).max() < error + 1e-6
    if layout != "nhw":
        kept = everything(Images(path, colour="rgb"))
        np.testing.assert_allclose(kept, colours.transpose(0, 3, 1, 2) / 255, atol=1e-7)
    luma = everything(Images(path, colour="luma"))[:, 0]
    assert np.abs(luma - colours @ [0.299, 0.587, 0.114] / 255).max() < error + 1e-6


def bicubic(side, size):
    """Return rows of weights: the cubic convolution kernel (a = -1/2), stretched by the step between new pixels."""
    scale = side / size
    distance = np.abs((np.arange(side)[None] + 0.5) - (np.arange(size)[:, None] + 0.5) * scale) / scale
    near = 1.5 * distance**3 - 2.5 * distance**2 + 1
    far = -0.5 * distance**3 + 2.5 * distance**2 - 4 * distance + 2
    weights = np.where(distance < 1, near, np.where(distance < 2, far, 0))
    return weights / weights.sum(1, keepdims=True)


@pytest.mark.parametrize("is_float", [False, True])
def test_images_of_celebas_size_are_cropped_averaged_and_resized_as_computed_independently(file, is_float):
    source = pixels(5, 218, 178, 3)
    weights = bicubic(160, 80)
    exact = np.clip(weights @ source[:, 29:-29, 9:-9].mean(3) @ weights.T, 0, 255)
    path = file(source / 255 if is_float else source)
    # Images differ only by rounding: half a grey level of 8 bits, and the errors of single precision.
    assert np.abs(255 * everything(Faces(path))[:, 0] - exact).max() < (1e-3 if is_float else 0.501)
    assert Images(path).shape == (1, 218, 178)
    np.testing.assert_allclose(
        255 * everything(Faces(path, size=150, colour="rgb")),
        source[:, 34:184, 14:164].transpose(0, 3, 1, 2),
        atol=1e-4,
    )


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"size": 40}, r"5 of 5 images cannot be used: image 0, .*: smaller than 40x40 pixels \(size=40\)$"),
        ({"colour": "rgb"}, "image 4: grey images; colour=rgb accepts images of 3 channels"),
        ({"test": 4}, r"a\.npz: test=4 and 2 validation images out of 5; accepted: test up to 3"),
        ({"test": 3}, r"a\.npz: 2 train images requested, but the split holds 1 of 5; ask for at most 1"),
    ],
)
def test_parameters_that_do_not_fit_the_images_are_refused(file, parameters, message):
    with pytest.raises(DataError, match=message):
        Images(file(pixels(5, 20, 30)), **parameters).images("train", 2)


def test_images_of_several_sizes_need_a_size(tmp_path):
    for index, side in enumerate((16, 16, 20, 24)):
        Image.fromarray(pixels(side, side + 2)).save(tmp_path / f"{index}.png")
    with pytest.raises(DataError, match=r"images of 3 sizes: 16x18, such as 1\.png; .*; set a 'size' .* whole\["):
        Images(str(tmp_path)).shape  # noqa: B018
    assert Images(str(tmp_path), size=16).shape == (1, 16, 16)


def kept_one_by_one(images):
    """Compare each image with the kept images, by numpy's correlation."""
    stay = []
    for index, image in enumerate(images):
        if np.ptp(image) == 0 or not any(
            np.ptp(images[other]) > 0 and np.corrcoef(image, images[other])[0, 1] > 0.95 for other in stay
        ):
            stay.append(index)
    return stay


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 10**6), count=st.integers(0, 40), chunk=st.integers(1, 9))
def test_near_duplicates_are_those_of_pairwise_comparison(seed, count, chunk):
    random = np.random.default_rng(seed)
    # Images have few pixels and few values, so that repeats and chains of repeats are common.
    images = random.choice([0.0, 1.0], size=(count, 5)) + random.choice([0, 0.02], size=(count, 1)) * np.arange(5)
    images = images.astype(np.float32)
    assert distinct_indices(torch.from_numpy(images), chunk).tolist() == kept_one_by_one(images)


@pytest.mark.parametrize(("cosine", "kept"), [(0.9501, [0]), (0.9499, [0, 1]), (-0.999, [0, 1])])
def test_the_threshold_of_near_duplicates_is_sharp(cosine, kept):
    basis = np.linalg.qr(np.concatenate([np.ones((400, 1)), np.random.default_rng(1).normal(size=(400, 2))], 1))[0].T
    images = np.stack([3 * basis[1] + 5, 7 * (cosine * basis[1] + (1 - cosine**2) ** 0.5 * basis[2])])
    assert distinct_indices(torch.from_numpy(images.astype(np.float32))).tolist() == kept


def test_near_duplicates_do_not_depend_on_size_or_colour_and_are_counted(file):
    # Two of the images differ only in details that disappear at a small size.
    images = pixels(12, 48, 48, 3)
    images[7] = np.clip(images[2].astype(int) + RNG.integers(-9, 10, (48, 48, 3)), 0, 255)
    path = file(images)
    for parameters in ({}, {"size": 16}, {"size": 8, "colour": "luma"}, {"colour": "rgb"}):
        dataset = Images(path, **parameters)
        assert sum(dataset.available(split) for split in PARTS) == 11
        assert dataset.notes[0] == "1 of 12 images are near duplicates and are left out (near_duplicates=drop)"
    assert len(everything(Images(path, near_duplicates="keep"))) == 12


@settings(deadline=None, max_examples=30)
@given(
    total=st.integers(3, 60),
    test=st.none() | st.integers(1, 20),
    seed=st.integers(0, 3),
    rule=st.sampled_from(["consecutive", "random"]),
    groups=st.none() | st.integers(1, 9),
)
def test_splits_partition_the_images_and_halves_share_no_person(total, test, seed, rule, groups):
    """Image k is filled with the grey level k."""
    people = None if groups is None else np.random.default_rng(seed).integers(0, groups, total)
    levels = np.arange(total, dtype=np.uint8)

    class Numbered(Images):
        def source(self):
            source = Source.of_array(np.broadcast_to(levels[:, None, None], (total, 8, 8)), "numbered")
            return dataclasses.replace(source, identity=people)

    dataset = Numbered(test=test, seed=seed, split=rule)
    if test is not None and test + test // 2 > total:
        with pytest.raises(DataError, match=f"test={test} .* out of {total}"):
            dataset.available("test")
        return
    splits = {
        split: (255 * dataset.images(split, dataset.available(split))[:, 0, 0, 0]).round().int().tolist()
        for split in (*PARTS, "A", "B")
    }
    joined = [level for split in PARTS for level in splits[split]]
    assert (sorted(joined) if rule == "random" else joined) == levels.tolist()
    assert len(splits["test"]) == (max(1, round(0.24 * total)) if test is None else test)
    assert len(splits["validation"]) == len(splits["test"]) // 2
    assert sorted(splits["A"] + splits["B"]) == sorted(splits["train"])
    if people is None:
        assert abs(len(splits["A"]) - len(splits["B"])) <= 1
    else:
        assert not {people[level] for level in splits["A"]} & {people[level] for level in splits["B"]}


COUNT = 20
NAMES = [f"{index + 1:06d}.jpg" for index in range(COUNT)]
#: The split of each image: 0 for training, 1 for validation, 2 for testing. Splits are not contiguous in the files.
PARTITION = [0, 0, 1, 0, 0, 2, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 2, 0, 0, 0]
PEOPLE = [3, 8, 3, 8, 5, 1, 5, 3, 3, 1, 9, 9, 9, 4, 4, 4, 7, 7, 8, 8]


def text(values, separator=" ", columns=""):
    return columns + "".join(f"{name}{separator}{value}\n" for name, value in zip(NAMES, values, strict=True))


def lay_out(root, folder, lists, side=(218, 178)):
    """Write images whose mean grey level is 10 times their index, and lists."""
    (root / folder).mkdir(parents=True)
    for index, name in enumerate(NAMES):
        noise = RNG.integers(-9, 10, (*side, 3))
        Image.fromarray((10 * index + 20 + noise).clip(0, 255).astype(np.uint8)).save(root / folder / name)
    for name, content in lists.items():
        (root / name).write_text(content)
    return str(root)


#: The folder of the images, and the lists by path, in the layouts of torchvision and Kaggle.
LAYOUTS = {
    "torchvision": (
        "celeba/img_align_celeba",
        {"celeba/list_eval_partition.txt": text(PARTITION), "celeba/identity_CelebA.txt": text(PEOPLE)},
    ),
    "kaggle": (
        "img_align_celeba/img_align_celeba",
        {
            "list_eval_partition.csv": text(PARTITION, ",", "image_id,partition\n"),
            "identity_CelebA.csv": text(PEOPLE, ",", "image_id,identity\n"),
        },
    ),
}


@pytest.mark.parametrize("inner", ["", "celeba", "img_align_celeba", "celeba/img_align_celeba"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_celeba_is_recognized_with_its_published_splits_and_people(tmp_path, layout, inner):
    lay_out(tmp_path, *LAYOUTS[layout])
    if not (tmp_path / inner).is_dir():
        return
    faces = Faces(str(tmp_path / inner))
    assert faces.shape == (1, 80, 80)
    assert "non-commercial" in faces.card.licence
    splits = {
        split: (255 * faces.images(split, faces.available(split)).mean((1, 2, 3)) / 10 - 2).round().int().tolist()
        for split in (*PARTS, "A", "B")
    }
    for number, split in enumerate(PARTS):
        assert splits[split] == [index for index in range(COUNT) if PARTITION[index] == number]
    assert sorted(splits["A"] + splits["B"]) == splits["train"]
    assert not {PEOPLE[index] for index in splits["A"]} & {PEOPLE[index] for index in splits["B"]}
    for arguments in ({"test": 4}, {"split": "random"}):
        with pytest.raises(DataError, match="accepted: no 'test', and split=consecutive"):
            Faces(str(tmp_path), **arguments).images("test", 1)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (text(PARTITION).replace("000004.jpg 0\n", ""), "does not list 000004.jpg"),
        (text(PARTITION).replace("000004.jpg 0", "000004.jpg 3"), "line 4: '000004.jpg 3'; accepted: .*012"),
        (text(PARTITION).replace("000004.jpg 0", "000004.jpg"), "line 4: '000004.jpg'; accepted"),
    ],
)
def test_malformed_lists_are_named(tmp_path, content, message):
    path = lay_out(tmp_path, "img_align_celeba", {"list_eval_partition.txt": content}, (9, 9))
    with pytest.raises(DataError, match=rf"list_eval_partition\.txt.*{message}"):
        Faces(path).shape  # noqa: B018


@pytest.fixture
def slow(tmp_path, monkeypatch):
    """A folder of images whose decoding counts as slow."""
    monkeypatch.setattr(module, "SLOW_BYTES", 100)
    (tmp_path / "f").mkdir()
    for index, image in enumerate(pixels(8, 16, 16, 3)):
        Image.fromarray(image).save(tmp_path / "f" / f"{index}.png")
    (tmp_path / "f" / "bad.png").write_bytes(b"")
    return tmp_path / "f"


def test_images_that_take_long_to_decode_are_decoded_once_until_a_file_changes(slow, monkeypatch):
    def create(**parameters):
        return Images(str(slow), on_error="skip", **parameters)

    assert create().missing() == (f"9 images of {slow}, decoded into {reading.cache_folder()}",)
    create().prepare()
    first = create()
    facts = everything(first), first.fingerprint(), first.notes
    monkeypatch.setattr(reading, "read_image", lambda file: pytest.fail(f"decoded {file}"))
    again = create(test=1)
    assert again.missing() == ()
    np.testing.assert_array_equal(everything(again), facts[0])
    assert (again.fingerprint(), again.notes) == facts[1:]
    assert create(size=8).missing() != ()
    Image.fromarray(pixels(16, 16, 3)).save(slow / "3.png")
    assert create().missing() != ()


def test_a_cache_that_cannot_be_used_is_named(slow, monkeypatch, tmp_path):
    dataset = Images(str(slow), on_error="skip")
    dataset.prepare()
    (kept,) = reading.cache_folder().glob("images-*.npz")
    kept.write_bytes(b"damaged")
    with pytest.raises(DataError, match=f"{kept}: decoded images cannot be kept there: .*; remove the file"):
        Images(str(slow), on_error="skip").prepare()
    (tmp_path / "file").touch()
    monkeypatch.setenv("GAHBENCH_CACHE", str(tmp_path / "file"))
    with pytest.raises(DataError, match="or set GAHBENCH_CACHE to a writable folder"):
        Images(str(slow), on_error="skip").prepare()
