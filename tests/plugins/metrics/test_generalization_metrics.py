"""Gaps, pairs and distances, of denoisers whose functions are known."""

import math

import pytest
import torch
from given_images import GivenImages
from known_filters import Filters, create, random_images, samples, table

from gahbench._util.errors import ParameterError
from gahbench.contracts.truth import TrainingData
from gahbench.evaluation.evaluation import Evaluation

SIGMAS = (0.1, 0.5)
EYE = torch.eye(64)


def images(count=6, seed=0):
    return random_images(count, 1, 8, 8, seed=seed)


def evaluation(reference, clean=None, learned=None, partner=None):
    """Return the evaluation of a denoiser that learned from given images, with a partner that did from none."""
    clean = images() if clean is None else clean
    found = Evaluation(reference, clean, list(SIGMAS), learned_from=learned)
    if partner is not None:
        found.partner = found.along(partner)
    return found


def scaled(factor, offset=0.0):
    return Filters(factor * EYE[None], offset)


def empirical(learned):
    reference = create("reference", "empirical-bayes")
    reference.fit(learned)
    return reference


def test_the_gap_of_a_denoiser_that_returns_its_only_training_image():
    learned = TrainingData(GivenImages(images(1, seed=1)))
    clean = images(4)
    found = table("generalization-gap", evaluation(empirical(learned), clean, learned))
    error = (clean - images(1, seed=1)).square().flatten(1).mean(1).double()
    for sigma in SIGMAS:
        # What it returns on its own image has no error: 140 dB, by the definition of the PSNR here.
        assert found["train", sigma] == pytest.approx([140.0] * 4)
        assert found["", sigma] == pytest.approx((140 + 10 * error.log10()).tolist(), abs=1e-4)


def test_a_denoiser_that_ignores_its_training_images_has_no_gap_but_chance():
    # The identity: its error is the noise, whatever the image, and the mean of 64 squares has a relative standard
    # deviation of sqrt(2/64), so 0.77 dB in one image.
    learned = TrainingData(GivenImages(images(200, seed=1)))
    found = table("generalization-gap", evaluation(scaled(1.0), images(200), learned))
    for sigma in SIGMAS:
        gap = torch.as_tensor(found["", sigma])
        assert abs(float(gap.mean())) < 4 * 0.77 * math.sqrt(2 / 200)
        assert float(gap.std()) == pytest.approx(0.77, rel=0.2)


def test_the_variance_of_two_scalings_is_that_of_the_noisy_image():
    found = evaluation(scaled(0.9), partner=scaled(0.6))
    values = table("model-variance", found)
    for sigma in SIGMAS:
        noisy = found.noisy(sigma).double()
        square = 0.09 * noisy.square().flatten(1).mean(1)
        assert values["square", sigma] == pytest.approx(square.tolist(), rel=1e-5)
        assert values["", sigma] == pytest.approx((10 * square.log10()).tolist(), abs=1e-4)
        errors = [(factor * noisy - found.clean).square().flatten(1).mean(1) for factor in (0.9, 0.6)]
        relative = 10 * (square / (sum(errors) / 2)).log10()
        assert values["relative", sigma] == pytest.approx(relative.tolist(), abs=1e-4)


def test_the_same_function_has_no_variance_and_agrees():
    found = evaluation(scaled(0.5), partner=scaled(0.5))
    assert all(value == -140 for value in table("model-variance", found)["", 0.1])
    agreement = table("score-agreement", found)
    assert agreement["", 0.1] == pytest.approx([1.0] * 6)
    assert agreement["errors", 0.1] == pytest.approx([1.0] * 6)


def test_scores_may_agree_where_errors_do_not():
    # Errors of opposite sign, much smaller than the noise that both remove.
    clean = images()

    class Errs(Filters):
        def denoise(self, noisy, sigma, truth):
            return clean + self.offset

    found = evaluation(Errs(EYE[None], 0.01), clean, partner=Errs(EYE[None], -0.01))
    values = table("score-agreement", found)
    assert values["errors", 0.5] == pytest.approx([-1.0] * 6, abs=1e-4)
    assert min(values["", 0.5]) > 0.99


@pytest.mark.parametrize(
    "name", ["model-variance", "score-agreement", "pair-cosine", "biased-generalization", "own-half"]
)
def test_without_a_partner_there_is_no_value(name):
    assert list(create("metric", name).score(evaluation(scaled(1.0))).value) == []


def test_the_distance_from_what_it_is_is_nought():
    learned = TrainingData(GivenImages(images(5, seed=1)))
    values = table("distance[empirical-bayes]", evaluation(empirical(learned), learned=learned))
    assert values["", 0.5] == pytest.approx([0.0] * 6, abs=1e-6)
    assert values["r2", 0.5] == pytest.approx([1.0] * 6)


def test_a_shift_is_a_distance():
    learned = TrainingData(GivenImages(images(5, seed=1)))

    class Shifted(Filters):
        def denoise(self, noisy, sigma, truth):
            return empirical(learned).denoise(noisy, sigma, truth) + 0.03

    values = table("distance[empirical-bayes]", evaluation(Shifted(EYE[None]), learned=learned))
    assert values["", 0.5] == pytest.approx([0.03] * 6, rel=1e-4)
    assert values["db", 0.5] == pytest.approx([20 * math.log10(0.03)] * 6, abs=1e-3)


