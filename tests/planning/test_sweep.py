"""Rows of a board, and suites that train on several numbers of images, and on two halves of the training set."""

import functools
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file
from tiny_runs import UNET, render_no_figures, run

import gahbench
from gahbench._util.errors import ParameterError
from gahbench.board.generalization import find_sweeps, sweep_curves
from gahbench.board.results import load_results
from gahbench.contracts.row_labels import base_label, number_of_images
from gahbench.networks.initialisation import build_network
from gahbench.planning.plan import make_plan
from gahbench.planning.suite import load_suite
from gahbench.planning.units import rows
from gahbench.training.recipe import Training

pytestmark = pytest.mark.usefixtures("figures_not_rendered")

SWEEP = """\
name: sweep
datasets:
  - c-alpha: {alpha: 2, size: 8}
entrants:
  - unet: {width: 2, levels: 1}
  - empirical-bayes
  - gaussian-blur
training: {steps: 9, batch_size: 4, compile: never, train_images: [1, 3], halves: true, snapshots: 3}
scoring:
  sigmas: [0.1, 0.3]
  images: 4
  splits: [test, train]
  metrics: [psnr, model-variance, generalization-gap, biased-generalization, memorization, pair-cosine]
  sampling: {count: 3, step: 0.2, beta: 0.5}
"""
METRICS = "psnr, model-variance, generalization-gap, biased-generalization, memorization, pair-cosine"


@pytest.fixture
def plan_of(write_suite, builtin):
    def plan(*changes):
        return make_plan(load_suite(write_suite(*changes, text=SWEEP, name="sweep.yaml"), builtin))

    return plan


def test_metrics_of_pairs_need_both_fits(plan_of):
    plan = plan_of()
    fits = {(unit.entrant, unit.split): unit.key for unit in plan.fits}
    pairs = ("model-variance", "biased-generalization", "pair-cosine")
    for unit in plan.units:
        if unit.kind == "score" and unit.entrant.startswith(UNET):
            assert unit.requires == fits[unit.entrant, "A"]
            assert unit.partner == (fits[unit.entrant, "B"] if unit.metric in pairs else None)


def test_a_number_of_images_has_the_same_fit_in_a_sweep_and_alone(plan_of):
    swept_keys = {unit.entrant: unit.key for unit in plan_of().fits if unit.split == "A"}
    (alone,) = [unit.key for unit in plan_of(("train_images: [1, 3]", "train_images: 3")).fits if unit.split == "A"]
    assert alone == swept_keys[f"{UNET} N=3"]
    one_half = plan_of(("train_images: [1, 3], halves: true", "train_images: 3, split: A"), (", model-variance", ""),
                       (", biased-generalization", ""), (", pair-cosine", ""))  # fmt: skip
    assert [unit.key for unit in one_half.fits] == [alone]


def test_budgets_may_grow_with_the_number_of_images(plan_of):
    growing = plan_of(("steps: 9", "steps: {per_image: 30, minimum: 60}"))
    fixed = plan_of()
    for growing_fit, fixed_fit in zip(growing.fits, fixed.fits, strict=True):
        steps = 60 if growing_fit.entrant.endswith("N=1") else 90
        assert growing_fit.work == pytest.approx(steps / 9 * fixed_fit.work)
        assert growing_fit.key != fixed_fit.key
    # All numbers of images share the same training, so that folders of other numbers can be merged.
    assert len({str(unit.document["training"]["steps"]) for unit in growing.fits}) == 1
    with pytest.raises(ParameterError, match="this dataset is endless; accepted: a number for train_images"):
        plan_of(("steps: 9", "steps: {per_image: 30}"), ("train_images: [1, 3], ", ""), ("biased-generalization, ", ""))


def test_a_failing_partner_affects_only_metrics_of_pairs(write_suite, write_plugin, tmp_path):
    # An image of half B makes the loss NaN.
    level = float(gahbench.create("dataset", "c-alpha", alpha=2.0, size=8).images("B", 1).mean())
    body = f"return noisy - self.noise(noisy) / ((noisy.mean((1, 2, 3), keepdim=True) - {level}).abs() > 0.01).float()"
    changes = [
        *(("  - empirical-bayes\n  - gaussian-blur\n", ""), ("unet: {width: 2, levels: 1}", "mine"), ("[1, 3]", "1")),
        *(("snapshots: 3", "sigma_max: 0.02"), (METRICS, "psnr, model-variance"), ("[0.1, 0.3]", "[0.01]")),
    ]
    results = run(write_suite(*changes, text=SWEEP), tmp_path / "out", plugins=[write_plugin("mine", body)]).results
    assert results.failures["stage"].tolist() == ["fit"]
    assert set(results.scores["metric"]) == {"psnr"}


