"""Intervals of ranks from simultaneous comparisons of all pairs, and means over datasets."""

from dataclasses import astuple
from pathlib import Path

import numpy as np
import pytest
from fake_results import dataset, results, rows
from hypothesis import given
from hypothesis import strategies as st
from independent_ranks import compute
from scipy.stats import t

from gahbench.board.ranks import rank_intervals, sorted_by_psnr
from gahbench.board.statistics import sampled_means
from gahbench.report.document import finding


def ranks(values):
    """Return both ends of the intervals of ranks for scores (E, R, N)."""
    low, high = rank_intervals(values.mean((1, 2)), sampled_means(values, 1000).draws())
    return low.tolist(), high.tolist()


def scores(means, spread, images=40, seed=0):
    deviations = spread * np.random.default_rng(seed).normal(size=(len(means), 1, images))
    return np.asarray(means, float)[:, None, None] + deviations - deviations.mean(axis=2, keepdims=True)


@pytest.mark.parametrize(
    ("values", "low", "high"),
    [
        (scores([3, 1, 2], 0.01), [1, 3, 2], [1, 3, 2]),
        (np.zeros((4, 1, 9)), [1, 1, 1, 1], [4, 4, 4, 4]),
        # One image has no interval.
        (scores([1, 3, 3], 0.0, images=1), [1, 1, 1], [3, 3, 3]),
        # The second entrant does not differ significantly from the others; the first is better than the third.
        (np.concatenate([scores([0.0], 0.001), scores([-0.3], 2.0), scores([-0.6], 0.001)]), [1, 1, 2], [2, 3, 3]),
    ],
)
def test_ranks_count_the_entrants_that_are_significantly_better_and_worse(values, low, high):
    assert ranks(values) == (low, high)


@given(st.integers(0, 1000), st.permutations(range(5)))
def test_ranks_do_not_depend_on_the_order_of_entrants(seed, order):
    values = np.random.default_rng(seed).normal(size=(5, 1, 12)) + np.arange(5)[:, None, None] / 2
    low, high = ranks(values)
    assert ranks(values[order]) == ([low[index] for index in order], [high[index] for index in order])
    assert all(1 <= best <= worst <= 5 for best, worst in zip(low, high, strict=True))


@pytest.mark.parametrize("seeds", [1, 3])
def test_equal_entrants_rarely_have_different_ranks(seeds):
    generator, wrong = np.random.default_rng(seeds), 0
    for _ in range(120):
        values = generator.normal(size=(6, seeds, 1)) * (seeds > 1) + generator.normal(size=(6, seeds, 24))
        low, _ = ranks(values)
        wrong += max(low) > 1
    # The limit is 5 % of 120 plus 3.5 standard errors.
    assert wrong <= 14


def test_entrants_without_psnr_come_last():
    assert sorted_by_psnr(["a", "b", "c", "d"], np.array([1.0, np.nan, 3.0, 3.0])) == ["c", "d", "a", "b"]


SIGMAS = (0.1, 0.2)


def level(count):
    """Return the difficulty of datasets in dB."""
    return 30 + 5 * np.random.default_rng(0).normal(size=count)


def difficulty(count, images, spread):
    """Return the PSNR of images (K, 1, N) in dB."""
    return spread * np.random.default_rng(1).normal(size=(count, 1, images)) + level(count)[:, None, None]


def build_results(gains, missing=(), images=8, spread=0.0):
    """Return results of entrants, given their gain over the first entrant on each dataset, in dB."""
    count = len(next(iter(gains.values())))
    psnr = difficulty(count, images, spread)
    scores = [
        row
        for label, gains_of_entrant in gains.items()
        for index in range(count)
        if (label, index) not in missing
        for row in rows(
            f"d{index}",
            label,
            "classical",
            psnr[index] + gains_of_entrant[index] + np.zeros((2, images)),
            None,
            SIGMAS,
        )
    ]
    return results(scores, datasets=[dataset(f"d{index}") for index in range(count)], baseline=next(iter(gains)))


@pytest.mark.parametrize("count", [3, 6])
def test_means_have_intervals_for_these_datasets(count):
    gains = np.array([1.0, 1.2, 0.7, 1.4, 0.9, 1.1])[:count]
    row = build_results({"a": np.zeros(count), "b": gains}, spread=0.5).over_datasets().set_index("entrant").loc["b"]
    assert row["rank"] == 1
    assert row["psnr"] == pytest.approx(difficulty(count, 8, 0.5).mean() + gains.mean())
    # Images of equal index may be shared between datasets, so the means of images over datasets are the units.
    units = difficulty(count, 8, 0.5)[:, 0].mean(axis=0)
    half_width = t.ppf(0.975, 7) * units.std(ddof=1) / np.sqrt(8)
    assert row["psnr_high"] - row["psnr_low"] == pytest.approx(2 * half_width, rel=0.08)
    # Gains are equal for all images, however much datasets differ.
    assert row["gain_over_baseline_high"] - row["gain_over_baseline_low"] < 1e-9


