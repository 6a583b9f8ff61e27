"""Measurements and evaluations: images of several shapes, recorded noise, and the facts that a metric may see."""

import numpy as np
import pytest
import torch
import yaml

import gahbench
from gahbench._util.errors import GahbenchError
from gahbench._util.noise import evaluation_noise
from gahbench.contracts.datasets import Captured, captured_level
from gahbench.contracts.references import Reference
from gahbench.contracts.truth import DenoiserKind, TrainingData
from gahbench.evaluation import Evaluation
from gahbench.evaluation.measurement import Measurement, Subject
from gahbench.networks import Trained
from gahbench.planning.plan import make_plan
from gahbench.planning.suite import load_suite
from gahbench.registry.registry import Registry
from gahbench_plugins.datasets.photos import Whole
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


def test_metrics_that_do_not_score_each_image_separately_are_refused(whole):
    with pytest.raises(ValueError, match="one value for all images"):
        measurement(whole).score(metric_that_sees(lambda evaluation: 1))


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


class Recorder(Reference):
    """A denoiser that returns its noise level in every pixel."""

    kind: DenoiserKind = "classical"

    def denoise(self, noisy, sigma, truth):
        return torch.full_like(noisy, sigma)


@pytest.fixture
def clean():
    return gahbench.create("dataset", "faces[size=16]").images("test", 6)


@pytest.fixture
def captured(clean):
    sigma = torch.tensor([0.1, 0.3, 0.1, 0.2, 0.4, 0.1], dtype=torch.float64)
    noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(0)) * sigma.view(-1, 1, 1, 1).float()
    return Captured(clean + noise, sigma, torch.zeros_like(sigma))


def test_each_image_is_denoised_at_its_own_level_in_any_batch(clean, captured):
    evaluation = Evaluation(Recorder(), clean, [0.2], captured=captured)
    for size in (1, 4, 6):
        evaluation.batches.size = size
        evaluation._denoised.clear()
        assert torch.allclose(evaluation.denoised(0.2).mean((1, 2, 3)).double(), captured.sigma)
    assert torch.equal(evaluation.noisy(0.2), captured.noisy)
    one = evaluation.select(4)
    assert torch.equal(one.noisy(0.2), captured.noisy[4:5])
    assert torch.allclose(one.denoised(0.2), torch.tensor(0.4))


@pytest.fixture
def pairs(tmp_path, clean, captured):
    np.savez(tmp_path / "pairs.npz", clean=clean[:, 0], noisy=captured.noisy[:, 0])
    return f"captures[path={tmp_path / 'pairs.npz'}]"


def plan(tmp_path, dataset, **scoring):
    content = {"name": "mine", "datasets": [dataset], "entrants": ["identity", "bayes-shrink[haar]"]}
    content["scoring"] = {"sigmas": "measured", "images": 6, **scoring}
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(content))
    return make_plan(load_suite(tmp_path / "mine.yaml", Registry()))


def test_the_level_of_scores_is_the_geometric_mean(tmp_path, pairs, captured):
    dataset = gahbench.create("dataset", pairs)
    level = captured_level(dataset, 6)
    assert level == pytest.approx(float(dataset.captured(6).sigma.log().mean().exp()), rel=1e-3)
    units = plan(tmp_path, pairs).units
    assert all(unit.payload["sigmas"] == [level] and unit.payload["captured"] for unit in units)


@pytest.mark.parametrize(
    ("scoring", "problem"),
    [
        ({"splits": ["test", "train"], "images": 1}, "images=1 requested from the train split, which holds 0"),
        ({"metrics": ["psnr", "alignment[haar]"]}, "not defined under recorded noise"),
    ],
)
def test_what_recorded_noise_cannot_measure_is_refused_before_a_run(tmp_path, pairs, scoring, problem):
    with pytest.raises(GahbenchError, match=problem):
        plan(tmp_path, pairs, **scoring)


DATASET = gahbench.create("dataset", "c-alpha[size=12]")
SIGMA = 0.1


def evaluation(denoiser, start, count, **options):
    return Evaluation(denoiser, DATASET.images("test", count, start), [SIGMA], dataset=DATASET, start=start, **options)


@pytest.mark.parametrize("name", ["lower-bound", "oracle-shrink[haar]"])
def test_later_images_and_single_images_have_the_values_that_they_have_among_all_images(name):
    reference = gahbench.create("reference", name)
    reference.fit(TrainingData(DATASET))
    whole, later = evaluation(reference, 0, 9), evaluation(reference, 2, 7)
    for part, chosen in ((later, slice(2, 9)), *((whole.select(index), slice(index, index + 1)) for index in (0, 8))):
        assert (part.truth.start, part.truth.split) == (chosen.start, "test")
        for draw in (0, 1):
            assert torch.equal(part.noisy(SIGMA, draw), whole.noisy(SIGMA, draw)[chosen])
        torch.testing.assert_close(part.denoised(SIGMA), whole.denoised(SIGMA)[chosen])
        torch.testing.assert_close(part.risk(SIGMA), whole.risk(SIGMA)[chosen])
        if part.local_filters.matrices(SIGMA) is not None:
            torch.testing.assert_close(part.local_filters.matrices(SIGMA), whole.local_filters.matrices(SIGMA)[chosen])
    assert torch.equal(later.with_denoiser(reference).noisy(SIGMA), later.noisy(SIGMA))
    assert whole.denoised(SIGMA) is whole.denoised(SIGMA)


def test_matrices_in_bfloat16_agree_with_float32():
    torch.manual_seed(0)
    network = gahbench.create("architecture", "bf-cnn[width=8,layers=4]", shape=DATASET.shape)
    # Scale the weights, since untrained networks hardly change an image.
    for parameter in network.parameters():
        parameter.data.mul_(2.5)
    clean = gahbench.create("dataset", "discs[size=12]").images("test", 26)
    exact, fast = (
        Evaluation(Trained(network), clean, [0.2], jacobian_precision=precision).local_filters.matrices(0.2).double()
        for precision in ("float32", "bfloat16")
    )
    differences = (exact - fast).flatten(1).norm(dim=1) / exact.flatten(1).norm(dim=1)
    assert 0 < float(differences.max()) <= 0.01
