import zipfile

import numpy as np
import pytest
from PIL import Image

from gahbench._util.errors import DataError
from gahbench_plugins.datasets.faces import Faces

COUNT = 20
FILES = [f"{index + 1:06d}.jpg" for index in range(COUNT)]
#: The split of each image: 0 for training, 1 for validation, 2 for testing. Splits are not contiguous in the files.
PARTITION = [0, 0, 1, 0, 0, 2, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 2, 0, 0, 0]
PEOPLE = [3, 8, 3, 8, 5, 1, 5, 3, 3, 1, 9, 9, 9, 4, 4, 4, 7, 7, 8, 8]
FACES = np.random.default_rng(0).integers(0, 256, (COUNT, 218, 178, 3), dtype=np.uint8)


def text(values):
    return "".join(f"{name} {value}\n" for name, value in zip(FILES, values, strict=True))


def csv(values, columns):
    return columns + "\n" + text(values).replace(" ", ",")


def lay_out(root, write_images, folder, lists):
    """Write the images to a folder below the root, and the lists to files of the given names."""
    write_images(root / folder, FILES, FACES)
    for name, content in lists.items():
        (root / name).write_text(content)


PUBLISHED = {"list_eval_partition.csv": csv(PARTITION, "image_id,partition")}
#: The folder of the images, and the lists by path: in the layouts of torchvision and Kaggle, and in a single folder.
LAYOUTS = {
    "torchvision": (
        "celeba/img_align_celeba",
        {
            "celeba/list_eval_partition.txt": text(PARTITION),
            "celeba/identity_CelebA.txt": text(PEOPLE),
            "celeba/list_attr_celeba.txt": "not read",
        },
    ),
    "kaggle": (
        "img_align_celeba/img_align_celeba",
        {**PUBLISHED, "identity_CelebA.csv": csv(PEOPLE, "image_id,identity")},
    ),
    "plain": ("", {**PUBLISHED, "identity_CelebA.txt": text(PEOPLE)}),
}


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    """Return the images as Pillow computes them: the window of the paper, averaged over channels and resized."""
    folder = tmp_path_factory.mktemp("expected")
    result = []
    for name, face in zip(FILES, FACES, strict=True):
        Image.fromarray(face).save(folder / name)
        window = np.asarray(Image.open(folder / name))[29:-29, 9:-9].mean(2)
        small = Image.fromarray(window.astype(np.float32)).resize((80, 80), Image.Resampling.BICUBIC)
        result.append(np.asarray(small).clip(0, 255))
    return np.stack(result)


def image_indices(faces, split, expected):
    """Return the indices of the images of a split, in order."""
    images = 255 * faces.images(split, faces.available(split))[:, 0].numpy()
    return [int(np.abs(expected - image).max((1, 2)).argmin()) for image in images]


@pytest.mark.parametrize("archive", [False, True])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_each_layout_gives_the_papers_images_and_the_published_splits(
    tmp_path, write_images, expected, layout, archive
):
    path = tmp_path / "root"
    lay_out(path, write_images, *LAYOUTS[layout])
    if archive:
        with zipfile.ZipFile(tmp_path / "root.zip", "w") as file:
            for child in path.rglob("*.*"):
                file.write(child, child.relative_to(path))
        path = tmp_path / "root.zip"
    faces = Faces(str(path))
    assert faces.shape == (1, 80, 80)
    images = 255 * faces.images("train", 3)[:, 0].numpy()
    # Images are rounded to whole grey levels.
    assert np.abs(images - expected[[0, 1, 3]]).max() < 0.501
    result = {split: image_indices(faces, split, expected) for split in ("train", "validation", "test", "A", "B")}
    for number, split in enumerate(("train", "validation", "test")):
        assert result[split] == [index for index in range(COUNT) if PARTITION[index] == number]
    assert sorted(result["A"] + result["B"]) == result["train"]
    assert result["A"]
    assert result["B"]
    assert not {PEOPLE[index] for index in result["A"]} & {PEOPLE[index] for index in result["B"]}