def test_datasets_of_the_same_images_have_the_interval_of_one_dataset():
    psnr = difficulty(1, 8, 0.5)[0]
    names = [f"c-alpha[size={size},render_size=256]" for size in (32, 64, 128)]
    scores = [
        row
        for name in names
        for label, gain in (("a", 0.0), ("b", 1.0))
        for row in rows(name, label, "classical", psnr + gain * psnr / 30 + np.zeros((2, 8)), None, SIGMAS)
    ]
    facts = [{**dataset(name), "height": size} for name, size in zip(names, (32, 64, 128), strict=True)]
    board_results = results(scores, datasets=facts, baseline="a")
    row = board_results.over_datasets().set_index("entrant").loc["b"]
    alone = board_results.board.select([names[0]])
    for name in ("psnr", "gain_over_baseline"):
        expected = alone.estimate("b", name)
        np.testing.assert_allclose(row[[name, f"{name}_low", f"{name}_high"]].astype(float), astuple(expected))


def test_networks_from_files_are_compared_with_each_other_and_with_networks_that_were_trained_once():
    scores = [
        row
        for label, gain, kind, seed in (
            ("file a", 4.0, "trained", None),
            ("run a", 3.0, "trained", 0),
            ("run b", 2.0, "trained", 0),
            ("file b", 1.0, "trained", None),
            ("blur", 0.0, "classical", None),
        )
        for index in range(3)
        for row in rows(f"d{index}", label, kind, gain + difficulty(3, 8, 0.5)[index] + np.zeros((2, 8)), seed, SIGMAS)
    ]
    board_results = results(scores, datasets=[dataset(f"d{index}") for index in range(3)])
    # The two networks that were trained once are not compared with each other.
    expected = {"file a": (1, 1), "run a": (2, 3), "run b": (2, 3), "file b": (4, 4), "blur": (5, 5)}
    (board, *_) = board_results.board.datasets
    assert {entry.entrant: (entry.rank, entry.rank_high) for entry in board.entries} == expected
    table = board_results.over_datasets().set_index("entrant")
    assert dict(zip(table.index, zip(table["rank"], table["rank_high"], strict=True), strict=True)) == expected
    assert set(table["interval_scope"]) == {"weights"}
    files = [row for row in scores if row["entrant"].startswith(("file", "blur"))]
    board_results = results(files, datasets=[dataset(f"d{index}") for index in range(3)])
    table = board_results.over_datasets()
    assert list(table["rank_high"]) == [1, 2, 3]
    assert set(table["interval_scope"]) == {"images"}
    assert finding(board_results).startswith("file a is first of 3 denoisers over 3 datasets")


def one_dataset(psnr_by_seed, kinds):
    """Return results of entrants on a dataset, given the mean PSNR of each seed in dB."""
    images = difficulty(1, 8, 0.5)[0]
    scores = [
        row
        for (label, means), kind in zip(psnr_by_seed.items(), kinds, strict=True)
        for seed, mean in enumerate(means)
        for row in rows("d", label, kind, mean + images + np.zeros((2, 8)), seed if kind == "trained" else None, SIGMAS)
    ]
    return results(scores, datasets=[dataset("d")])


@pytest.mark.parametrize(
    ("others", "is_known"),
    [
        ({}, False),
        # Seeds of an entrant that is deterministic, or left out, say nothing about the seeds of others.
        ({"deterministic": (-9.0, -9.0)}, False),
        ({"diverged": (-9.0, -90.0)}, False),
        ({"network": (-9.0, -9.001)}, True),
    ],
)
def test_networks_with_one_seed_are_ranked_only_if_seeds_of_a_network_differ(others, is_known):
    psnr = {"a": (3.0,), "b": (2.0,), "classical": (1.0,), **others}
    board = one_dataset(psnr, ["trained", "trained", "classical", *["trained"] * len(others)]).board
    ranked = {entry.entrant: (entry.rank, entry.rank_high) for entry in board.entries}
    assert (ranked["a"] == (1, 1)) == is_known
    assert ranked["a"][0] == ranked["b"][0] == 1 or is_known


def test_one_of_few_datasets_with_too_few_images_leaves_no_interval():
    fake = build_results({"a": np.zeros(3), "b": [1.0, 1.2, 0.7]}, images=4)
    table = fake.over_datasets()
    assert table[["rank", "psnr_low", "gain_over_baseline_low"]].isna().all(axis=None)


def test_means_are_over_three_datasets_or_more_of_entrants_scored_on_all():
    two_datasets = build_results({"a": [0.0, 0.0], "b": [1.0, 1.0]})
    assert two_datasets.over_datasets().empty
    three_datasets = build_results({"a": [0.0] * 3, "b": [1.0] * 3}, missing={("b", 1)})
    assert three_datasets.over_datasets()["entrant"].tolist() == ["a"]


@pytest.mark.parametrize("name", ["quick", "standard-1", "oracles"])
def test_published_means_over_datasets_agree_with_an_independent_computation(name):
    table = compute(Path(__file__).parents[2] / "results" / name)
    np.testing.assert_allclose(table["board_mean"], table["mean"])
    # Studentised intervals of eight photographs, whose errors are skewed, are wider than those of the script.
    tolerance = 0.25 if name == "standard-1" else 0.2
    np.testing.assert_allclose(table["board_half"], table["half"], rtol=tolerance, atol=1e-6)
    ranked = table.dropna(subset=["board_low"])
    assert len(ranked) >= 4
    differences = np.abs(ranked[["board_low", "board_high"]].to_numpy() - ranked[["low", "high"]].to_numpy())
    # A difference close to its threshold is significant in one computation only, which moves one end of two ranks.
    assert differences.max() <= 1
    assert differences.sum() <= 2
    assert len(np.unique(ranked[["low", "high"]], axis=0)) >= 4
