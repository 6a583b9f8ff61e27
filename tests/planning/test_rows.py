"""Rows of a board: labels, training images, scored images, and metrics."""

from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gahbench._util.errors import ParameterError
from gahbench.contracts.row_labels import base_label, number_of_images
from gahbench.planning.rows import Row, check_training
from gahbench.planning.suite import load_suite
from gahbench.training.recipe import Training


def recipe(**fields):
    (training,) = Training.model_validate({"steps": 5, **fields}).sweep
    return training


def row(builtin, entrant="unet", **fields):
    kind = "architecture" if entrant in builtin.names("architecture") else "reference"
    return Row(builtin.configure(kind, entrant), **fields)


def metric(*needs, min_images=1):
    return SimpleNamespace(needs=frozenset(needs), min_images=min_images)


def test_a_row_of_a_sweep_is_labelled_by_its_number_of_images(builtin):
    assert row(builtin).label == "unet[width=64]"
    assert row(builtin, training=recipe(train_images=3)).label == "unet[width=64]"
    assert row(builtin, training=recipe(train_images=3), is_swept=True).label == "unet[width=64] N=3"
    assert row(builtin, training=recipe(), is_swept=True).label == "unet[width=64] N=all"
    assert row(builtin, is_swept=True).label == "unet[width=64]"


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


HALVES = {"halves": True, "train_images": 3}


@pytest.mark.parametrize(
    ("training", "learned_from", "partner"),
    [
        (None, {"split": "train", "count": None}, None),
        ({}, {"split": "train", "count": None}, None),
        ({"train_images": 3}, {"split": "train", "count": 3}, None),
        ({"train_images": 3, "split": "B"}, {"split": "B", "count": 3}, None),
        (HALVES, {"split": "A", "count": 3}, {"split": "B", "count": 3}),
        ({"halves": True}, {"split": "A", "count": None}, {"split": "B", "count": None}),
    ],
)
def test_a_row_and_its_partner_learn_from_different_images(builtin, training, learned_from, partner):
    trained = row(builtin, training=None if training is None else recipe(**training))
    assert trained.learned_from() == learned_from
    assert trained.learned_from(partner=True) == partner
    splits = [] if training is None else [learned_from["split"]]
    assert [member.split for member in trained.trainings] == splits + ([] if partner is None else ["B"])


@pytest.mark.parametrize(
    ("training", "is_swept", "split", "images", "scored_on"),
    [
        (None, False, "train", 4, ("train", 4)),
        # Outside a sweep, a network is scored on the suite's number of images of the training split.
        ({"train_images": 3}, False, "train", 4, ("train", 4)),
        ({"train_images": 3}, True, "train", 4, ("train", 3)),
        ({"train_images": 3}, True, "train", 2, ("train", 2)),
        ({"train_images": "all"}, True, "train", 4, ("train", 4)),
        ({"train_images": 3, "split": "A"}, False, "train", 4, ("A", 3)),
        ({"train_images": 3, "split": "A"}, True, "train", 4, ("A", 3)),
        (HALVES, False, "train", 4, ("A", 3)),
        (HALVES, True, "test", 4, ("test", 4)),
        (HALVES, True, "validation", 4, ("validation", 4)),
    ],
)
def test_in_a_sweep_or_with_halves_rows_are_scored_on_the_images_they_learned_from(
    builtin, training, is_swept, split, images, scored_on
):
    swept = row(builtin, training=None if training is None else recipe(**training), is_swept=is_swept)
    assert swept.scored_on(split, images) == scored_on


@pytest.mark.parametrize(
    ("entrant", "training", "needs", "is_measured"),
    [
        ("unet", {}, ["partner"], False),
        ("unet", HALVES, ["partner"], True),
        ("empirical-bayes", HALVES, ["partner"], True),
        ("gaussian-blur", None, ["partner"], False),
        ("unet", {}, ["samples"], True),
        ("empirical-bayes", HALVES, ["samples"], True),
        ("optimal", None, ["samples"], True),
        ("gaussian-blur", None, ["samples"], False),
        ("oracle-shrink", None, ["samples"], False),
        ("unet", {"snapshots": 2}, ["snapshots"], True),
        ("unet", {}, ["snapshots"], False),
        ("empirical-bayes", {"snapshots": 2}, ["snapshots"], False),
        ("unet", None, ["snapshots"], False),
        ("gaussian-blur", None, ["training", "jacobian"], True),
        ("unet", {"snapshots": 2}, ["snapshots", "partner"], False),
    ],
)
def test_a_metric_applies_to_rows_that_meet_its_needs(builtin, entrant, training, needs, is_measured):
    candidate = row(builtin, entrant, training=None if training is None else recipe(**training))
    assert candidate.is_measured_by(metric(*needs), "test", 4) == is_measured


def test_a_metric_that_needs_the_test_split_applies_to_it_only(builtin):
    splits = ["train", "validation", "A", "test"]
    is_measured = [row(builtin).is_measured_by(metric("test"), split, 4) for split in splits]
    assert is_measured == [False, False, False, True]
    assert row(builtin).is_measured_by(metric(), "train", 4)


@pytest.mark.parametrize(("split", "min_images", "is_measured"), [("train", 3, True), ("train", 4, False),
                         ("test", 4, True), ("test", 5, False)])  # fmt: skip
def test_a_metric_applies_to_rows_with_enough_images(builtin, split, min_images, is_measured):
    swept = row(builtin, training=recipe(train_images=3), is_swept=True)
    assert swept.is_measured_by(metric(min_images=min_images), split, 4) == is_measured


def test_a_metric_that_needs_more_images_than_any_row_has_raises(builtin, write_suite):
    suite = load_suite(write_suite(), builtin)
    with pytest.raises(
        ParameterError, match="'psnr': the metric needs 4 images or more, but no entrant is scored on that many"
    ):
        check_training(suite, suite.metrics[0], metric(min_images=4))
    assert check_training(suite, suite.metrics[0], metric("samples", min_images=3)) is None