def test_source_celeba_finds_its_images_and_says_what_they_are(tmp_path, write_images):
    lay_out(tmp_path, write_images, *LAYOUTS["torchvision"])
    write_images(tmp_path / "celeba" / "other", ["a.png"], FACES[:1])
    faces = Faces(str(tmp_path), source="celeba")
    assert sum(faces.available(split) for split in ("train", "validation", "test")) == COUNT
    assert "non-commercial" in faces.card.licence
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as file:
        for child in tmp_path.rglob("*.*g"):
            file.write(child, child.relative_to(tmp_path))
    archived = Faces(str(tmp_path / "all.zip"), source="celeba", test=4)
    assert sum(archived.available(split) for split in ("train", "validation", "test")) == COUNT
    inner = Faces(str(tmp_path / "celeba" / "img_align_celeba"), source="celeba")
    assert inner.available("test") == 3
    # A list of the test images contradicts a number of test images.
    for arguments in ({"test": 4}, {"split": "random"}):
        with pytest.raises(DataError, match="accepted: no 'test', and split=consecutive"):
            Faces(str(tmp_path), source="celeba", **arguments).images("test", 1)


@pytest.mark.parametrize("kind", ["nothing", "empty.zip", "others.npy", "others"])
def test_missing_celeba_is_explained(tmp_path, write_images, kind):
    path = tmp_path / kind
    if kind == "others.npy":
        np.save(path, FACES[:2])
    elif kind == "empty.zip":
        zipfile.ZipFile(path, "w").close()
    elif kind == "others":
        write_images(path, ["a.png"], FACES[:1])
    with pytest.raises(DataError) as caught:
        Faces(str(path), source="celeba").shape  # noqa: B018
    for part in (
        str(path),
        "celeba/img_align_celeba/000001.jpg",
        "list_eval_partition.txt",
        "identity_CelebA.txt",
        "img_align_celeba/img_align_celeba/*.jpg",
        "non-commercial research",
        "http://mmlab.ie.cuhk.edu.hk/projects/CelebA.html",
    ):
        assert part in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (text(PARTITION).replace("000004.jpg 0\n", ""), "does not list 000004.jpg"),
        (text(PARTITION).replace("000004.jpg 0", "000004.jpg 3"), "line 4: '000004.jpg 3'; accepted: .* 0, 1, 2"),
        (text(PARTITION).replace("000004.jpg 0", "000004.jpg"), "line 4: '000004.jpg'; accepted"),
    ],
)
def test_malformed_lists_are_named(tmp_path, write_images, content, message):
    write_images(tmp_path, FILES[:5], FACES[:5, :30, :30])
    (tmp_path / "list_eval_partition.txt").write_text(content)
    with pytest.raises(DataError, match=rf"list_eval_partition\.txt.*{message}"):
        Faces(str(tmp_path)).shape  # noqa: B018


def test_lists_are_part_of_the_fingerprint(tmp_path, write_images):
    lay_out(tmp_path, write_images, *LAYOUTS["plain"])
    fingerprints = [Faces(str(tmp_path)).fingerprint()]
    (tmp_path / "identity_CelebA.txt").write_text(text([*PEOPLE[:-1], 99]))
    for name in ("identity_CelebA.txt", "list_eval_partition.csv", None):
        fingerprints.append(Faces(str(tmp_path)).fingerprint())
        if name is not None:
            (tmp_path / name).unlink()
    assert len(set(fingerprints)) == 4


@pytest.mark.parametrize(
    ("layout", "inner"), [("torchvision", "celeba/img_align_celeba"), ("kaggle", "img_align_celeba")]
)
def test_lists_next_to_the_folder_of_the_images_are_found(tmp_path, write_images, layout, inner):
    lay_out(tmp_path, write_images, *LAYOUTS[layout])
    for folder in {inner, f"{inner}/img_align_celeba" if layout == "kaggle" else inner}:
        faces = Faces(path=str(tmp_path / folder), source="celeba")
        assert [faces.available(split) for split in ("train", "validation", "test")] == [15, 2, 3]