def test_the_reference_learns_from_what_the_denoiser_learned_from():
    # A denoiser that returns the third of five training images is at no distance from one that memorizes it alone.
    given = images(5, seed=1)
    third = Filters(0 * EYE[None], given[2:3])
    learned = TrainingData(GivenImages(given[2:3]))
    assert table("distance[empirical-bayes]", evaluation(third, learned=learned))["", 0.5] == pytest.approx([0] * 6)
    others = TrainingData(GivenImages(given[:2]))
    assert min(table("distance[empirical-bayes]", evaluation(third, learned=others))["", 0.5]) > 0.1


def test_the_reference_is_asked_as_denoisers_are(monkeypatch):
    class Random(Filters):
        """Subtracts one random number, always anew, from all images of a call."""

        def denoise(self, noisy, sigma, truth):
            assert truth.clean.isnan().all()
            return noisy - torch.rand(())

    class Flat(Filters):
        def denoise(self, noisy, sigma, truth):
            return noisy.mean((1, 2, 3), keepdim=True)

    reference = Random(EYE[None])
    learned = TrainingData(GivenImages(images(5, seed=1)))
    monkeypatch.setattr("gahbench_plugins.metrics.distance.fitted_alike", lambda *given: reference)
    # Under the same seeds the numbers that it draws are those that are drawn where it is an entrant.
    values = table("distance[empirical-bayes]", evaluation(Random(EYE[None]), learned=learned))
    assert values["", 0.5] == pytest.approx([0.0] * 6, abs=1e-6)
    # Images are given to it in the batches that entrants are given.
    monkeypatch.setattr("gahbench.devices.batches.BATCH_PIXELS", 64)
    apart = table("distance[empirical-bayes]", evaluation(scaled(1.0), learned=learned))["", 0.5]
    assert len({round(float(value), 4) for value in apart}) == 6
    reference = Flat(EYE[None])
    with pytest.raises(ValueError, match=r"returned shape \(1, 1, 1, 1\) for images of \(1, 1, 8, 8\)"):
        table("distance[empirical-bayes]", evaluation(scaled(1.0), learned=learned))


def test_no_distance_from_what_sees_the_clean_image():
    with pytest.raises(
        ParameterError, match=r"to='oracle-shrink\[sym4\]' is of kind 'oracle'.*classical, trained and optimal"
    ):
        create("metric", "distance[oracle-shrink]")


def course(losses, copies, steps=(1, 10, 100, 1000)):
    """Return the values where the test losses are given, and which share of samples is copies, by snapshot."""
    clean, halves = images(8), (images(20, 1), images(20, 2))
    fresh = images(32, 3)

    class At(Filters):
        def __init__(self, error):
            super().__init__(EYE[None])
            self.error = error

        def denoise(self, noisy, sigma, truth):
            return clean + sigma * self.error

    def draw(share, half):
        count = round(32 * share)
        return samples(torch.cat([half.repeat(2, 1, 1, 1)[:count] + 1e-3, fresh[count:]]))

    def follow(half):
        found = Evaluation(scaled(1.0), clean, list(SIGMAS), learned_from=TrainingData(GivenImages(half)))

        def load(loss, share):
            made = At(math.sqrt(loss))
            made.drawn = draw(share, half)
            return made

        found.snapshots = [
            (step, lambda loss=loss, share=share: load(loss, share))
            for step, loss, share in zip(steps, losses, copies, strict=True)
        ]
        return found

    found = follow(halves[0])
    found.partner = follow(halves[1])
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Evaluation, "samples", property(lambda self: self.denoiser.drawn))
        scores = create("metric", "biased-generalization").score(found)
    return dict(zip(scores.part, scores.value, strict=True)), scores.arrays


def test_copies_before_the_least_loss_are_biased_generalization():
    values, arrays = course([1.0, 0.3, 0.25, 0.2], [0.0, 0.8, 0.9, 1.0])
    assert values == {"": pytest.approx(math.log2(100)), "loss-step": 1000, "onset-step": 10, "last": 1}
    assert arrays["loss"].tolist() == pytest.approx([1.0, 0.3, 0.25, 0.2], rel=1e-4)
    # Fresh samples that both draw are nearest to one of the halves: once to the own, once to the other.
    assert arrays["pi"].tolist() == pytest.approx([0.5, 0.5 + 13 / 32, 0.5 + 14.5 / 32, 1], abs=1e-6)
    assert (arrays["pi_low"] <= arrays["pi"]).all()
    assert arrays["steps"].tolist() == [1, 10, 100, 1000]


def test_copies_after_the_least_loss_are_overfitting():
    assert course([1.0, 0.2, 0.25, 0.9], [0.0, 0.0, 0.8, 1.0])[0][""] == pytest.approx(-math.log2(10))


def test_a_share_that_comes_back_to_chance_has_no_onset_before():
    assert course([1.0, 0.3, 0.25, 0.2], [0.0, 0.9, 0.0, 0.9])[0]["onset-step"] == 1000
    values, _ = course([1.0, 0.3, 0.25, 0.2], [0.0, 0.9, 0.9, 0.0])
    assert values == {"loss-step": 1000, "last": 0.5}
