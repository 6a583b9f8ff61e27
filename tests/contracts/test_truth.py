"""What denoisers see of the truth and learn from, the results that an evaluation accepts, and scores."""

import pytest
import torch

import gahbench
from gahbench._util.errors import DataError
from gahbench.contracts.metrics import Scores, validate_scores
from gahbench.contracts.references import Reference
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


SIGMAS = (0.1, 0.3)


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        (Scores([1.0, 2.0], None, [0, 1, 2]), "2 values but 3 in 'image'"),
        (Scores([1.0, float("nan")], None, [0, 1]), "1 of 2 entries are invalid.*nan, in 'value'.*finite numbers"),
        (Scores([1.0], [0.2]), "0.2, in 'sigma' of the scores; accepted: noise levels of the evaluation"),
        (Scores([1.0], None, [-1]), "-1, in 'image'.*accepted: indices from 0 to 2"),
        (Scores([1.0, 2.0], [0.1, 0.1]), "two values for the same noise level"),
        (Scores([1.0], None, [0], ["of [sym4]"]), "lower-case letters, digits and hyphens"),
    ],
)
def test_invalid_scores_are_refused(scores, message):
    with pytest.raises((TypeError, ValueError), match=message):
        validate_scores(scores, SIGMAS, 3)


class Flat(Reference):
    def denoise(self, noisy, sigma, truth):
        return noisy.mean(dim=(1, 2, 3), keepdim=True)

    def risk(self, truth, sigma):
        return torch.zeros(())


def test_shapes_that_would_broadcast_are_refused():
    evaluation = Evaluation(Flat(), torch.zeros(3, 1, 4, 4), SIGMAS)
    with pytest.raises(ValueError, match=r"returned shape \(3, 1, 1, 1\) for images of \(3, 1, 4, 4\)"):
        evaluation.denoised(0.1)
    with pytest.raises(ValueError, match="risk returned 1 values for 3 images"):
        evaluation.risk(0.1)


def test_values_are_laid_out_by_noise_level_image_and_part_without_nan():
    scores = Scores.grid(torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]), [0.1, 0.2])
    assert scores == Scores([1, 2, 3, 4, 5, 6], [0.1, 0.1, 0.1, 0.2, 0.2, 0.2], [0, 1, 2, 0, 1, 2])
    scores = Scores.parts({("", 0.1): torch.tensor([1.0, torch.nan]), ("trace", 0.2): torch.tensor([3.0, 4.0])})
    assert validate_scores(scores, (0.1, 0.2), 2) == Scores(
        [1, 3, 4], [0.1, 0.2, 0.2], [0, 0, 1], ["", "trace", "trace"]
    )
    assert Scores.parts({("", 0.1): torch.tensor([torch.nan])}) == Scores(())


def test_values_of_samples_belong_to_each_sample_or_to_all():
    values = {"": torch.tensor([1.0, torch.inf, 3.0]), "b": torch.tensor([4.0, 5.0, torch.nan])}
    assert Scores.parts(values) == Scores((1, 3, 4, 5), None, (0, 2, 0, 1), ("", "", "b", "b"))
    whole = {"": torch.tensor(2.0), "b": torch.tensor(3.0)}
    assert Scores.parts(whole) == Scores((2, 3), None, None, ("", "b"))
    with pytest.raises(ValueError, match="cannot be mixed"):
        Scores.parts({"": torch.tensor(2.0), "b": torch.tensor([3.0])})


def test_training_data_returns_the_first_images_of_each_split_without_the_dataset():
    dataset = gahbench.create("dataset", "discs[size=8]")
    examples = TrainingData(dataset, count=3)
    assert torch.equal(examples.training(9), dataset.images("train", 3))
    assert torch.equal(examples.validation(5), dataset.images("validation", 5))
    assert not any(value is dataset for value in vars(examples).values())
    dataset.available = lambda split: 0
    with pytest.raises(DataError, match="no validation images to learn from"):
        TrainingData(dataset).validation(3)
