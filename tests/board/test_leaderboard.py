"""Boards: means, intervals, ranks, notes and order of rows; folds of a dataset are one dataset on a board."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from fake_results import dataset, failure, fit, results, rows

from gahbench._util.errors import ResultsError
from gahbench.board.combined import pool_folds, pooled_names
from gahbench.board.cube import metric_cube
from gahbench.board.tables import SCHEMAS, independent_images
from gahbench.report.text import markdown

SIGMAS = (0.1, 0.01)
NOISY = np.array([[20.0], [40.0]])


def psnr(gain=0.0, images=12, seed=0, spread=0.0):
    """Return PSNR (S, N): input PSNR plus the difficulty of each image, shared by all entrants, plus a gain."""
    difficulty = np.random.default_rng(99).normal(0, 2, (1, images))
    noise = np.random.default_rng(seed).normal(0, 1, (2, images))
    return NOISY + 3 + difficulty + gain + spread * (noise - noise.mean(axis=1, keepdims=True))


def classical(label, values, kind="classical", **other):
    return rows("d", label, kind, values, sigmas=SIGMAS, **other)


def trained_rows(label, values, seed):
    return rows("d", label, "trained", values, seed=seed, sigmas=SIGMAS)


def board_of(*parts, **other):
    return results([row for part in parts for row in part], **other).leaderboard(full=True).set_index("entrant")


def test_means_and_gains_are_exact():
    values = psnr(images=5)
    board = board_of(classical("a", values), classical("b", values + 1.5), baseline="a")
    assert board.loc["a", "psnr@0.01"] == pytest.approx(values[1].mean())
    assert board.loc["a", "psnr"] == pytest.approx(values.mean())
    assert board.loc["a", "gain_over_noisy@0.1"] == pytest.approx(values[0].mean() - 20)
    assert board.loc["b", "gain_over_noisy"] == pytest.approx(values.mean() + 1.5 - 30)
    for end in ("", "_low", "_high"):
        for level in ("", "@0.1", "@0.01"):
            assert board.loc["b", f"gain_over_baseline{level}{end}"] == pytest.approx(1.5)
            assert board.loc["a", f"gain_over_baseline{level}{end}"] == pytest.approx(0)
    assert board.loc["a", "psnr_high"] - board.loc["a", "psnr_low"] > 0.5


def test_slope_and_optimal_slope():
    curve = np.array([[10.0], [22.0]]) + np.zeros((1, 5))  # 12 dB over 20
    board = board_of(classical("a", curve), datasets=[dataset("d", 2 / 3, "rate")])
    assert board.loc["a", ["slope", "slope_low", "slope_high"]].tolist() == pytest.approx([0.6] * 3)
    assert board.loc["a", "optimal_slope"] == pytest.approx(2 / 3)
    assert board.loc["a", "optimum"] == "rate"
    assert board.filter(like="gain_over_baseline").isna().all(axis=None)
    one_level = board_of(rows("d", "a", "classical", [[30.0, 31.0]], sigmas=(0.1,)))
    assert np.isnan(one_level.loc["a", "slope"])


def test_only_practical_entrants_are_ranked_and_equal_ones_share_a_rank_in_the_order_of_the_suite():
    parts = [row for label in "zyx" for row in classical(label, psnr())]
    parts += classical("oracle", psnr(gain=2), kind="oracle") + classical("optimal", psnr(gain=3), kind="optimal")
    board = results(parts, entrants=["oracle", "optimal", "y", "x", "z"]).leaderboard(full=True)
    assert board["entrant"].tolist() == ["optimal", "oracle", "y", "x", "z"]
    assert board["rank"].fillna(0).tolist() == [0, 0, 1, 1, 1]


@pytest.mark.parametrize("images", [1, 4])
def test_few_images_give_no_intervals_and_no_ranks(images):
    scores = [classical(label, psnr(images=images) - loss) for label, loss in (("a", 0), ("b", 9), ("c", 0.01))]
    board = board_of(*scores)
    assert board.index.tolist() == ["a", "c", "b"]
    assert board[["rank", "rank_high", "psnr_low", "psnr_high", "slope_low"]].isna().all(axis=None)
    text = markdown(results([row for part in scores for row in part], datasets=[dataset("d")]))
    assert f"No intervals and no ranks: {images} image{'s' * (images > 1)}, and 5 are needed." in text
    assert "±" not in text.partition("**d**")[2]


def test_other_metrics_have_columns_and_other_splits_are_ignored():
    board = board_of(
        classical("a", psnr()),
        classical("a", psnr(gain=50), split="train"),
        classical("a", [[0.5, 0.7, 0.5, 0.7, 0.6], [0.8, 1.0, 0.8, 1.0, 0.9]], metric="ssim"),
        rows("d", "a", "classical", [[4.0, 6.0]], sigmas=(np.nan,), metric="rank"),
    )
    assert board.loc["a", ["ssim@0.01", "ssim@0.1"]].tolist() == pytest.approx([0.9, 0.6])
    # Means over all noise levels have intervals, too.
    assert board.loc["a", "ssim"] == pytest.approx(0.75)
    assert 0 < board.loc["a", "ssim_low"] < 0.7
    assert board.loc["a", "ssim@0.01_high"] > 0.95
    assert board.loc["a", "metric rank"] == pytest.approx(5)
    assert board.loc["a", "rank"] == 1
    assert board.loc["a", "psnr"] == pytest.approx(psnr().mean())


def test_a_seed_without_all_images_does_not_count():
    cut = [row for row in trained_rows("net", psnr(gain=50), 1) if row["image"] < 4]
    board = board_of(trained_rows("net", psnr(gain=1), 0), cut, classical("a", psnr()))
    assert board.loc["net", "psnr"] == pytest.approx(psnr(gain=1).mean())
    assert board.loc["net", "seeds"] == 1
    assert "1 of 2 seeds" in board.loc["net", "note"]
    assert "images are missing" in board.loc["net", "note"]


def test_images_that_a_metric_reports_as_left_out_are_not_missing():
    values = psnr()
    images = values.shape[-1]
    left_out = (np.arange(images) == 2).astype(float)

    def scored_rows(metric, label, row_values, missing=()):
        return [row for row in classical(label, [row_values] * 2, metric=metric) if row["image"] not in missing]

    score = np.arange(images) / images
    table = results(
        [row for label in ("a", "b") for row in classical(label, values)]
        + scored_rows("alignment[dct]", "a", score, missing=[2])
        + scored_rows("alignment[dct]", "b", score)
        + scored_rows("alignment[dct].left-out", "a", left_out)
        + scored_rows("alignment[dct].left-out", "b", 0 * left_out)
        + scored_rows("other", "a", score, missing=[2])
        + scored_rows("other", "b", score),
        entrants=["a", "b"],
    )
    board = table.board.select(["d"])
    assert board.estimate("a", "alignment[dct]").value == pytest.approx(np.delete(score, 2).mean())
    assert board.estimate("a", "alignment[dct]").low < np.delete(score, 2).mean()
    assert board.estimate("b", "alignment[dct]").value == pytest.approx(score.mean())
    assert board.estimate("a", "alignment[dct]", "left-out").value == pytest.approx(1 / images)
    # The metric `other` lacks the value of an image, and has no part "left-out".
    assert not board.estimate("a", "other").is_known


def test_failed_entrants_are_listed_last_with_the_reason():
    board = results(
        classical("a", psnr()) + trained_rows("net", psnr(gain=1), 0),
        fits=[fit("d", "net", 0, train_seconds=10.0), fit("d", "net", 1, train_seconds=20.0)],
        failures=[failure("d", "gone", 0, "RuntimeError: out of memory"), failure("d", "net", 1, "Killed")],
        entrants=["gone", "net", "a"],
    ).leaderboard(full=True)
    assert board["entrant"].tolist() == ["net", "a", "gone"]
    gone = board.iloc[-1]
    assert gone["note"] == "fit failed: RuntimeError: out of memory"
    assert gone["kind"] == "trained"
    assert gone["seeds"] == 0
    assert pd.isna(gone["rank"])
    assert board.iloc[0]["note"] == "1 of 2 seeds; fit failed: Killed"
    assert board.iloc[0]["train_seconds"] == 15


def test_datasets_are_separate_and_in_the_order_of_the_suite():
    parts = rows("b", "x", "classical", psnr(gain=5), sigmas=SIGMAS)
    parts += rows("a", "x", "classical", psnr(images=3), sigmas=(0.5, 0.25))
    board = results(parts, datasets=[dataset("b"), dataset("a")]).leaderboard(full=True)
    assert board["dataset"].tolist() == ["b", "a"]
    assert board["psnr@0.5"].isna().tolist() == [True, False]
    assert board["psnr"].notna().all()
    assert [name for name in board.columns if name.startswith("psnr@") and name[-1].isdigit()] == [
        "psnr@0.01", "psnr@0.1", "psnr@0.25", "psnr@0.5",
    ]  # fmt: skip


def test_two_values_for_one_cell_are_refused():
    with pytest.raises(ResultsError, match="two rows of scores give psnr of 'a' on 'd'"):
        results(classical("a", psnr()) + classical("a", psnr())).leaderboard(full=True)


def test_errors_of_several_metrics_and_units_that_have_not_run_are_noted_once():
    failures = [failure("d", "net", seed, "not run yet") for seed in (0, 1)]
    failures += [failure("d", "net", seed, "not run yet", "score", m) for seed in (0, 1) for m in ("psnr", "ssim")]
    failures += [failure("d", "a", None, "ValueError: no", "score", metric) for metric in ("ssim", "alignment")]
    failures += [failure("other", "a", None, "no", "score", "psnr")]
    board = results(classical("a", psnr()), failures=failures, entrants=["a", "net"]).leaderboard(full=True)
    assert board["note"].tolist() == [
        "score alignment, ssim failed: ValueError: no", "fit not run yet; score psnr, ssim not run yet",
        "score psnr failed: no",
    ]  # fmt: skip
    assert board["rank"].fillna(0).tolist() == [1, 0, 0]


def test_metrics_without_a_noise_level_have_an_interval_over_images():
    values = [1.5, 1.7, 1.6, 1.8, 1.4, 1.6, 1.7, 1.5]
    rate = rows("d", "a", "classical", [values], sigmas=(np.nan,), metric="rate")
    row = board_of(classical("a", psnr()), rate).loc["a"]
    assert row["rate"] == pytest.approx(np.mean(values))
    error = np.std(values, ddof=1) / len(values) ** 0.5
    # 2.365 is the quantile of t with 7 degrees of freedom. Studentised intervals of few values are somewhat wider.
    assert 1 < (row["rate_high"] - row["rate_low"]) / (2 * 2.365 * error) < 1.5
    assert row["rate_low"] < row["rate"] < row["rate_high"]


def test_samples_that_did_not_converge_are_left_out_of_means():
    def copies(label, values, seed):
        given = rows("d", label, "trained", [values], seed=seed, sigmas=(np.nan,), metric="memorization")
        return [row for row in given if not np.isnan(row["value"])]

    board = board_of(
        trained_rows("a", psnr(), 0),
        trained_rows("b", psnr(), 0),
        copies("a", [1.0, 0.0, 1.0, 1.0, 1.0, 1.0], 0),
        copies("b", [1, np.nan, 0, 1, 1, 1], 0),
    )
    assert board.loc["a", "memorization"] == pytest.approx(5 / 6)
    assert board.loc["b", "memorization"] == pytest.approx(4 / 5)
    assert board.loc["b", "memorization_low"] < board.loc["b", "memorization_high"]


def test_patches_of_one_photograph_count_as_one():
    values = np.repeat(psnr()[:, :6], 4, axis=1)
    described = dataset("d") | {"sources": " ".join(str(index // 4) for index in range(24))}
    scores = [*classical("a", values), *classical("b", values - 1)]
    patches = results(scores, datasets=[described])
    photographs = results([*classical("a", psnr()[:, :6]), *classical("b", psnr()[:, :6] - 1)], datasets=[dataset("d")])
    ends = [table.leaderboard(full=True).loc[0, ["psnr_low", "psnr_high"]].tolist() for table in (patches, photographs)]
    assert ends[0] == pytest.approx(ends[1])
    assert independent_images(patches, "d") == independent_images(photographs, "d") == 6
    two = results(scores, datasets=[dataset("d") | {"sources": " ".join(str(index // 12) for index in range(24))}])
    # The images of two photographs are the units, and the PSNR of each photograph is listed.
    board = two.leaderboard(full=True).set_index("entrant")
    as_images = results(scores, datasets=[dataset("d")]).leaderboard(full=True).set_index("entrant")
    for name in ("psnr_low", "psnr_high", "rank"):
        assert board[name].tolist() == pytest.approx(as_images[name].tolist())
    by_source = [values[:, :12].mean(), values[:, 12:].mean()]
    assert board.loc["a", ["psnr_source-1", "psnr_source-2"]].tolist() == pytest.approx(by_source)
    assert "describe these 2 sources of images, such as photographs, and no others" in markdown(two)
    few = results(classical("a", psnr()[:, :4]), datasets=[dataset("d") | {"sources": "0 0 1 1"}])
    assert independent_images(few, "d") == 2
    assert few.leaderboard(full=True)[["rank", "psnr_low"]].isna().all(axis=None)


def test_values_of_training_runs_have_intervals_over_runs():
    def rows_of_training(label, values):
        return [
            row | {"metric": "lead", "image": None}
            for seed, value in enumerate(values)
            for row in rows("d", label, "trained", [[value]], seed=seed, sigmas=(np.nan,), metric="lead")
        ]

    spread = np.arange(8) / 7
    nets = {"a": spread, "b": 2 + spread, "c": 5 - spread}
    scores = [row for label in nets for seed in range(8) for row in trained_rows(label, psnr(), seed)]
    board = board_of(scores, *(rows_of_training(label, values) for label, values in nets.items()))
    # The pooled variance has 21 degrees of freedom.
    half_width = 2.08 * spread.std(ddof=1) / np.sqrt(8)
    for label, values in nets.items():
        assert board.loc[label, "lead"] == pytest.approx(np.mean(values))
        assert board.loc[label, "lead_high"] - board.loc[label, "lead_low"] == pytest.approx(2 * half_width, rel=0.2)
    one_seed = board_of(scores, *(rows_of_training(label, values[:1]) for label, values in nets.items()))
    assert np.isnan(one_seed.loc["a", "lead_low"])


FOLDS = [f"photos[size=16,fold={fold}]" for fold in range(3)]
FOLD_PSNR = np.random.default_rng(0).normal(30, 1, (len(FOLDS), 2, 1, 4))


def results_of_folds(missing=(), slopes=((1.0, 2.0), (1.5, 2.5), (2.0, 3.0))):
    """Return results of two seeds on three folds of two photographs, each with two images, and on another dataset."""
    scores, fits, options = rows("discs", "net", "trained", [[20.0]], 0, (0.1,)), [], {"sigmas": (np.nan,)}
    for index, fold in enumerate(FOLDS):
        for seed in (0, 1):
            fits.append(fit(fold, "net", seed, train_seconds=1.0 + index))
            if index not in missing:
                scores += rows(fold, "net", "trained", FOLD_PSNR[index, seed], seed, (0.1,))
                (slope,) = rows(fold, "net", "trained", [[slopes[index][seed]]], seed, metric="slope", **options)
                scores.append(slope | {"image": None})
    facts = {"sources": "0 0 1 1", "fingerprint": "abc"}
    described = [{**dataset(fold), **facts, "protocol": str(index), "spec": fold} for index, fold in enumerate(FOLDS)]
    folds = results(scores, fits, datasets=[{**dataset("discs", optimum="exact"), "spec": "discs"}, *described])
    notes = [(fold, "net", "tuned") for fold in FOLDS]
    checks = [(fold, "net", 3 - index, "new") for index, fold in enumerate(FOLDS)]
    tables = {"notes": notes, "checks": checks}
    return replace(folds, **{name: pd.DataFrame(table, columns=list(SCHEMAS[name])) for name, table in tables.items()})


def test_the_pooled_dataset_has_the_images_and_sources_of_all_folds():
    pooled = pool_folds(results_of_folds())
    assert list(pooled.datasets["dataset"]) == ["discs", "photos[size=16]"]
    cube = metric_cube(pooled, "photos[size=16]", "psnr")
    np.testing.assert_array_equal(cube.values, [[np.concatenate(list(FOLD_PSNR[:, :, 0]), axis=-1)]])
    assert cube.sources == tuple(source for source in range(2 * len(FOLDS)) for _ in range(2))
    assert metric_cube(pooled, "discs", "psnr").values.item() == 20.0


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
