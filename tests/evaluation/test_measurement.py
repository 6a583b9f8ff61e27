"""Measurements: images of one shape or several, and the facts that a metric may see."""

import numpy as np
import pytest
import torch

import gahbench
from gahbench import Scores
from gahbench._util.noise import evaluation_noise
from gahbench.contracts.metrics import Metric
from gahbench.contracts.unit import Unit
from gahbench.evaluation.evaluation import Evaluation
from gahbench.evaluation.measurement import Measurement, Subject
from gahbench.runs.row import collect_notes, run_checks
from gahbench_plugins.datasets.whole import Whole
from gahbench_plugins.metrics.psnr import Psnr
from gahbench_plugins.metrics.ssim import Ssim

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


@pytest.mark.parametrize("metric", [Psnr(), Ssim()])
def test_every_image_is_scored_as_in_a_dataset_of_its_shape(whole, metric):
    # One shape has a closed-form expected error, the other a measured error.
    values = table(measurement(whole, reference="oracle-threshold").score(metric))
    assert len(values) == 10
    assert all(values[SIGMAS[0], index] > values[SIGMAS[1], index] > 0 for index in range(5))
    if isinstance(metric, Psnr):
        alone = measurement(whole.of_shape((1, 16, 16)), 2, "oracle-threshold")
        noise = evaluation_noise(2, (1, 16, 16), 0.1, 0, "test")
        assert torch.equal(alone.evaluation.noisy(0.1), alone.evaluation.clean + noise)
        alone = alone.score(metric)
        assert [values[sigma, index] for sigma in SIGMAS for index in (1, 3)] == pytest.approx(alone.value)


class OneValue(Metric):
    """A metric with one value for all images."""

    def score(self, evaluation):
        return Scores([1.0])


class Pairs(Psnr):
    """A metric that compares images."""

    min_images = 2


class Narrow(Psnr):
    """A metric that accepts one shape."""

    def check(self, shape, sigmas):
        if shape != (1, 17, 23):
            raise ValueError(f"takes 17x23 alone, not {shape}")


@pytest.mark.parametrize(
    ("metric", "message"),
    [
        (OneValue(), "one value for all images, and these images have several shapes; accepted: .* psnr and ssim"),
        (Pairs(), "compares images, or needs images of one shape"),
        (Narrow(), "takes 17x23 alone"),
    ],
)
def test_metrics_that_do_not_score_each_image_separately_are_refused(whole, metric, message):
    with pytest.raises(ValueError, match=message):
        measurement(whole).score(metric)


class BasisWithNotes(gahbench.Basis):
    """A basis with a note on each shape."""

    def analysis(self, images):
        return images

    def synthesis(self, coefficients):
        return coefficients

    def bands(self, shape):
        return torch.zeros(shape, dtype=torch.int64)

    def notes(self, shape):
        return (f"of {shape[-1]} columns",)


def test_notes_of_a_basis_cover_all_shapes(whole):
    class WithBasis(gahbench.Reference):
        basis, notes = BasisWithNotes(), ("its own", "of 17 columns")

        def denoise(self, noisy, sigma, truth):
            return noisy

    def evaluations(*sides):
        return [Evaluation(WithBasis(), torch.zeros(count, 1, 8, side), SIGMAS) for count, side in sides]

    assert collect_notes(WithBasis(), evaluations((3, 17))) == ["its own", "of 17 columns"]
    two = ["its own", "of 17 columns", "of 16 columns"]
    assert collect_notes(WithBasis(), evaluations((1, 17), (3, 16))) == two
    many = collect_notes(WithBasis(), evaluations((1, 17), (1, 16), (1, 15), (1, 14), (1, 13)))
    assert many == [*two, "of 15 columns"]


class Random(gahbench.Reference):
    """A denoiser with random outputs."""

    def denoise(self, noisy, sigma, truth):
        return noisy + torch.randn(noisy.shape)


def test_checks_use_the_most_frequent_shape_and_say_so(whole):
    request = {"split": "test", "images": 5, "sigmas": SIGMAS, "noise_seed": 0}
    unit = Unit("score", "k", "d", "e", "reference", None, "test", "psnr", None, 1.0, {"metric": {"name": "psnr"}})
    facts = run_checks(unit, Measurement(whole, Subject(Random), request, torch.device("cpu")))
    assert facts["checks"]["checked"] == 3
    assert facts["flags"][0].startswith("not deterministic")


def test_a_run_has_one_table_for_all_shapes_and_a_refused_metric_has_no_values(whole, tmp_path):
    suite = tmp_path / "mixed.yaml"
    suite.write_text(
        f"""
name: mixed
datasets: [whole: {{path: {whole.path}}}]
entrants: [identity, oracle-threshold]
scoring: {{sigmas: [0.1], images: all, metrics: [psnr, ssim, adaptation]}}
"""
    )
    run = gahbench.run(suite, out=tmp_path / "out", engine="inline")
    for metric in ("psnr", "ssim"):
        rows = run.results.scores[run.results.scores["metric"] == metric]
        assert sorted(zip(rows["entrant"], map(int, rows["image"]), strict=True)) == [
            (entrant, image) for entrant in sorted(rows["entrant"].unique()) for image in range(5)
        ]
        assert rows["entrant"].nunique() == 2
    assert run.results.datasets["fingerprint"].tolist() == [whole.fingerprint()]
    notes = run.results.notes
    texts = notes.loc[notes["entrant"] == "oracle-threshold[sym4]", "note"].tolist()
    assert texts == ["images of 17x23 are extended to 20x24 by their mirror image"]
    failures = run.results.failures
    assert set(failures["metric"]) == {"adaptation"}
    assert failures["error"].str.contains("several shapes").all()


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
