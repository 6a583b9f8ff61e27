"""Ranks with intervals, which are simultaneous comparisons of all pairs; and means over datasets."""

import numpy as np
import pytest
from fake_results import dataset, results, rows
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import t

from gahbench.board.ranks import rank_intervals, sorted_by_psnr
from gahbench.board.statistics import bootstrap_means
from gahbench.report.tables import markdown


def ranks(values):
    """Return both ends for scores (E, R, N)."""
    low, high = rank_intervals(values.mean((1, 2)), bootstrap_means(values, 1000))
    return low.tolist(), high.tolist()


def scores(means, spread, images=40, seed=0):
    own = spread * np.random.default_rng(seed).normal(size=(len(means), 1, images))
    return np.asarray(means, float)[:, None, None] + own - own.mean(axis=2, keepdims=True)


@pytest.mark.parametrize(
    ("values", "low", "high"),
    [
        (scores([3, 1, 2], 0.01), [1, 3, 2], [1, 3, 2]),
        (np.zeros((4, 1, 9)), [1, 1, 1, 1], [4, 4, 4, 4]),
        # One image has no interval.
        (scores([1, 3, 3], 0.0, images=1), [1, 1, 1], [3, 3, 3]),
        # The second is within its spread of both; the first is surely better than the third.
        (np.concatenate([scores([0.0], 0.001), scores([-0.3], 2.0), scores([-0.6], 0.001)]), [1, 1, 2], [2, 3, 3]),
    ],
)
def test_ranks_count_the_entrants_that_are_surely_better_and_worse(values, low, high):
    assert ranks(values) == (low, high)


@given(st.integers(0, 1000), st.permutations(range(5)))
def test_the_order_of_entrants_plays_no_part(seed, order):
    values = np.random.default_rng(seed).normal(size=(5, 1, 12)) + np.arange(5)[:, None, None] / 2
    low, high = ranks(values)
    assert ranks(values[order]) == ([low[place] for place in order], [high[place] for place in order])
    assert all(1 <= one <= other <= 5 for one, other in zip(low, high, strict=True))


@pytest.mark.parametrize("seeds", [1, 3])
def test_of_equal_entrants_few_boards_have_one_that_is_better(seeds):
    generator, wrong = np.random.default_rng(seeds), 0
    for _ in range(120):
        values = generator.normal(size=(6, seeds, 1)) * (seeds > 1) + generator.normal(size=(6, seeds, 24))
        low, _ = ranks(values)
        wrong += max(low) > 1
    # 5 % of 120, and 3.5 standard errors.
    assert wrong <= 14


def test_those_without_psnr_come_last():
    assert sorted_by_psnr(["a", "b", "c", "d"], np.array([1.0, np.nan, 3.0, 3.0])) == ["c", "d", "a", "b"]


SIGMAS = (0.1, 0.2)


def level(count):
    """The difficulty of datasets, dB."""
    return 30 + 5 * np.random.default_rng(0).normal(size=count)


def made(gains, lacks=(), images=8, spread=0.0):
    """Results of entrants whose gain over the first, dB, on each dataset is given; images differ by a spread."""
    count = len(next(iter(gains.values())))
    difficulty = spread * np.random.default_rng(1).normal(size=(count, 1, images)) + level(count)[:, None, None]
    scores = [
        row
        for label, more in gains.items()
        for place in range(count)
        if (label, place) not in lacks
        for row in rows(
            f"d{place}", label, "classical", difficulty[place] + more[place] + np.zeros((2, images)), None, SIGMAS
        )
    ]
    return results(scores, datasets=[dataset(f"d{place}") for place in range(count)], baseline=next(iter(gains)))


def test_gains_have_intervals_over_datasets():
    gains = np.array([1.0, 1.2, 0.7, 1.4, 0.9, 1.1])
    row = made({"a": np.zeros(6), "b": gains}).over_datasets().set_index("entrant").loc["b"]
    assert row["gain_over_baseline"] == pytest.approx(gains.mean())
    half = t.ppf(0.975, 5) * gains.std(ddof=1) / 6**0.5
    width = row["gain_over_baseline_high"] - row["gain_over_baseline_low"]
    assert width == pytest.approx(2 * half, rel=0.2)
    # Datasets differ by 5 dB, which says nothing about an entrant.
    assert np.isnan([row["psnr_low"], row["psnr_high"]]).all()
    assert row["psnr"] == pytest.approx(level(6).mean() + gains.mean())


def test_few_datasets_have_intervals_over_their_images():
    one = made({"a": np.zeros(3), "b": [1.0, 1.2, 0.7]}, spread=0.5)
    row = one.over_datasets().set_index("entrant").loc["b"]
    assert row["rank"] == 1
    # Images differ by 0.5 dB, in three datasets of 8 images; gains are the same for all images.
    half = t.ppf(0.975, 7) * 0.5 / (3 * 8) ** 0.5
    assert row["psnr_high"] - row["psnr_low"] == pytest.approx(2 * half, rel=0.35)
    assert row["gain_over_baseline_high"] - row["gain_over_baseline_low"] < 1e-9


def test_one_of_few_datasets_with_too_few_images_leaves_no_interval():
    one = made({"a": np.zeros(3), "b": [1.0, 1.2, 0.7]}, images=4)
    table = one.over_datasets()
    assert table[["rank", "psnr_low", "gain_over_baseline_low"]].isna().all(axis=None)
    assert "no intervals and no ranks, since one of the datasets has none" in markdown(one)


def test_ranks_are_of_paired_differences():
    gains = {"a": np.zeros(5), "b": [1.0, 1.1, 0.9, 1.0, 1.0], "c": [3.0, -2.0, 0.5, -3.0, 1.0]}
    table = made(gains).over_datasets()
    assert table["entrant"].tolist() == ["b", "a", "c"]
    ranks = table.set_index("entrant")
    assert ranks.loc["a", "rank"] == 2
    assert (ranks.loc["c", "rank"], ranks.loc["c", "rank_high"]) == (1, 3)


def test_means_are_over_three_datasets_or_more_of_entrants_scored_on_all():
    two = made({"a": [0.0, 0.0], "b": [1.0, 1.0]})
    assert two.over_datasets().empty
    assert "All datasets" not in markdown(two)
    one = made({"a": [0.0] * 3, "b": [1.0] * 3}, lacks={("b", 1)})
    assert one.over_datasets()["entrant"].tolist() == ["a"]
    head = (
        "**Means over 3 datasets, of entrants that were scored on all; ± is over images and seeds, for these datasets**"
    )
    assert head in markdown(one)
