"""Measurements: images of one shape or several, and the facts that a metric may see."""

import numpy as np
import pytest
import torch

import gahbench
from gahbench import Scores
from gahbench._util.noise import evaluation_noise
from gahbench.contracts.metrics import Metric
from gahbench.evaluation.evaluation import Evaluation
from gahbench.evaluation.measurement import Measurement, Subject
from gahbench.runs.worker import _audit_row, collect_notes
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


def test_each_image_has_its_score_and_noise_of_its_own(whole):
    scores = measurement(whole).score(Psnr())
    # Arrays are those of the first shape.
    assert scores.arrays["clean"].shape == (3, 1, 17, 23)
    found = table(scores)
    few = table(measurement(whole, 3).score(Psnr()))
    assert few == {key: value for key, value in found.items() if key[1] < 3}
    assert set(found) == {(sigma, image) for sigma in SIGMAS for image in range(5)}
    # The noise is named by the shape of an image, and its place among those of that shape.
    one, other = measurement(whole).evaluations
    for evaluation, shape in ((one, (1, 17, 23)), (other, (1, 16, 16))):
        noise = evaluation_noise(len(evaluation.clean), shape, 0.1, 0, "test", "x".join(map(str, shape)), block=1)
        assert torch.equal(evaluation.noisy(0.1), evaluation.clean + noise)
        assert torch.equal(evaluation.along(evaluation.denoiser).noisy(0.1), evaluation.noisy(0.1))
        places = [place for place, size in enumerate(SIZES) if tuple(sorted(size)) == shape[1:]]
        errors = (evaluation.denoised(0.1) - evaluation.clean).double().square().mean((1, 2, 3))
        assert [found[0.1, place] for place in places] == pytest.approx((-10 * errors.log10()).tolist())
    assert len({round(value, 6) for value in found.values()}) == 10
    assert not torch.equal((one.noisy(0.1) - one.clean)[0, 0, 0, :16], (other.noisy(0.1) - other.clean)[0, 0, 0])


@pytest.mark.parametrize("metric", [Psnr(), Ssim()])
def test_every_image_is_scored_as_in_the_set_of_its_shape(whole, metric):
    # Its expected error has no noise in it: in the one shape it is a closed form, in the other it is measured.
    found = table(measurement(whole, reference="oracle-threshold").score(metric))
    assert len(found) == 10
    assert all(found[SIGMAS[0], place] > found[SIGMAS[1], place] > 0 for place in range(5))
    if isinstance(metric, Psnr):
        alone = measurement(whole.of_shape((1, 16, 16)), 2, "oracle-threshold")
        noise = evaluation_noise(2, (1, 16, 16), 0.1, 0, "test")
        assert torch.equal(alone.evaluation.noisy(0.1), alone.evaluation.clean + noise)
        alone = alone.score(metric)
        assert [found[sigma, place] for sigma in SIGMAS for place in (1, 3)] == pytest.approx(alone.value)


class Whole_(Metric):
    """One value for all images."""

    def score(self, evaluation):
        return Scores([1.0])


class Pairs(Psnr):
    """Compares images."""

    min_images = 2


class Narrow(Psnr):
    """Takes one size."""

    def check(self, shape, sigmas):
        if shape != (1, 17, 23):
            raise ValueError(f"takes 17x23 alone, not {shape}")


@pytest.mark.parametrize(
    ("metric", "said"),
    [
        (Whole_(), "one value for all images, and these have several shapes; accepted: .* psnr and ssim"),
        (Pairs(), "compares images, or needs some of one shape"),
        (Narrow(), "takes 17x23 alone"),
    ],
)
def test_metrics_that_do_not_measure_each_image_alone_are_refused(whole, metric, said):
    with pytest.raises(ValueError, match=said):
        measurement(whole).score(metric)


class Basis_(gahbench.Basis):
    """A basis that has a note on each shape, which no transform is needed for."""

    def analysis(self, images):
        return images

    def synthesis(self, coefficients):
        return coefficients

    def bands(self, shape):
        return torch.zeros(shape, dtype=torch.int64)

    def notes(self, shape):
        return (f"of {shape[-1]} columns",)


