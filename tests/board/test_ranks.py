"""Intervals of ranks from simultaneous comparisons of all pairs, and means over datasets."""

import itertools
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


def difficulty(count, images=8, spread=0.5):
    """Return the PSNR of images (K, 1, N) in dB, with a level for each dataset."""
    level = 30 + 5 * np.random.default_rng(0).normal(size=(count, 1, 1))
    return spread * np.random.default_rng(1).normal(size=(count, 1, images)) + level


def entrant(label, gains, kind="classical", seed=None, **options):
    """Return rows of an entrant on the datasets d0, d1, ..., given its gain on each dataset in dB."""
    psnr = difficulty(len(gains), **options) + np.reshape(gains, (-1, 1, 1))
    named = [rows(f"d{index}", label, kind, [*values] * 2, seed, SIGMAS) for index, values in enumerate(psnr)]
    return list(itertools.chain.from_iterable(named))


def build_results(*parts, baseline=None):
    scores = list(itertools.chain.from_iterable(parts))
    return results(scores, datasets=map(dataset, dict.fromkeys(row["dataset"] for row in scores)), baseline=baseline)


@pytest.mark.parametrize("count", [3, 6])
def test_means_have_intervals_for_these_datasets(count):
    gains = np.array([1.0, 1.2, 0.7, 1.4, 0.9, 1.1])[:count]
    board_results = build_results(entrant("a", np.zeros(count)), entrant("b", gains), baseline="a")
    row = board_results.over_datasets().set_index("entrant").loc["b"]
    assert row["rank"] == 1
    assert row["psnr"] == pytest.approx(difficulty(count).mean() + gains.mean())
    # Images of equal index may be shared between datasets, so the means of images over datasets are the units.
    units = difficulty(count)[:, 0].mean(axis=0)
    half_width = t.ppf(0.975, 7) * units.std(ddof=1) / np.sqrt(8)
    assert row["psnr_high"] - row["psnr_low"] == pytest.approx(2 * half_width, rel=0.08)
    # Gains are equal for all images, however much datasets differ.
    assert row["gain_over_baseline_high"] - row["gain_over_baseline_low"] < 1e-9


def test_datasets_of_the_same_images_have_the_interval_of_one_dataset():
    psnr = difficulty(1)[0]
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
    files = [
        entrant("file a", [4.0] * 3, "trained"),
        entrant("file b", [1.0] * 3, "trained"),
        entrant("blur", [0.0] * 3),
    ]
    runs = [entrant("run a", [3.0] * 3, "trained", 0), entrant("run b", [2.0] * 3, "trained", 0)]
    board_results = build_results(*files, *runs)
    # The two networks that were trained once are not compared with each other.
    expected = {"file a": (1, 1), "run a": (2, 3), "run b": (2, 3), "file b": (4, 4), "blur": (5, 5)}
    (board, *_) = board_results.board.datasets
    assert {entry.entrant: (entry.rank, entry.rank_high) for entry in board.entries} == expected
    table = board_results.over_datasets().set_index("entrant")
    assert dict(zip(table.index, zip(table["rank"], table["rank_high"], strict=True), strict=True)) == expected
    assert set(table["interval_scope"]) == {"weights"}
    board_results = build_results(*files)
    table = board_results.over_datasets()
    assert list(table["rank_high"]) == [1, 2, 3]
    assert set(table["interval_scope"]) == {"images"}
    assert finding(board_results).startswith("file a is first of 3 denoisers over 3 datasets")


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
    runs = {"a": (3.0,), "b": (2.0,), **others}
    trained = [entrant(label, [gain], "trained", seed) for label in runs for seed, gain in enumerate(runs[label])]
    board = build_results(*trained, entrant("classical", [1.0])).board
    ranked = {entry.entrant: (entry.rank, entry.rank_high) for entry in board.entries}
    assert (ranked["a"] == (1, 1)) == is_known
    assert ranked["a"][0] == ranked["b"][0] == 1 or is_known


def test_one_of_few_datasets_with_too_few_images_leaves_no_interval():
    parts = [entrant("a", np.zeros(3), images=4), entrant("b", [1.0, 1.2, 0.7], images=4)]
    table = build_results(*parts, baseline="a").over_datasets()
    assert table[["rank", "psnr_low", "gain_over_baseline_low"]].isna().all(axis=None)


def test_means_are_over_three_datasets_or_more_of_entrants_scored_on_all():
    assert build_results(entrant("a", [0.0] * 2), entrant("b", [1.0] * 2)).over_datasets().empty
    cut = [row for row in entrant("b", [1.0] * 3) if row["dataset"] != "d1"]
    assert build_results(entrant("a", [0.0] * 3), cut).over_datasets()["entrant"].tolist() == ["a"]


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
