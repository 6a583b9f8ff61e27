"""Measurements: images of one shape or several, and the facts that a metric may see."""

import numpy as np
import pytest
import torch

import gahbench
from gahbench import Scores
from gahbench._util.noise import evaluation_noise
from gahbench.contracts.metrics import Metric
from gahbench.evaluation.measurement import Measurement, Subject
from gahbench_plugins.datasets.whole import Whole
from gahbench_plugins.metrics.psnr import Psnr

SIGMAS = [0.1, 0.2]
SIZES = [(17, 23), (16, 16), (23, 17), (16, 16), (17, 23)]


@pytest.fixture
def whole(tmp_path):
    draw = np.random.default_rng(0)
    np.savez(tmp_path / "some.npz", **{f"p{k}": draw.integers(0, 256, size, np.uint8) for k, size in enumerate(SIZES)})
    return Whole(str(tmp_path / "some.npz"))


def measurement(dataset, count=5, reference="bayes-shrink", **more):
    request = {"split": "test", "images": count, "sigmas": SIGMAS, "noise_seed": 0, **more}
    return Measurement(dataset, Subject(lambda: gahbench.create("reference", reference)), request, torch.device("cpu"))


def table(scores):
    return {(sigma, image): value for value, sigma, image in zip(scores.value, scores.sigma, scores.image, strict=True)}


def test_each_image_has_its_own_score_and_noise(whole):
    scores = measurement(whole).score(Psnr())
    # Arrays hold images of the first shape.
    assert scores.arrays["clean"].shape == (3, 1, 17, 23)
    values = table(scores)
    values_of_three = table(measurement(whole, 3).score(Psnr()))
    assert values_of_three == {key: value for key, value in values.items() if key[1] < 3}
    assert set(values) == {(sigma, image) for sigma in SIGMAS for image in range(5)}
    # The noise depends on the shape of an image, and on its index among images of this shape.
    first, second = measurement(whole).evaluations
    for evaluation, shape in ((first, (1, 17, 23)), (second, (1, 16, 16))):
        noise = evaluation_noise(len(evaluation.clean), shape, 0.1, 0, "test", "x".join(map(str, shape)), block=1)
        assert torch.equal(evaluation.noisy(0.1), evaluation.clean + noise)
        assert torch.equal(evaluation.with_denoiser(evaluation.denoiser).noisy(0.1), evaluation.noisy(0.1))
        indices = [index for index, size in enumerate(SIZES) if tuple(sorted(size)) == shape[1:]]
        errors = (evaluation.denoised(0.1) - evaluation.clean).double().square().mean((1, 2, 3))
        assert [values[0.1, index] for index in indices] == pytest.approx((-10 * errors.log10()).tolist())
    assert len({round(value, 6) for value in values.values()}) == 10
    assert not torch.equal((first.noisy(0.1) - first.clean)[0, 0, 0, :16], (second.noisy(0.1) - second.clean)[0, 0, 0])


class OneValue(Metric):
    """A metric with one value for all images."""

    def score(self, evaluation):
        return Scores([1.0])


@pytest.mark.parametrize(
    ("metric", "message"),
    [
        (OneValue(), "one value for all images, and these images have several shapes; accepted: .* psnr and ssim"),
    ],
)
def test_metrics_that_do_not_score_each_image_separately_are_refused(whole, metric, message):
    with pytest.raises(ValueError, match=message):
        measurement(whole).score(metric)


# --- Facts that a metric may see ---


def measurement_with_partner():
    measured = measurement(gahbench.create("dataset", "discs", size=8), 3, "identity", sampling={"count": 5})
    measured.partner = lambda: Subject(
        lambda: gahbench.create("reference", "gaussian-blur"), {"split": "B", "count": 4}
    )
    return measured


def metric_that_sees(see, *needs):
    class Sees(gahbench.Metric):
        def score(self, evaluation):
            return gahbench.Scores([float(see(evaluation))])

    metric = Sees()
    metric.needs = frozenset(needs)
    return metric


def value_seen(measured, see, *needs):
    return measured.score(metric_that_sees(see, *needs)).value[0]


@pytest.mark.parametrize(
    ("see", "need"),
    [
        (lambda evaluation: evaluation.partner is not None, "partner"),
        (lambda evaluation: evaluation.learned_from is not None, "training"),
        (lambda evaluation: evaluation.sampling.count == 5, "samples"),
    ],
)
def test_only_metrics_that_declare_a_need_see_the_facts(see, need):
    measured = measurement_with_partner()
    assert [value_seen(measured, see), value_seen(measured, see, need), value_seen(measured, see)] == [0, 1, 0]


def test_jacobians_and_samples_are_refused_to_metrics_that_do_not_need_them():
    measured = measurement_with_partner()
    for see in (
        lambda evaluation: evaluation.local_filters.trace(0.1).value[0],
        lambda evaluation: evaluation.with_denoiser(evaluation.denoiser).local_filters.trace(0.1).value[0],
        lambda evaluation: evaluation.select(0).local_filters.trace(0.1).value[0],
    ):
        assert value_seen(measured, see, "jacobian") == pytest.approx(64)
        with pytest.raises(ValueError, match=r'needs = frozenset\(\{"jacobian"\}\)'):
            value_seen(measured, see)
    with pytest.raises(ValueError, match=r'needs = frozenset\(\{"samples"\}\)'):
        value_seen(measured, lambda evaluation: len(evaluation.samples))


def test_results_are_shared_by_the_metrics_of_an_entrant():
    measured = measurement_with_partner()
    calls = []

    def keep(evaluation):
        calls.append((evaluation.denoised(0.1), evaluation.local_filters))
        return 0

    for _ in range(2):
        value_seen(measured, keep, "jacobian")
    (first_images, first_filters), (second_images, second_filters) = calls
    assert first_images is second_images
    assert first_filters is second_filters
