"""Datasets of torchvision and of the Hugging Face hub, from tiny files: nothing is downloaded."""

import numpy as np
import pytest
import torch
from small_plugins import mnist, save_dataset

import gahbench

SPLITS = ("train", "validation", "test")

torchvision = pytest.mark.extras("torchvision")
hugging_face = pytest.mark.extras("datasets")


def mnist_images(file):
    """Read the pixels that follow the header of 16 bytes."""
    return np.frombuffer(file.read_bytes()[16:], dtype=np.uint8).reshape(-1, 1, 28, 28) / np.float32(255)


def sort_images(images):
    """Return the images, sorted, to compare sources with different orders."""
    return sorted(image.ravel().round(6).tolist() for image in images)


@torchvision
def test_the_splits_of_torchvision_are_the_splits_of_the_files(tmp_path):
    raw = mnist(tmp_path) / "MNIST" / "raw"
    dataset = gahbench.create("dataset", "torchvision", path=str(tmp_path))
    assert [dataset.available(split) for split in ("train", "validation", "test")] == [36, 4, 12]
    train, test = (mnist_images(raw / f"{name}-images-idx3-ubyte") for name in ("train", "t10k"))
    assert dataset.images("test", 12).numpy() == pytest.approx(test)
    both = torch.cat([dataset.images("train", 36), dataset.images("validation", 4)])
    # As files are often sorted by class, training images have a fixed random order.
    assert sort_images(both.numpy()) == sort_images(np.asarray(train, dtype=np.float32))
    assert both.numpy() != pytest.approx(train)
    assert dataset.missing() == ()


@torchvision
def test_missing_torchvision_datasets_are_reported_without_a_download(tmp_path, monkeypatch):
    def refuse(*arguments, **options):
        raise OSError("no network")

    monkeypatch.setattr("urllib.request.urlopen", refuse)
    absent = gahbench.create("dataset", "torchvision[CIFAR10]", path=str(tmp_path))
    assert absent.missing() == (f"CIFAR10, downloaded by torchvision into {tmp_path}",)
    with pytest.raises(gahbench.DataError, match=r"CIFAR10.*: not downloaded; run 'gahbench prepare'"):
        absent.images("train", 1)
    with pytest.raises(OSError, match="no network"):
        absent.prepare()
    for name in ("CIFAR11", "EuroSAT", "ImageNet"):
        with pytest.raises(gahbench.GahbenchError, match=f"{name}.*; accepted: a class of torchvision.datasets"):
            gahbench.create("dataset", f"torchvision[{name},path={tmp_path}]").missing()


@hugging_face
@pytest.mark.parametrize(
    ("counts", "parts"),
    [
        ({"train": 20, "test": 5}, [18, 2, 5]),
        ({"train": 20, "valid": 3, "test": 5}, [20, 3, 5]),
        ({"everything": 50}, [32, 6, 12]),
    ],
)
def test_the_splits_of_a_saved_dataset_are_kept(tmp_path, counts, parts):
    import datasets

    folder = save_dataset(tmp_path, **counts)
    dataset = gahbench.create("dataset", "hf-dataset", path=str(folder), colour="rgb")
    assert dataset.shape == (3, 16, 16)
    assert [dataset.available(split) for split in SPLITS] == parts
    expected = {
        name: np.stack([np.asarray(image) for image in split["image"]]).transpose(0, 3, 1, 2) / np.float32(255)
        for name, split in datasets.load_from_disk(folder).items()
    }
    if "test" in expected:
        assert dataset.images("test", parts[2]).numpy() == pytest.approx(expected["test"])
    splits = [dataset.images(split, count).numpy() for split, count in zip(SPLITS, parts, strict=True)]
    assert sort_images(np.concatenate(splits)) == sort_images(np.concatenate(list(expected.values())))
    grey = gahbench.create("dataset", "hf-dataset", path=str(folder), size=15)
    assert grey.shape == (1, 15, 15)


@hugging_face
def test_errors_of_hub_datasets_are_reported_without_a_download(tmp_path, monkeypatch):
    import datasets

    def refuse(*arguments, **options):
        raise ConnectionError("no network")

    monkeypatch.setattr(datasets, "load_dataset", refuse)
    absent = gahbench.create("dataset", "hf-dataset[owner/name]")
    assert absent.missing() == ("owner/name, from the Hugging Face hub",)
    with pytest.raises(gahbench.DataError, match=r"owner/name.*: not downloaded; run 'gahbench prepare'"):
        absent.images("train", 1)
    with pytest.raises(ConnectionError, match="no network"):
        absent.prepare()
    folder = save_dataset(tmp_path, train=4, test=2)
    with pytest.raises(gahbench.DataError, match=r"label.*accepted"):
        gahbench.create("dataset", "hf-dataset", path=str(folder), column="label").images("test", 1)
    with pytest.raises(gahbench.DataError, match="its splits are train, dev; accepted: train and test"):
        gahbench.create("dataset", "hf-dataset", path=str(save_dataset(tmp_path / "b", train=2, dev=2))).images(
            "test", 1
        )


@hugging_face
def test_prepare_caches_the_dataset_of_the_hub(tmp_path, monkeypatch):
    import datasets

    given = datasets.load_from_disk(save_dataset(tmp_path, train=20, test=5))
    monkeypatch.setattr(datasets, "load_dataset", lambda name, subset, revision: given)
    gahbench.create("dataset", "hf-dataset[owner/name]").prepare()
    monkeypatch.delattr(datasets, "load_dataset")
    again = gahbench.create("dataset", "hf-dataset[owner/name]")
    assert (again.missing(), again.available("test")) == ((), 5)
