import dataclasses

import numpy as np
import pytest
import torch

import gahbench
from gahbench.contracts.metrics import Scores, checked
from gahbench.contracts.references import Reference
from gahbench.evaluation.evaluation import Evaluation

SIGMAS = (0.1, 0.3)


def test_numbers_of_numpy_and_torch_become_plain():
    scores = checked(
        Scores(np.arange(4.0), torch.tensor([0.5, 0.5, 0.25, 0.25]), np.array([0, 1, 0, 1])), (0.5, 0.25), 2
    )
    assert scores == Scores([0.0, 1.0, 2.0, 3.0], [0.5, 0.5, 0.25, 0.25], [0, 1, 0, 1])
    assert {type(value) for value in [*scores.value, *scores.sigma]} == {float}


@pytest.mark.parametrize(
    ("scores", "says"),
    [
        (Scores([1.0, 2.0], [0.1]), "2 values but 1 of 'sigma'"),
        (Scores([1.0, 2.0], [0.1] * 3), "2 values but 3 of 'sigma'"),
        (Scores([1.0, 2.0], None, [0]), "2 values but 1 of 'image'"),
        (Scores([1.0, 2.0], None, [0, 1, 2]), "2 values but 3 of 'image'"),
        (Scores([1.0, 2.0], None, None, ["a"] * 3), "2 values but 3 of 'part'"),
        (Scores([1.0, float("nan")], None, [0, 1]), "1 of 2 values are not finite"),
        (Scores([float("inf")]), "not finite"),
        (Scores([1.0], [0.2]), r"not of the evaluation: \[0.2\]"),
        (Scores([1.0], None, [3]), "images outside 0 to 2"),
        (Scores([1.0], None, [-1]), "images outside 0 to 2"),
        (Scores([1.0, 2.0], [0.1, 0.1]), "two values for the same noise level"),
        (Scores([1.0, 2.0], [0.1, 0.1], [1, 1]), "two values for the same noise level"),
        (Scores([1.0, 2.0]), "two values"),
        (Scores([1.0, 2.0], None, [0, 0], ["null", "null"]), "two values"),
        (Scores([1.0, 2.0], None, [0, 0], ["null"]), "2 values but 1 of 'part'"),
        (Scores([1.0], None, [0], ["of [sym4]"]), "small letters, digits and dashes"),
    ],
)
def test_scores_that_cannot_be_kept_are_refused(scores, says):
    with pytest.raises(ValueError, match=says):
        checked(scores, SIGMAS, 3)


def test_other_types_than_scores_are_refused():
    with pytest.raises(TypeError, match=r"returns gahbench\.Scores, not list"):
        checked([1.0], SIGMAS, 3)


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
def test_a_denoiser_is_given_no_more_than_its_kind_may_use(kind):
    sees_clean, sees_dataset = ALLOWED[kind]
    given = []

    class Curious:
        def denoise(self, noisy, sigma, truth):
            given.append(truth)
            return noisy

    Curious.kind = kind
    clean = torch.rand(2, 1, 8, 8)
    Evaluation(Curious(), clean, [0.1], dataset=gahbench.create("dataset", "discs[size=8]")).denoised(0.1)
    assert torch.equal(given[0].clean, clean) == sees_clean
    assert given[0].clean.isnan().all() != sees_clean
    assert (given[0].dataset is not None) == sees_dataset


def test_a_classical_denoiser_learns_nothing_from_its_own_risk():
    clean = torch.rand(3, 1, 8, 8)

    class Sly:
        kind = "classical"
        seen = None

        def risk(self, truth, sigma):
            self.seen = truth.clean
            return torch.full((len(truth),), sigma**2)

        def denoise(self, noisy, sigma, truth):
            return noisy if self.seen is None else self.seen

    evaluation = Evaluation(Sly(), clean, [0.1])
    assert evaluation.risk(0.1).tolist() == pytest.approx([0.01] * 3)
    assert torch.equal(evaluation.denoised(0.1), evaluation.noisy(0.1))


def test_risks_are_computed_once_and_in_batches_that_memory_can_take():
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


def test_values_of_images_at_all_noise_levels_or_over_them():
    scores = Scores.grid(torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]), [0.1, 0.2])
    assert scores == Scores([1, 2, 3, 4, 5, 6], [0.1, 0.1, 0.1, 0.2, 0.2, 0.2], [0, 1, 2, 0, 1, 2])
    assert Scores.per_image(torch.tensor([1.0, 2.0])) == Scores([1, 2], None, [0, 1])


def test_parts_are_laid_out_with_their_levels_and_images():
    scores = Scores.parts({("", 0.1): torch.tensor([1.0, torch.nan]), ("trace", 0.2): torch.tensor([3.0, 4.0])})
    assert checked(scores, (0.1, 0.2), 2) == Scores([1, 3, 4], [0.1, 0.2, 0.2], [0, 0, 1], ["", "trace", "trace"])
    assert Scores.parts({}) == Scores.parts({("", 0.1): torch.tensor([torch.nan])}) == Scores([])


def test_values_of_samples_are_of_each_or_of_all_together():
    each = Scores.of_samples({"": torch.tensor([1.0, torch.inf, 3.0]), "b": torch.tensor([4.0, 5.0, torch.nan])})
    assert list(zip(each.value, each.image, each.part, strict=True)) == [
        (1, 0, ""),
        (3, 2, ""),
        (4, 0, "b"),
        (5, 1, "b"),
    ]
    assert each.sigma is None
    whole = Scores.of_samples({"": torch.tensor(2.0), "b": torch.tensor(3.0)}, {"kept": torch.zeros(2)})
    assert (list(whole.value), whole.image, list(whole.part)) == ([2, 3], None, ["", "b"])
    assert list(whole.arrays) == ["kept"]
    assert list(Scores.of_samples({"": torch.tensor([torch.nan])}).value) == []
    with pytest.raises(ValueError, match="do not mix"):
        Scores.of_samples({"": torch.tensor(2.0), "b": torch.tensor([3.0])})


def test_scores_are_not_changed_in_place():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Scores([1.0]).value = [2.0]
