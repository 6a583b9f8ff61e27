"""Rows of a board: labels, training images, scored images, and metrics."""

from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gahbench.contracts.row_labels import base_label, number_of_images
from gahbench.planning.suite import load_suite
from gahbench.planning.units import rows

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
