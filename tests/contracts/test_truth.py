"""Denoisers see the parts of the truth that their kind may use, and learn from training and validation images alone."""

import re

import pytest
import torch

import gahbench
from gahbench._util.errors import DataError
from gahbench._util.noise import evaluation_noise
from gahbench.contracts.truth import TrainingData, Truth, visible_truth
from gahbench.evaluation import Evaluation
from gahbench.sampling import wrap_denoiser
from gahbench.testing import check_file

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


class Misspelt:
    kind = "clasical"

    def denoise(self, noisy, sigma, truth):
        return truth.clean


MESSAGE = "unknown kind of denoiser: kind='clasical'; did you mean 'classical'? accepted: trained, classical, oracle"


@pytest.mark.parametrize(
    "use",
    [
        lambda: Evaluation(Misspelt(), CLEAN, [0.1]),
        lambda: wrap_denoiser(Misspelt(), (1, 8, 8)),
        lambda: visible_truth("clasical", Truth(CLEAN)),
    ],
)
def test_a_denoiser_of_unknown_kind_is_neither_scored_nor_sampled(use):
    with pytest.raises(ValueError, match=re.escape(MESSAGE)):
        use()


def test_a_plugin_of_unknown_kind_is_refused(write_class):
    half = "def denoise(self, noisy, sigma, truth): return 0.5 * noisy"
    (report,) = check_file(write_class("reference", f"def __init__(self): self.kind = 'clasical'\n{half}"))
    assert report.failed == ["its kind is accepted"]
    with pytest.raises(gahbench.PluginError, match="kind='clasical'; did you mean 'classical'"):
        check_file(write_class("reference", f"kind = 'clasical'\n{half}"))


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


def test_noise_is_deterministic_and_differs_from_the_noise_of_scores():
    examples = TrainingData(IndexedImages())
    noise = examples.noise(2000, 0.5)
    assert torch.equal(noise[:10], examples.noise(10, 0.5))
    assert noise.std().item() == pytest.approx(0.5, rel=0.03)
    for split in ("test", "validation", "train"):
        other = evaluation_noise(2000, (1, 2, 2), 0.5, 0, split)
        assert abs(float((noise * other).mean())) < 4 * 0.25 / 8000**0.5
