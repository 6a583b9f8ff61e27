"""Denoisers see the parts of the truth that their kind may use, and learn from training and validation images alone."""

import pytest
import torch

import gahbench
from gahbench._util.errors import DataError
from gahbench.contracts.truth import TrainingData
from gahbench.evaluation import Evaluation

CLEAN = torch.rand(2, 1, 8, 8)
#: Whether a denoiser of a kind sees the clean image, and the dataset.
ALLOWED = {
    "trained": (False, False),
    "classical": (False, False),
    "oracle": (True, True),
    "optimal": (False, True),
    "bound": (True, True),
}


@pytest.mark.parametrize("kind", ALLOWED)
def test_a_denoiser_receives_only_the_truth_that_its_kind_may_use(kind):
    sees_clean, sees_dataset = ALLOWED[kind]
    truths = []

    class RecordsTruth:
        def denoise(self, noisy, sigma, truth):
            truths.append(truth)
            return noisy

    RecordsTruth.kind = kind
    Evaluation(RecordsTruth(), CLEAN, [0.1], dataset=gahbench.create("dataset", "discs[size=8]")).denoised(0.1)
    assert torch.equal(truths[0].clean, CLEAN) == sees_clean
    assert truths[0].clean.isnan().all() != sees_clean
    assert (truths[0].dataset is not None) == sees_dataset


def test_risk_does_not_show_the_clean_image_to_a_classical_denoiser():
    class RemembersClean:
        kind = "classical"
        seen = None

        def risk(self, truth, sigma):
            self.seen = truth.clean
            return torch.full((len(truth),), sigma**2)

        def denoise(self, noisy, sigma, truth):
            return noisy if self.seen is None else self.seen

    evaluation = Evaluation(RemembersClean(), CLEAN, [0.1])
    assert evaluation.risk(0.1).tolist() == pytest.approx([0.01] * 2)
    assert torch.equal(evaluation.denoised(0.1), evaluation.noisy(0.1))


class IndexedImages(gahbench.Dataset):
    """A dataset whose pixels hold the index of the image, plus 100 in ``train`` and 200 in ``validation``."""

    def __init__(self, validation=5):
        self.validation = validation

    shape = (1, 2, 2)

    def available(self, split):
        return {"train": None, "validation": self.validation}[split]

    def images(self, split, count, start=0):
        first = {"train": 100, "validation": 200}[split]
        return (first + torch.arange(start, start + count))[:, None, None, None].expand(count, 1, 2, 2).float()


def test_training_data_returns_the_first_images_of_each_split_without_the_dataset():
    dataset = IndexedImages()
    examples = TrainingData(dataset)
    assert examples.training(3)[:, 0, 0, 0].tolist() == [100, 101, 102]
    assert examples.validation(50)[:, 0, 0, 0].tolist() == [200, 201, 202, 203, 204]
    assert not any(value is dataset for value in vars(examples).values())
    with pytest.raises(DataError, match="no validation images to learn from; at least 1"):
        TrainingData(IndexedImages(validation=0)).validation(3)
