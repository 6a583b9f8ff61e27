"""Training and validation images that plugins may learn from."""

import pytest
import torch

from gahbench._util.errors import DataError
from gahbench._util.noise import evaluation_noise
from gahbench.contracts.datasets import Dataset
from gahbench.contracts.truth import TrainingData


class IndexedImages(Dataset):
    """A dataset whose pixels hold the index of the image, plus 100 in ``train`` and 200 in ``validation``."""

    def __init__(self, validation=5):
        self.validation = validation

    shape = (1, 2, 2)

    def available(self, split):
        return {"train": None, "validation": self.validation}[split]

    def images(self, split, count, start=0):
        first = {"train": 100, "validation": 200}[split]
        return (first + torch.arange(start, start + count))[:, None, None, None].expand(count, 1, 2, 2).float()


def test_training_data_returns_the_first_images_of_each_split():
    examples = TrainingData(IndexedImages())
    assert examples.shape == (1, 2, 2)
    assert examples.training(3)[:, 0, 0, 0].tolist() == [100, 101, 102]
    assert examples.validation(3)[:, 0, 0, 0].tolist() == [200, 201, 202]
    assert len(examples.validation(50)) == 5


def test_no_attribute_of_training_data_is_the_dataset():
    dataset = IndexedImages()
    assert not any(value is dataset for value in vars(TrainingData(dataset)).values())


def test_an_empty_split_raises_an_error():
    with pytest.raises(DataError, match="no validation images to learn from; at least 1"):
        TrainingData(IndexedImages(validation=0)).validation(3)


def test_noise_is_deterministic_and_differs_from_the_noise_of_scores():
    examples = TrainingData(IndexedImages())
    noise = examples.noise(2000, 0.5)
    assert torch.equal(noise[:10], examples.noise(10, 0.5))
    assert noise.std().item() == pytest.approx(0.5, rel=0.03)
    for split in ("test", "validation", "train"):
        other = evaluation_noise(2000, (1, 2, 2), 0.5, 0, split)
        assert abs(float((noise * other).mean())) < 4 * 0.25 / 8000**0.5
