"""Scores, and what an evaluation passes to a denoiser."""

import dataclasses

import numpy as np
import pytest
import torch

import gahbench
from gahbench.contracts.metrics import Scores, validate_scores
from gahbench.contracts.references import Reference
from gahbench.evaluation.evaluation import Evaluation

SIGMAS = (0.1, 0.3)


def test_numpy_and_torch_values_become_plain_numbers():
    scores = validate_scores(
        Scores(np.arange(4.0), torch.tensor([0.5, 0.5, 0.25, 0.25]), np.array([0, 1, 0, 1])), (0.5, 0.25), 2
    )
    assert scores == Scores([0.0, 1.0, 2.0, 3.0], [0.5, 0.5, 0.25, 0.25], [0, 1, 0, 1])
    assert {type(value) for value in [*scores.value, *scores.sigma]} == {float}


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        (Scores([1.0, 2.0], [0.1]), "2 values but 1 in 'sigma'"),
        (Scores([1.0, 2.0], [0.1] * 3), "2 values but 3 in 'sigma'"),
        (Scores([1.0, 2.0], None, [0]), "2 values but 1 in 'image'"),
        (Scores([1.0, 2.0], None, [0, 1, 2]), "2 values but 3 in 'image'"),
        (Scores([1.0, 2.0], None, None, ["a"] * 3), "2 values but 3 in 'part'"),
        (Scores([1.0, float("nan")], None, [0, 1]), "1 of 2 values are not finite"),
        (Scores([float("inf")]), "not finite"),
        (Scores([1.0], [0.2]), r"that the evaluation does not have: \[0.2\]"),
        (Scores([1.0], None, [3]), "image indices outside 0 to 2"),
        (Scores([1.0], None, [-1]), "image indices outside 0 to 2"),
        (Scores([1.0, 2.0], [0.1, 0.1]), "two values for the same noise level"),
        (Scores([1.0, 2.0], [0.1, 0.1], [1, 1]), "two values for the same noise level"),
        (Scores([1.0, 2.0]), "two values"),
        (Scores([1.0, 2.0], None, [0, 0], ["null", "null"]), "two values"),
        (Scores([1.0, 2.0], None, [0, 0], ["null"]), "2 values but 1 in 'part'"),
        (Scores([1.0], None, [0], ["of [sym4]"]), "lower-case letters, digits and hyphens"),
    ],
)
def test_invalid_scores_are_refused(scores, message):
    with pytest.raises(ValueError, match=message):
        validate_scores(scores, SIGMAS, 3)


def test_a_list_is_refused_as_scores():
    with pytest.raises(TypeError, match=r"returns gahbench\.Scores, not list"):
        validate_scores([1.0], SIGMAS, 3)


class Flat(Reference):
    def denoise(self, noisy, sigma, truth):
        return noisy.mean(dim=(1, 2, 3), keepdim=True)

    def risk(self, truth, sigma):
        return torch.zeros(())


def test_shapes_that_would_broadcast_are_refused():
    evaluation = Evaluation(Flat(), torch.zeros(3, 1, 4, 4), SIGMAS)
    with pytest.raises(ValueError, match=r"returned shape \(3, 1, 1, 1\) for images of \(3, 1, 4, 4\)"):
        evaluation.denoised(0.1)
    with pytest.raises(ValueError, match=r"risk returned shape \(\) for 3 images"):
        evaluation.risk(0.1)