def test_partners_start_from_the_same_weights_or_not():
    def weights(split, **fields):
        training = Training.model_validate({"steps": 5, "split": split, **fields})
        unet = functools.partial(gahbench.create, "architecture", "unet", width=2, levels=1)
        network = build_network(unet, 0, training.initialisation, training.weights_stream)
        return torch.cat([value.flatten() for value in network.parameters()])

    assert torch.equal(weights("A"), weights("B"))
    assert not torch.equal(weights("A"), weights("B", same_initialisation=False))
    assert torch.equal(weights("A"), weights("A", same_initialisation=False))


@pytest.fixture(scope="module")
def outcome(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sweep")
    (folder / "sweep.yaml").write_text(SWEEP)
    with pytest.MonkeyPatch.context() as patch:
        render_no_figures(patch)
        outcome = gahbench.run(folder / "sweep.yaml", out=folder / "out", engine="inline")
    assert outcome.failed == 0
    return outcome


def values(outcome, entrant, metric, split="test"):
    scores = outcome.results.scores
    rows = scores[(scores["entrant"] == entrant) & (scores["metric"] == metric) & (scores["split"] == split)]
    return rows["value"].tolist()


def test_networks_are_scored_on_the_images_that_they_learned_from(outcome):
    # A denoiser that memorizes its only training image returns it without error.
    assert values(outcome, "empirical-bayes N=1", "psnr", "train") == pytest.approx([140.0] * 2)
    assert max(values(outcome, "empirical-bayes N=1", "psnr")) < 40
    # Three training images at two noise levels; rows without a number of images are scored on four.
    assert len(values(outcome, "empirical-bayes N=3", "psnr", "train")) == 6
    assert len(values(outcome, "gaussian-blur", "psnr", "train")) == 8
    assert values(outcome, "empirical-bayes N=1", "memorization") == [1, 1, 1]


def test_the_variance_of_memorizing_denoisers_is_the_distance_of_their_images(outcome):
    dataset = gahbench.create("dataset", "c-alpha", alpha=2.0, size=8)
    first, second = (dataset.images(half, 1) for half in ("A", "B"))
    square = float((first - second).double().square().mean())
    assert values(outcome, "empirical-bayes N=1", "model-variance.square") == pytest.approx([square] * 8, rel=1e-5)


def test_snapshots_are_kept_with_the_fit(outcome):
    folders = list((outcome.folder / "units").glob("fit-*"))
    assert len(folders) == 4
    for folder in folders:
        names = sorted(path.stem for path in folder.glob("*.safetensors"))
        assert names == ["snapshot-1", "snapshot-3", "snapshot-9", "weights"]
        last, kept = (load_file(folder / name) for name in ("snapshot-9.safetensors", "weights.safetensors"))
        assert all(torch.equal(last[name], kept[name]) for name in kept)


def test_a_sweep_gives_curves_and_the_stored_samples_of_each_number(outcome):
    from gahbench.report.pictures import stored_samples

    results = load_results(outcome.folder)
    pairs = find_sweeps(results)
    assert [entrant for _, entrant in pairs] == [UNET, "empirical-bayes"]
    curves = sweep_curves(results, *pairs[1], "psnr", "train")
    assert list(curves) == [1, 3]
    assert curves[1][0.1].value == pytest.approx(140)
    sets = stored_samples(outcome.folder, "pair-cosine")[pairs[1]]
    assert list(sets) == [1, 3]
    # Samples of a memorizing denoiser are its only training image.
    assert sets[1][""]["closest_cosine"] == pytest.approx([1.0] * 3, abs=1e-4)


def test_networks_trained_on_endless_images_have_no_metrics_of_training_images(write_suite, tmp_path):
    changes = ("train_images: [1, 3], halves: true, snapshots: 3", "train_images: all"), ("  - empirical-bayes\n", "")
    file = write_suite(*changes, (METRICS, "psnr, generalization-gap, memorization, sampling"), text=SWEEP)
    outcome = run(file, tmp_path / "out")
    assert outcome.failed == 0
    measured = outcome.results.scores[outcome.results.scores["entrant"] == UNET]["metric"].unique()
    assert {name.partition(".")[0] for name in measured} == {"psnr", "sampling"}


HALVES = "halves: true, train_images: 3"


@pytest.fixture
def row(write_suite, builtin):
    """Return the first row of the tiny suite with an entrant and fields of the training."""

    def first_row(entrant="unet", training="compile: never"):
        file = write_suite(("unet: {width: 2, levels: 1}", entrant), ("compile: never", training))
        return next(rows(load_suite(file, builtin)))

    return first_row


def metric(*needs, min_images=1):
    return SimpleNamespace(needs=frozenset(needs), min_images=min_images)


@given(st.text(st.characters(exclude_categories=["C", "Z"], include_characters=" ")), st.integers(1, 10**6))
def test_labels_of_rows_are_parsed(label, count):
    assert base_label(f"{label} N={count}") == label
    assert number_of_images(f"{label} N={count}") == count
    assert base_label(f"{label} N=all") == label
    assert number_of_images(f"{label} N=all") is None
    # The suffix is not recognised within parameters.
    bracketed = f"net['{label} N={count}']"
    assert (base_label(bracketed), number_of_images(bracketed)) == (bracketed, None)
    assert number_of_images(str(count)) is None


@pytest.mark.parametrize(
    ("training", "label", "learned_from", "partner", "scored_on"),
    [
        # Outside a sweep, a network is scored on the suite's number of images of the training split.
        ("train_images: 3", "unet", ("train", 3), None, ("train", 4)),
        ("train_images: 3, split: B", "unet", ("B", 3), None, ("B", 3)),
        ("train_images: [3, 5]", "unet N=3", ("train", 3), None, ("train", 3)),
        ("train_images: [5, 3]", "unet N=5", ("train", 5), None, ("train", 4)),
        ("train_images: [all, 3]", "unet N=all", ("train", None), None, ("train", 4)),
        (HALVES, "unet", ("A", 3), ("B", 3), ("A", 3)),
    ],
)
def test_rows_and_partners_learn_from_different_images_and_are_scored_on_them(
    row, training, label, learned_from, partner, scored_on
):
    trained = row(training=training)
    assert trained.label == label.replace("unet", "unet[width=64]")
    assert tuple(trained.learned_from().values()) == learned_from
    assert trained.learned_from(partner=True) == (partner and dict(zip(("split", "count"), partner, strict=True)))
    assert [member.split for member in trained.trainings] == [images[0] for images in (learned_from, partner) if images]
    assert [trained.scored_on(split, 4) for split in ("train", "test", "validation")] == [
        scored_on, ("test", 4), ("validation", 4)
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("entrant", "training", "needs", "is_measured"),
    [
        ("unet", "compile: never", ["partner"], False),
        ("empirical-bayes", HALVES, ["partner"], True),
        ("gaussian-blur", HALVES, ["partner"], False),
        ("unet", "compile: never", ["samples"], True),
        ("optimal", HALVES, ["samples"], True),
        ("oracle-shrink[haar]", HALVES, ["samples"], False),
        ("unet", "snapshots: 2", ["snapshots"], True),
        ("empirical-bayes", f"snapshots: 2, {HALVES}", ["snapshots"], False),
        ("gaussian-blur", HALVES, ["training", "jacobian"], True),
        ("unet", "snapshots: 2", ["snapshots", "partner"], False),
    ],
)
def test_a_metric_applies_to_rows_that_meet_its_needs(row, entrant, training, needs, is_measured):
    assert row(entrant, training).is_measured_by(metric(*needs), "test", 4) == is_measured


def test_a_metric_applies_to_the_test_split_or_rows_with_enough_images(row):
    swept = row(training="train_images: [3, 4]")
    splits = ["train", "validation", "A", "test"]
    assert [swept.is_measured_by(metric("test"), split, 4) for split in splits] == [False, False, False, True]
    measured = [
        swept.is_measured_by(metric(min_images=count), split, 4) for split in ("train", "test") for count in (3, 4, 5)
    ]
    assert measured == [True, False, False, True, True, False]