def test_notes_of_a_basis_are_of_all_shapes(whole):
    class WithBasis(gahbench.Reference):
        basis, notes = Basis_(), ("its own", "of 17 columns")

        def denoise(self, noisy, sigma, truth):
            return noisy

    def on(*sides):
        return [Evaluation(WithBasis(), torch.zeros(count, 1, 8, side), SIGMAS) for count, side in sides]

    assert collect_notes(WithBasis(), on((3, 17))) == ["its own", "of 17 columns"]
    two = ["its own", "of 16 columns (3 of 4 images)", "of 17 columns (1 of 4 images)"]
    assert collect_notes(WithBasis(), on((1, 17), (3, 16))) == two
    many = collect_notes(WithBasis(), on((1, 17), (1, 16), (1, 15), (1, 14), (1, 13)))
    assert many[-1] == "images of 2 other shapes are treated likewise"
    assert len(many) == 5


class Random(gahbench.Reference):
    """Draws anew each time."""

    def denoise(self, noisy, sigma, truth):
        return noisy + torch.randn(noisy.shape)


def test_checks_are_of_the_shape_of_most_images_and_say_so(whole):
    request = {"split": "test", "images": 5, "sigmas": SIGMAS, "noise_seed": 0}
    found = _audit_row(Measurement(whole, Subject(Random), request, torch.device("cpu")))
    assert found["checks"]["checked"] == 3
    assert found["marks"][0].startswith("not deterministic")
    assert all(mark.endswith("(of 3 of 5 images)") for mark in found["marks"])
    alone = _audit_row(
        Measurement(whole.of_shape((1, 16, 16)), Subject(Random), request | {"images": 2}, torch.device("cpu"))
    )
    assert not alone["marks"][0].endswith("images)")


def test_a_run_has_one_table_for_the_set_and_a_refused_metric_costs_its_values(whole, tmp_path):
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
        of = run.results.scores[run.results.scores["metric"] == metric]
        assert sorted(zip(of["entrant"], map(int, of["image"]), strict=True)) == [
            (entrant, image) for entrant in sorted(of["entrant"].unique()) for image in range(5)
        ]
        assert of["entrant"].nunique() == 2
    assert run.results.datasets["fingerprint"].tolist() == [whole.fingerprint()]
    notes = run.results.notes
    said = notes.loc[notes["entrant"] == "oracle-threshold[sym4]", "note"].tolist()
    assert said == ["images of 17x23 are continued to 20x24 by their mirror image (3 of 5 images)"]
    failures = run.results.failures
    assert set(failures["metric"]) == {"adaptation"}
    assert failures["error"].str.contains("several shapes").all()


# --- Facts that a metric may see ---


def with_partner():
    found = measurement(gahbench.create("dataset", "discs", size=8), 3, "identity", sampling={"count": 5})
    found.partner = lambda: Subject(lambda: gahbench.create("reference", "gaussian-blur"), {"split": "B", "count": 4})
    return found


def seeing(see, *needs):
    class Sees(gahbench.Metric):
        def score(self, evaluation):
            return gahbench.Scores([float(see(evaluation))])

    found = Sees()
    found.needs = frozenset(needs)
    return found


def seen(measured, see, *needs):
    return measured.score(seeing(see, *needs)).value[0]


@pytest.mark.parametrize(
    ("see", "need"),
    [
        (lambda evaluation: evaluation.partner is not None, "partner"),
        (lambda evaluation: evaluation.learned_from is not None, "training"),
        (lambda evaluation: evaluation.sampling.count == 5, "samples"),
    ],
)
def test_facts_are_seen_by_metrics_that_need_them_alone(see, need):
    measured = with_partner()
    assert [seen(measured, see), seen(measured, see, need), seen(measured, see)] == [0, 1, 0]


def test_jacobians_and_samples_are_refused_to_metrics_that_do_not_need_them():
    measured = with_partner()
    for see in (
        lambda evaluation: evaluation.local.trace(0.1).value[0],
        lambda evaluation: evaluation.along(evaluation.denoiser).local.trace(0.1).value[0],
        lambda evaluation: evaluation.only(0).local.trace(0.1).value[0],
    ):
        assert seen(measured, see, "jacobian") == pytest.approx(64)
        with pytest.raises(ValueError, match=r'needs = frozenset\(\{"jacobian"\}\)'):
            seen(measured, see)
    with pytest.raises(ValueError, match=r'needs = frozenset\(\{"samples"\}\)'):
        seen(measured, lambda evaluation: len(evaluation.samples))


def test_results_are_shared_by_the_metrics_of_an_entrant():
    measured = with_partner()
    found = []

    def keep(evaluation):
        found.append((evaluation.denoised(0.1), evaluation.local))
        return 0

    for _ in range(2):
        seen(measured, keep, "jacobian")
    (one, first), (other, second) = found
    assert one is other
    assert first is second
