"""Folds of a dataset are one dataset on a board, with the images of all folds."""

import math

import numpy as np
import pandas as pd

from gahbench.board.combined import pool_folds, pooled_names
from gahbench.board.cube import metric_cube
from gahbench.board.results import Results
from gahbench.board.statistics import means
from gahbench.board.tables import SCHEMAS

FOLDS = [f"photos[size=16,fold={fold}]" for fold in range(3)]
IMAGES, SEEDS = 4, 2
PSNR = np.random.default_rng(0).normal(30, 1, (len(FOLDS), SEEDS, IMAGES))
SLOPES = np.random.default_rng(1).normal(1, 0.1, (len(FOLDS), SEEDS))


def results_of_folds(missing=(), slopes=SLOPES):
    scores = [
        ("suite", fold, "net", "trained", seed, "test", sigma, metric, image, value)
        for i, fold in enumerate(FOLDS)
        if i not in missing
        for seed in range(SEEDS)
        for sigma, metric, image, value in [
            *((0.1, "psnr", image, PSNR[i, seed, image]) for image in range(IMAGES)),
            (math.nan, "slope", None, slopes[i, seed]),
        ]
    ]
    scores.append(("suite", "discs", "net", "trained", 0, "test", 0.1, "psnr", 0, 20.0))
    fits = [
        (fold, "net", seed, 7, 1.0 + i, 5, "cpu", "float32", False, "steps")
        for i, fold in enumerate(FOLDS)
        for seed in (0, 1)
    ]
    # Two photographs in each fold.
    facts = [(fold, "none", None, 1, 16, 16, "abc", "0 0 1 1", str(i), "", fold, "") for i, fold in enumerate(FOLDS)]
    facts.insert(0, ("discs", "exact", None, 1, 16, 16, "", "", "d", "", "discs", ""))

    def table(name, rows):
        return pd.DataFrame(rows, columns=list(SCHEMAS[name]))

    return Results(
        "suite",
        table("scores", scores),
        fits=table("fits", fits),
        failures=table("failures", []),
        datasets=table("datasets", facts),
        entrants=["net"],
        notes=table("notes", [(fold, "net", "tuned") for fold in FOLDS]),
        checks=table("checks", [(fold, "net", 3 - i, "new") for i, fold in enumerate(FOLDS)]),
    )


def test_the_pooled_dataset_has_the_images_and_sources_of_all_folds():
    pooled = pool_folds(results_of_folds())
    assert list(pooled.datasets["dataset"]) == ["discs", "photos[size=16]"]
    cube = metric_cube(pooled, "photos[size=16]", "psnr")
    assert cube.values.shape == (1, 1, SEEDS, len(FOLDS) * IMAGES)
    np.testing.assert_array_equal(cube.values[0, 0], np.concatenate(list(PSNR), axis=-1))
    assert cube.sources == tuple(source for source in range(2 * len(FOLDS)) for _ in range(2))
    assert means(metric_cube(pooled, "discs", "psnr").values).item() == 20.0


def test_values_without_an_image_are_means_over_folds():
    # Equal values of two folds both count.
    slopes = np.array([[1.0, 3.0], [1.0, 3.0], [4.0, 3.0]])
    scores = pool_folds(results_of_folds(slopes=slopes)).scores.query("metric == 'slope'")
    assert scores.sort_values("seed")["value"].tolist() == [2.0, 3.0]


def test_facts_of_folds_are_merged_into_one_row():
    pooled = pool_folds(results_of_folds())
    assert pooled.fits[["seed", "train_seconds"]].to_numpy().tolist() == [[0, 2.0], [1, 2.0]]
    assert (len(pooled.notes), pooled.checks["version"].tolist()) == (1, [1])


def test_an_entrant_that_lacks_a_fold_has_the_images_of_the_others_only():
    pooled = pool_folds(results_of_folds(missing=[1]))
    cube = metric_cube(pooled, "photos[size=16]", "psnr")
    assert sorted(set(cube.sources)) == [0, 1, 4, 5]


def test_only_datasets_with_other_folds_are_pooled():
    for labels in (["photos"], ["photos[fold=1]"], ["discs", "photos[fold=2]"], ["discs", "faces"]):
        assert pooled_names({label: label for label in labels}) == {}
    # A fold that is the default belongs to the others.
    assert pooled_names({"first": "photos", "second": "photos[fold=1]"}) == {"first": "photos", "second": "photos"}