def test_noise_is_the_same_for_the_first_images_and_differs_by_level_and_split():
    few, many = (Evaluation(Flat(), torch.zeros(count, 1, 4, 4), SIGMAS) for count in (3, 100))
    assert torch.equal(few.noisy(0.1), many.noisy(0.1)[:3])
    assert not torch.equal(few.noisy(0.1) / 0.1, few.noisy(0.3) / 0.3)
    assert not torch.equal(few.noisy(0.1), Evaluation(Flat(), few.clean, SIGMAS, split="train").noisy(0.1))
    assert abs(float(many.noisy(0.3).std()) - 0.3) < 4 * 0.3 / (2 * 1600) ** 0.5


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
    clean = torch.rand(2, 1, 8, 8)
    Evaluation(RecordsTruth(), clean, [0.1], dataset=gahbench.create("dataset", "discs[size=8]")).denoised(0.1)
    assert torch.equal(truths[0].clean, clean) == sees_clean
    assert truths[0].clean.isnan().all() != sees_clean
    assert (truths[0].dataset is not None) == sees_dataset


def test_risk_does_not_show_the_clean_image_to_a_classical_denoiser():
    clean = torch.rand(3, 1, 8, 8)

    class RemembersClean:
        kind = "classical"
        seen = None

        def risk(self, truth, sigma):
            self.seen = truth.clean
            return torch.full((len(truth),), sigma**2)

        def denoise(self, noisy, sigma, truth):
            return noisy if self.seen is None else self.seen

    evaluation = Evaluation(RemembersClean(), clean, [0.1])
    assert evaluation.risk(0.1).tolist() == pytest.approx([0.01] * 3)
    assert torch.equal(evaluation.denoised(0.1), evaluation.noisy(0.1))


def test_risks_are_computed_once_and_in_batches_that_fit_in_memory():
    clean, calls = torch.rand(5, 1, 256, 256), []

    class Counted:
        kind = "oracle"

        def risk(self, truth, sigma):
            calls.append(len(truth))
            return truth.clean.mean((1, 2, 3))

    evaluation = Evaluation(Counted(), clean, [0.1, 0.2])
    for _ in range(2):
        torch.testing.assert_close(evaluation.risk(0.1), clean.mean((1, 2, 3)))
    assert calls == [2, 2, 1]


def test_grid_and_per_image_lay_out_values_of_images():
    scores = Scores.grid(torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]), [0.1, 0.2])
    assert scores == Scores([1, 2, 3, 4, 5, 6], [0.1, 0.1, 0.1, 0.2, 0.2, 0.2], [0, 1, 2, 0, 1, 2])
    assert Scores.per_image(torch.tensor([1.0, 2.0])) == Scores([1, 2], None, [0, 1])


def test_parts_lay_out_noise_levels_and_images_without_nan():
    scores = Scores.parts({("", 0.1): torch.tensor([1.0, torch.nan]), ("trace", 0.2): torch.tensor([3.0, 4.0])})
    assert validate_scores(scores, (0.1, 0.2), 2) == Scores(
        [1, 3, 4], [0.1, 0.2, 0.2], [0, 0, 1], ["", "trace", "trace"]
    )
    assert Scores.parts({}) == Scores.parts({("", 0.1): torch.tensor([torch.nan])}) == Scores([])


def test_values_of_samples_belong_to_each_sample_or_to_all():
    scores = Scores.from_samples({"": torch.tensor([1.0, torch.inf, 3.0]), "b": torch.tensor([4.0, 5.0, torch.nan])})
    assert list(zip(scores.value, scores.image, scores.part, strict=True)) == [
        (1, 0, ""),
        (3, 2, ""),
        (4, 0, "b"),
        (5, 1, "b"),
    ]
    assert scores.sigma is None
    whole = Scores.from_samples({"": torch.tensor(2.0), "b": torch.tensor(3.0)}, {"kept": torch.zeros(2)})
    assert (list(whole.value), whole.image, list(whole.part)) == ([2, 3], None, ["", "b"])
    assert list(whole.arrays) == ["kept"]
    assert list(Scores.from_samples({"": torch.tensor([torch.nan])}).value) == []
    with pytest.raises(ValueError, match="cannot be mixed"):
        Scores.from_samples({"": torch.tensor(2.0), "b": torch.tensor([3.0])})


def test_scores_are_immutable():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Scores([1.0]).value = [2.0]
